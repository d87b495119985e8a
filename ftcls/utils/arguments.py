"""What a component's signature says: the arguments that it takes, and the types and bounds of their values.

The registries check this where they build, and ``validate_config`` checks it for a whole config.
"""
import dataclasses
import difflib
import inspect
import itertools
import operator
import re
import reprlib
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, MutableSequence, Sequence
from contextlib import suppress
from functools import lru_cache
from numbers import Integral, Number, Real
from types import MappingProxyType, NoneType, UnionType
from typing import Any

import annotated_types as at

from .errors import ConfigError
from .names import did_you_mean, nearest
from .tree import join_path

__all__ = [
    'accepted_arguments', 'argument_faults', 'check_arguments', 'describe_type_error', 'format_type', 'matches_type',
    'name_of', 'own_arguments', 'required_arguments'
]

# Classes whose annotations are trusted enough to check values against. (AmpOptimWrapper's says `str` of a number.)
_TYPED_MODULES = ('ftcls.', 'torch.optim', 'mmengine.optim.scheduler', 'mmengine.optim.optimizer.optimizer_wrapper',
                  'mmengine.runner.loops', 'mmengine.hooks', 'mmengine.dataset')
_CLOSED_CLASSES = ('CheckpointHook', )  # classes of MMEngine whose ``**kwargs`` are not used

_ANYTHING = (Any, object, inspect.Parameter.empty)
_SEQUENCES = (list, tuple, Collection, Iterable, MutableSequence, Sequence)
_MAPPINGS = (dict, Mapping)
_PLAIN = (str, bytes, Number, list, tuple, set, Mapping, NoneType)  # what a config can hold
_BOUNDS: dict[type, tuple[str, Callable[[Any, Any], bool]]] = {
    at.Ge: ('at least', operator.ge),
    at.Gt: ('above', operator.gt),
    at.Le: ('at most', operator.le),
    at.Lt: ('below', operator.lt),
    at.MultipleOf: ('a multiple of', lambda value, step: value % step == 0),
    at.MinLen: ('of length at least', lambda value, least: len(value) >= least),
    at.MaxLen: ('of length at most', lambda value, most: len(value) <= most),
}
_SAME_WORD = 0.85  # a name this similar to one of an open class's arguments is misspelt, not passed on
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 80


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
    if _is_typed(component) and (faults := list(argument_faults(component, given, name, taken))):
        raise ConfigError('\n'.join(faults))


def argument_faults(
    component: Callable,
    given: Mapping[str, Any],
    path: str,
    taken: Collection[str] = (),
    annotations: Mapping[str, Any] = MappingProxyType({})) -> Iterator[str]:
    """Yield what is wrong with each argument that is given to a component; missing arguments are not looked for.

    Args:
        component: The class or function that ``given`` is passed to.
        given: The arguments.
        path: Config path of the component, or its name.
        taken: Arguments that the builder reads itself.
        annotations: Annotations to check against instead of the component's own.
    """
    known, accepted = own_arguments(component), accepted_arguments(component)
    hints = dict(annotations)
    if _is_typed(component):
        hints = _hints(component) | hints
    for key, value in given.items():
        here = join_path(path, key)
        text = f'{here}: {name_of(component)} takes no argument {key!r}'
        if key in known:
            is_default = value is None and known[key].default is None  # `begin: int = None` means that None is allowed
            if not is_default and not matches_type(value, hints.get(key, Any)):
                yield describe_type_error(here, value, hints[key])
        elif key in taken:
            continue
        elif accepted is not None:
            yield text + did_you_mean(key, [*accepted, *taken])
        elif near := difflib.get_close_matches(key, known, n=1, cutoff=_SAME_WORD):
            yield f'{text}; did you mean {near[0]!r}?'


def name_of(component: Callable) -> str:
    """Return the name of a class or function, or the class of another callable."""
    return getattr(component, '__name__', type(component).__name__)


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
        with suppress(Exception):  # an annotation that cannot be resolved says nothing about the value
            hints |= typing.get_type_hints(function, include_extras=True)
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
    for base in getattr(component, '__mro__', ())[1:-1]:
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
    is_open = is_open and name_of(component) not in _CLOSED_CLASSES
    return None if is_open or getattr(component, 'accepts_extra_arguments', False) else arguments


def required_arguments(component: Callable, with_bases: bool = False) -> list[str]:
    """Return the arguments without a default; those of the bases too, if asked for."""
    arguments, _ = _signature(component)
    if with_bases:
        arguments = own_arguments(component)
    return [name for name, p in arguments.items() if p.default is p.empty and p.kind is not p.POSITIONAL_ONLY]


def matches_type(value: Any, annotation: Any) -> bool:
    """Tell whether a value has the annotated type and keeps its bounds.

    Lists match tuples and the other way round, since overrides and JSON have no tuples. True and False are not numbers.
    A dict with a ``type``, or a list of these, matches what will be built from it; so does an object that is already
    built where a dict is annotated.
    """
    return _is_component(value) or any(_matches(value, one) for one in _alternatives(annotation))


