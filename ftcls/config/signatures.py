"""What a component's signature says: which arguments it takes, which it needs, and of what kind their values are."""
import difflib
import inspect
import re
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, MutableSequence, Sequence
from numbers import Integral, Real
from typing import Any

import typeguard
from mmengine.registry import Registry

from ftcls.utils import did_you_mean, nearest
from .schema import CLOSED_CLASSES, GIVEN_BY_BUILDER, TYPED_MODULES

__all__ = [
    'accepted_arguments', 'matches_type', 'type_error', 'misspelt', 'missing_arguments', 'own_arguments', 'format_type',
    'describe_type_error'
]

# Annotations that a list or a tuple may stand for.
_SEQUENCES = (list, tuple, typing.List, typing.Tuple, typing.Sequence, typing.Iterable, Collection, Iterable,
              MutableSequence, Sequence)
_UNIONS = (typing.Union, types.UnionType)
# A name this like one of an open class's own arguments is a misspelling of it and not an argument that is handed on.
_SAME_WORD = 0.85


def _named(component: Callable) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(component).parameters
    return {k: p for k, p in parameters.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) and k != 'self'}


def _is_open(component: Callable) -> bool:
    return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(component).parameters.values())


def _inherited(component: type) -> tuple[dict[str, inspect.Parameter], bool]:
    """Return a class's arguments with those of its bases as far as ``**kwargs`` reaches, and whether it never ends."""
    arguments = _named(component)
    if not _is_open(component):
        return arguments, False
    for base in component.__mro__[1:]:
        if '__init__' not in vars(base) or base is object:
            continue
        arguments = {**_named(base.__init__), **arguments}
        if not _is_open(base.__init__):
            return arguments, False
    return arguments, True


def own_arguments(component: Callable) -> dict[str, inspect.Parameter]:
    """Return the arguments that a class or function and its bases name, whether it takes others too or not."""
    return _inherited(component)[0] if inspect.isclass(component) else _named(component)


def accepted_arguments(component: Callable) -> dict[str, inspect.Parameter] | None:
    """Return the arguments that a class or function takes, those of its base classes included where it passes ``**kwargs`` on.

    Returns:
        Name to parameter, or None where anything goes: a class says so with ``accepts_extra_arguments = True``, or has
        ``**kwargs`` that no base class takes; a function has ``**kwargs``.

    Example:
        >>> from ftcls.models.necks import GlobalAveragePooling
        >>> list(accepted_arguments(GlobalAveragePooling))
        ['dim']
    """
    if getattr(component, 'accepts_extra_arguments', False):
        return None
    if not inspect.isclass(component):
        return None if _is_open(component) else _named(component)
    arguments, endless = _inherited(component)
    return None if endless and component.__name__ not in CLOSED_CLASSES else arguments


def misspelt(key: str, component: Callable, given: Iterable[str]) -> str | None:
    """Return the argument of an open class that ``key`` is nearly, and that is not given itself."""
    known = own_arguments(component)
    if key in known:
        return None
    free = [name for name in known if name not in given]
    near = difflib.get_close_matches(key, free, n=1, cutoff=_SAME_WORD)
    return near[0] if near else None


def missing_arguments(component: Callable, registry: Registry, given: Iterable[str]) -> list[str]:
    """Return the required arguments that are neither given nor added by the builder.

    A base class's required arguments are its subclass's business, except of schedulers, whose mixin names none.
    """
    if registry.name == 'function':  # called later, not now
        return []
    by_builder = GIVEN_BY_BUILDER.get(registry.name, frozenset())
    parameters = own_arguments(component) if registry.name == 'parameter scheduler' else _named(component)
    return [
        key for key, param in parameters.items() if param.default is inspect.Parameter.empty
        and param.kind is not param.POSITIONAL_ONLY and key not in given and key not in by_builder
    ]


def type_error(component: Callable, param: inspect.Parameter, value: Any, path: str) -> str | None:
    """Return what is wrong with a value by the parameter's annotation, or None; nested components are checked elsewhere."""
    is_component = isinstance(value, Mapping) and 'type' in value
    if is_component or not getattr(component, '__module__', '').startswith(TYPED_MODULES):
        return None
    annotation = _annotation(component, param.name)
    # `begin: int = None` means that None is allowed
    if annotation is inspect.Parameter.empty or value is None and param.default is None or matches_type(
            value, annotation):
        return None
    return describe_type_error(path, value, annotation)


def describe_type_error(path: str, value: Any, annotation: Any) -> str:
    """Return the sentence on a value of the wrong kind."""
    parts = typing.get_args(annotation) if typing.get_origin(annotation) in _UNIONS else (annotation, )
    words = [word for part in parts if typing.get_origin(part) is typing.Literal for word in typing.get_args(part)]
    if words:
        allowed = [
            *map(repr, words), *(format_type(part) for part in parts if typing.get_origin(part) is not typing.Literal)
        ]
        near = did_you_mean(value, words) if isinstance(value, str) and nearest(value, words) else ''
        return f'{path}: must be one of {", ".join(allowed)}, got {value!r}{near}'
    return f'{path}: must be of type {format_type(annotation)}, got {value!r} ({type(value).__name__})'


def _annotation(component: Callable, name: str) -> Any:
    """Return the annotation of an argument, from the class in whose ``__init__`` it stands."""
    places = [c.__init__ for c in component.__mro__
              if '__init__' in vars(c)] if inspect.isclass(component) else [component]
    for place in places:
        try:
            hints = typing.get_type_hints(place)
        except Exception:  # an annotation that cannot be resolved says nothing about the value
            continue
        if name in hints:
            return hints[name]
    return inspect.Parameter.empty


def format_type(annotation: Any) -> str:
    """Return an annotation as a person would write it.

    Example:
        >>> import collections.abc
        >>> format_type(collections.abc.Sequence[int] | None)
        'Sequence[int] | None'
        >>> format_type(typing.Optional[float])
        'float | None'
    """
    if typing.get_origin(annotation) in _UNIONS:  # before Python 3.14 one of the two prints as `Union[…]`
        return ' | '.join(map(format_type, typing.get_args(annotation)))
    text = annotation.__name__ if isinstance(annotation, type) and not typing.get_args(annotation) else str(annotation)
    return re.sub(r'\b(?:[A-Za-z_]\w*\.)+(?=[A-Za-z_])', '', text).replace('NoneType', 'None')


def matches_type(value: Any, annotation: Any) -> bool:
    """Tell whether a value has the annotated type.

    Lists stand for tuples and the other way round, since overrides and JSON know no tuples; True and False are no numbers;
    a dict with a ``type`` stands for what will be built from it.
    """
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in (Any, object, inspect.Parameter.empty) or isinstance(value, Mapping) and 'type' in value:
        return True
    if origin in _UNIONS:
        return any(matches_type(value, one) for one in arguments)
    if annotation in (int, float):
        return isinstance(value, Integral if annotation is int else Real) and not isinstance(value, bool)
    if isinstance(value, (list, tuple)) and (origin in _SEQUENCES or annotation in _SEQUENCES):
        if origin is tuple and arguments[-1:] != (..., ):
            return len(value) == len(arguments) and all(map(matches_type, value, arguments))
        return all(matches_type(item, arguments[0]) for item in value) if arguments else True
    try:
        typeguard.check_type(
            value,
            annotation,
            collection_check_strategy=typeguard.CollectionCheckStrategy.ALL_ITEMS,
            forward_ref_policy=typeguard.ForwardRefPolicy.IGNORE)
    except typeguard.TypeCheckError:
        return False
    return True
