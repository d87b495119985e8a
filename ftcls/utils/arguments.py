"""What a component's signature says: the arguments that it takes, and the types and bounds of their values.

The registries check this where they build, and ``validate_config`` checks it for a whole config.
"""
import dataclasses
import difflib
import inspect
import operator
import re
import types
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, MutableSequence, Sequence
from functools import lru_cache
from numbers import Integral, Number, Real
from typing import Any

import annotated_types as at

from .errors import ConfigError
from .names import did_you_mean, nearest
from .tree import join_path

__all__ = [
    'accepted_arguments', 'argument_faults', 'check_arguments', 'describe_type_error', 'format_type', 'matches_type',
    'misspelt', 'own_arguments', 'required_arguments', 'type_error'
]

# Classes whose annotations are trusted enough to check values against. (AmpOptimWrapper's says `str` of a number.)
_TYPED_MODULES = ('ftcls.', 'torch.optim', 'mmengine.optim.scheduler', 'mmengine.optim.optimizer.optimizer_wrapper',
                  'mmengine.runner.loops', 'mmengine.hooks', 'mmengine.dataset')
# Classes of MMEngine whose ``**kwargs`` are not used.
_CLOSED_CLASSES = frozenset({'CheckpointHook'})

_ANYTHING = (Any, object, inspect.Parameter.empty)
_UNIONS = (typing.Union, types.UnionType)
# Annotations that a list or a tuple can match.
_SEQUENCES = (list, tuple, Collection, Iterable, MutableSequence, Sequence)
# What a config file can hold; anything else has been built already.
_PLAIN = (str, bytes, Number, list, tuple, set, Mapping, types.NoneType)
_BOUNDS: dict[type, tuple[str, Callable[[Any, Any], bool]]] = {
    at.Ge: ('at least', operator.ge),
    at.Gt: ('above', operator.gt),
    at.Le: ('at most', operator.le),
    at.Lt: ('below', operator.lt),
    at.MultipleOf: ('a multiple of', lambda value, step: value % step == 0),
    at.MinLen: ('of length at least', lambda value, least: len(value) >= least),
    at.MaxLen: ('of length at most', lambda value, most: len(value) <= most),
}
# A name this similar to one of an open class's own arguments is a misspelling, not an argument that is passed on.
_SAME_WORD = 0.85


def check_arguments(component: Callable, given: Mapping[str, Any], name: str, taken: Collection[str] = ()) -> None:
    """Refuse arguments that a component does not take, or whose value does not match their annotation.

    Args:
        component: A class or function; only those of ftcls and of a few other modules are checked.
        given: The arguments.
        name: Name of the component.
        taken: Arguments that the builder reads itself.

    Raises:
        ConfigError: With one line per fault, each with the name, the argument and its value.
    """
    if _is_typed(component):
        faults = list(argument_faults(component, given, name, taken))
        if faults:
            raise ConfigError('\n'.join(faults))


def argument_faults(
    component: Callable,
    given: Mapping[str, Any],
    path: str,
    taken: Collection[str] = (),
    annotations: Mapping[str, Any] = types.MappingProxyType({})) -> Iterator[str]:
    """Yield what is wrong with each argument that is given to a component; missing arguments are not looked for.

    Args:
        component: The class or function that ``given`` is passed to.
        given: The arguments.
        path: Config path of the component, or its name.
        taken: Arguments that the builder reads itself.
        annotations: Annotations to check against instead of the component's own.
    """
    known, accepted = own_arguments(component), accepted_arguments(component)
    for key, value in given.items():
        if key in known:
            fault = type_error(component, key, value, join_path(path, key), annotations.get(key))
            if fault:
                yield fault
        elif key not in taken:
            if accepted is not None:
                hint = did_you_mean(key, [*accepted, *taken])
            elif near := misspelt(key, component, given):
                hint = f'; did you mean {near!r}?'
            else:
                continue
            yield f'{join_path(path, key)}: {_name(component)} takes no argument {key!r}{hint}'


def type_error(component: Callable, key: str, value: Any, path: str, annotation: Any = None) -> str | None:
    """Return what is wrong with the value of an argument by its annotation, or None."""
    if annotation is None and _is_typed(component):
        annotation = _hints(component).get(key)
    # `begin: int = None` means that None is allowed
    if annotation is None or value is None and own_arguments(component)[key].default is None:
        return None
    return None if matches_type(value, annotation) else describe_type_error(path, value, annotation)


def _name(component: Callable) -> str:
    return getattr(component, '__name__', str(component))