def _matches(value: Any, annotation: Any) -> bool:
    """Tell whether a value matches an annotation that is not a union."""
    origin, arguments = typing.get_origin(annotation) or annotation, typing.get_args(annotation)
    if annotation in _ANYTHING or (origin in _MAPPINGS and not isinstance(value, _PLAIN)):
        return True
    if origin is typing.Annotated:
        if not matches_type(value, arguments[0]):
            return False
        return value is None or all(_BOUNDS[kind][1](value, limit) for kind, limit in _bounds(annotation).items())
    if origin is typing.Literal:
        return any(type(value) is type(word) and value == word for word in arguments)
    if origin is int:
        return isinstance(value, Integral) and not isinstance(value, bool)
    if origin is float:
        return isinstance(value, Real) and not isinstance(value, bool)
    if origin in _SEQUENCES and isinstance(value, str):
        return False
    if (items := _items(value, annotation)) is not None:
        return all(matches_type(child, expected) for _, child, expected in items)
    try:
        return isinstance(value, origin) and not _is_fixed_tuple(annotation)
    except TypeError:  # a type variable, a name that cannot be resolved
        return True


def _is_component(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return bool(value) and all(map(_is_component, value))
    return isinstance(value, Mapping) and 'type' in value


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    """Return the members of a union, or the annotation itself."""
    if typing.get_origin(annotation) in (typing.Union, UnionType):
        return typing.get_args(annotation)
    return (annotation, )


def _is_fixed_tuple(annotation: Any) -> bool:
    return typing.get_origin(annotation) is tuple and typing.get_args(annotation)[-1] is not ...


def _items(value: Any, annotation: Any) -> list[tuple[Any, Any, Any]] | None:
    """Return key, value and annotation of each item of a dict, list or tuple, or None if it has no such items."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if isinstance(value, Mapping) and origin in _MAPPINGS:
        return [(key, child, arguments[1]) for key, child in value.items()]
    if not isinstance(value, list | tuple) or (origin or annotation) not in _SEQUENCES:
        return None
    if not _is_fixed_tuple(annotation):
        arguments = (*arguments[:1], Any)[:1] * len(value)
    if len(value) != len(arguments):
        return None
    return list(zip(range(len(value)), value, arguments))


def _bounds(annotation: Any) -> dict[type, Any]:
    """Return the bounds of an ``Annotated`` type, kind to limit."""
    metadata = annotation.__metadata__
    inner = itertools.chain.from_iterable(one for one in metadata if isinstance(one, at.GroupedMetadata))
    return {type(one): dataclasses.astuple(one)[0] for one in (*metadata, *inner) if type(one) in _BOUNDS}


def describe_type_error(path: str, value: Any, annotation: Any) -> str:
    """Return the sentence on a value that does not match its annotation; of a list or dict it names the wrong item.

    Example:
        >>> describe_type_error('model.backbone.depth', 0, typing.Annotated[int, at.Ge(1)] | None)
        'model.backbone.depth=0: must be at least 1 or None'
    """
    alternatives = _alternatives(annotation)
    literals = [one for one in alternatives if typing.get_origin(one) is typing.Literal]
    words = [word for literal in literals for word in typing.get_args(literal)]
    others = [repr(word) for word in words]
    if NoneType in alternatives:
        others.append('None')
    for one in alternatives:
        if typing.get_origin(one) is typing.Annotated and matches_type(value, typing.get_args(one)[0]):
            return f'{path}={_REPR.repr(value)}: must be {" or ".join([_bounds_text(one), *others])}'
        for key, child, expected in _items(value, one) or ():
            if not matches_type(child, expected):
                return describe_type_error(join_path(path, key), child, expected)
    if not words:
        return f'{path}={_REPR.repr(value)}: must be of type {format_type(annotation)}'
    others += [format_type(one) for one in alternatives if one not in literals]
    text = f'{path}={_REPR.repr(value)}: must be one of {", ".join(dict.fromkeys(others))}'
    by_text = {str(word): word for word in words}
    if isinstance(value, str) and (near := nearest(value, by_text, most=1)):
        text += f'; did you mean {by_text[near[0]]!r}?'
    return text


def _bounds_text(annotation: Any) -> str:
    """Return the bounds of an ``Annotated`` type in words."""
    limits = _bounds(annotation)
    if limits.keys() == {at.Ge, at.Le}:
        return f'from {limits[at.Ge]} to {limits[at.Le]}'
    return ' and '.join(f'{_BOUNDS[kind][0]} {limit}' for kind, limit in limits.items()).replace('below inf', 'finite')


def format_type(annotation: Any) -> str:
    """Return an annotation as a person would write it.

    Example:
        >>> format_type(Sequence[int] | None)
        'Sequence[int] | None'
        >>> format_type(typing.Optional[float])
        'float | None'
    """
    if annotation is ...:
        return '...'
    alternatives = _alternatives(annotation)
    if len(alternatives) > 1:  # before Python 3.14 one of the two kinds of union prints as `Union[…]`
        return ' | '.join(map(format_type, alternatives))
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return format_type(arguments[0])
    if arguments and origin in (*_SEQUENCES, *_MAPPINGS):
        return f'{origin.__name__}[{", ".join(map(format_type, arguments))}]'
    text = annotation.__name__ if isinstance(annotation, type) and not arguments else str(annotation)
    return re.sub(r'\b(?:[A-Za-z_]\w*\.)+(?=[A-Za-z_])', '', text).replace('NoneType', 'None')