def _is_typed(component: Callable) -> bool:
    return (getattr(component, '__module__', None) or '').startswith(_TYPED_MODULES)


@lru_cache(maxsize=4096)
def _hints(component: Callable) -> dict[str, Any]:
    """Return the annotations of a class's ``__init__`` and of those of its bases, or of a function."""
    functions = [component]
    if inspect.isclass(component):
        functions = [cls.__init__ for cls in reversed(component.__mro__) if '__init__' in vars(cls)]
    hints: dict[str, Any] = {}
    for function in functions:
        try:
            hints |= typing.get_type_hints(function, include_extras=True)
        except Exception:  # an annotation that cannot be resolved says nothing about the value
            continue
    return hints


@lru_cache(maxsize=4096)
def _signature(component: Callable) -> tuple[dict[str, inspect.Parameter], bool]:
    """Return the arguments that a function or class names, and whether it also takes ``**kwargs``."""
    parameters = inspect.signature(component).parameters
    named = {k: p for k, p in parameters.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) and k != 'self'}
    return named, any(p.kind is p.VAR_KEYWORD for p in parameters.values())


@lru_cache(maxsize=4096)
def _inherited(component: Callable) -> tuple[dict[str, inspect.Parameter], bool]:
    """Return the arguments of a component and of its bases as far as ``**kwargs`` reaches, and whether it is open."""
    arguments, is_open = _signature(component)
    for base in component.__mro__[1:-1] if inspect.isclass(component) else ():
        if is_open and '__init__' in vars(base):
            inherited, is_open = _signature(base.__init__)
            arguments = inherited | arguments
    return arguments, is_open


def own_arguments(component: Callable) -> dict[str, inspect.Parameter]:
    """Return the arguments that a class or function and its bases name, whether it takes others too or not."""
    return _inherited(component)[0]


def accepted_arguments(component: Callable) -> dict[str, inspect.Parameter] | None:
    """Return the arguments that a class or function takes, with those of its bases that ``**kwargs`` passes on to.

    Returns:
        Name to parameter, or None where anything goes: for a class with ``accepts_extra_arguments = True``, or with
        ``**kwargs`` that no base class takes, and for a function with ``**kwargs``.

    Example:
        >>> from ftcls.models.necks import GlobalAveragePooling
        >>> list(accepted_arguments(GlobalAveragePooling))
        ['dim']
    """
    arguments, is_open = _inherited(component)
    is_open = is_open and _name(component) not in _CLOSED_CLASSES
    return None if is_open or getattr(component, 'accepts_extra_arguments', False) else arguments


def required_arguments(component: Callable, with_bases: bool = False) -> list[str]:
    """Return the arguments without a default; those of the bases too, if asked for."""
    arguments = own_arguments(component) if with_bases else _signature(component)[0]
    return [
        key for key, param in arguments.items()
        if param.default is inspect.Parameter.empty and param.kind is not param.POSITIONAL_ONLY
    ]


def misspelt(key: str, component: Callable, given: Collection[str]) -> str | None:
    """Return the argument of an open class that ``key`` nearly is, and that is not given itself."""
    known = own_arguments(component)
    free = [name for name in known if name not in given]
    near = difflib.get_close_matches(key, free, n=1, cutoff=_SAME_WORD)
    return near[0] if near and key not in known else None


def matches_type(value: Any, annotation: Any) -> bool:
    """Tell whether a value has the annotated type and keeps its bounds.

    Lists match tuples and the other way round, since overrides and JSON have no tuples. True and False are not numbers.
    A dict with a ``type``, or a list of these, matches what will be built from it; so does an object that is already
    built where a dict is annotated.
    """
    if annotation in _ANYTHING or _is_component(value):
        return True
    origin, arguments = typing.get_origin(annotation) or annotation, typing.get_args(annotation)
    if origin in _UNIONS:
        return any(matches_type(value, one) for one in arguments)
    if origin is typing.Annotated:
        return matches_type(value, arguments[0]) and _keeps_bounds(value, _bounds(annotation))
    if origin is typing.Literal:
        return any(type(value) is type(word) and value == word for word in arguments)
    if origin in (int, float):
        return isinstance(value, Integral if origin is int else Real) and not isinstance(value, bool)
    if origin in (dict, Mapping) and not isinstance(value, _PLAIN):
        return True
    if origin in _SEQUENCES and isinstance(value, str):
        return False
    items = _items(value, annotation)
    if items is not None:
        return all(matches_type(child, expected) for _, child, expected in items)
    try:
        return isinstance(value, origin) and not _is_fixed_tuple(annotation)
    except TypeError:  # a type variable, a name that cannot be resolved
        return True


def _is_component(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return bool(value) and all(map(_is_component, value))
    return isinstance(value, Mapping) and 'type' in value


def _is_fixed_tuple(annotation: Any) -> bool:
    arguments = typing.get_args(annotation)
    return typing.get_origin(annotation) is tuple and arguments[-1] is not ...


def _items(value: Any, annotation: Any) -> list[tuple[Any, Any, Any]] | None:
    """Return key, value and annotation of each item of a dict, list or tuple, or None if it has no such items."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if isinstance(value, Mapping) and origin in (dict, Mapping):
        return [(key, child, arguments[1]) for key, child in value.items()]
    if isinstance(value, list | tuple) and (origin or annotation) in _SEQUENCES:
        if not _is_fixed_tuple(annotation):
            expected = arguments[0] if arguments else Any
            return [(i, child, expected) for i, child in enumerate(value)]
        if len(value) == len(arguments):
            return [(i, child, expected) for i, (child, expected) in enumerate(zip(value, arguments))]
    return None


def _bounds(annotation: Any) -> list[tuple[type, Any]]:
    """Return the bounds of an ``Annotated`` type as kind and limit."""
    bounds = []
    for one in getattr(annotation, '__metadata__', ()):
        for bound in one if isinstance(one, at.GroupedMetadata) else (one, ):
            if type(bound) in _BOUNDS:
                bounds.append((type(bound), dataclasses.astuple(bound)[0]))
    return bounds


def _keeps_bounds(value: Any, bounds: Iterable[tuple[type, Any]]) -> bool:
    return value is None or all(_BOUNDS[kind][1](value, limit) for kind, limit in bounds)


def describe_type_error(path: str, value: Any, annotation: Any) -> str:
    """Return the sentence on a value that does not match its annotation; of a list or dict it names the wrong item.

    Example:
        >>> describe_type_error('model.backbone.depth', 0, typing.Annotated[int, at.Ge(1)] | None)
        'model.backbone.depth=0: must be at least 1 or None'
    """
    alternatives = typing.get_args(annotation) if typing.get_origin(annotation) in _UNIONS else (annotation, )
    words = [word for one in alternatives if typing.get_origin(one) is typing.Literal for word in typing.get_args(one)]
    others = [repr(word) for word in words]
    if types.NoneType in alternatives:
        others.append('None')
    for one in alternatives:
        if typing.get_origin(one) is typing.Annotated and matches_type(value, typing.get_args(one)[0]):
            return f'{path}={_shorten(value)}: must be {" or ".join([_bounds_text(one), *others])}'
    for key, child, expected in [item for one in alternatives for item in _items(value, one) or ()]:
        if not matches_type(child, expected):
            return describe_type_error(join_path(path, key), child, expected)
    if not words:
        return f'{path}={_shorten(value)}: must be of type {format_type(annotation)}'
    others += [format_type(one) for one in alternatives if typing.get_origin(one) is not typing.Literal]
    near = did_you_mean(value, words) if isinstance(value, str) and nearest(value, words) else ''
    return f'{path}={_shorten(value)}: must be one of {", ".join(dict.fromkeys(others))}{near}'


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f'{text[:77]}...'


def _bounds_text(annotation: Any) -> str:
    """Return the bounds of an ``Annotated`` type in words."""
    limits = dict(_bounds(annotation))
    if limits.keys() == {at.Ge, at.Le}:
        return f'from {limits[at.Ge]} to {limits[at.Le]}'
    return ' and '.join(f'{_BOUNDS[kind][0]} {limit}' for kind, limit in limits.items())


def format_type(annotation: Any) -> str:
    """Return an annotation as a person would write it.

    Example:
        >>> format_type(Sequence[int] | None)
        'Sequence[int] | None'
        >>> format_type(typing.Optional[float])
        'float | None'
    """
    arguments = typing.get_args(annotation)
    origin = typing.get_origin(annotation)
    if origin in _UNIONS:  # before Python 3.14 one of the two prints as `Union[…]`
        return ' | '.join(map(format_type, arguments))
    if origin is typing.Annotated:
        return format_type(arguments[0])
    if arguments and origin in (*_SEQUENCES, dict, Mapping):
        inner = ', '.join('...' if one is ... else format_type(one) for one in arguments)
        return f'{origin.__name__}[{inner}]'
    text = annotation.__name__ if isinstance(annotation, type) and not arguments else str(annotation)
    return re.sub(r'\b(?:[A-Za-z_]\w*\.)+(?=[A-Za-z_])', '', text).replace('NoneType', 'None')
