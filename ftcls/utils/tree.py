"""One walk over a config, for all who look for something in it."""
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

__all__ = ['NOT_SET', 'as_list', 'differences', 'find_paths', 'grouped', 'join_path', 'walk']


class _NotSet:

    def __repr__(self) -> str:
        return 'not set'


NOT_SET = _NotSet()  # stands for the value of a key that is not there


def join_path(path: str, key: str | int) -> str:
    """Return the path of ``key`` inside ``path``: ``'model.head'``, ``'pipeline.0'``."""
    return f'{path}.{key}' if path else str(key)


def walk(node: Any, path: str = '') -> Iterator[tuple[str, Any]]:
    """Yield the path and the value of a config's node and of everything inside it, from the outside inwards.

    Args:
        node: A dict, a list, a tuple or a plain value.
        path: Path of ``node`` itself.

    Example:
        >>> list(walk({'a': [1, {'b': 2}]}))
        [('', {'a': [1, {'b': 2}]}), ('a', [1, {'b': 2}]), ('a.0', 1), ('a.1', {'b': 2}), ('a.1.b', 2)]
    """
    yield path, node
    items = []
    if isinstance(node, Mapping):
        items = list(node.items())
    elif isinstance(node, list | tuple):
        items = list(enumerate(node))
    for key, child in items:
        yield from walk(child, join_path(path, key))


def find_paths(node: Any, value: Any) -> list[str]:
    """Return the paths inside ``node`` whose value has the type of ``value`` and equals it."""
    return [path for path, child in walk(node) if path and type(child) is type(value) and child == value]


def differences(old: Any, new: Any, path: str = '', missing: Any = NOT_SET) -> Iterator[tuple[str, Any, Any]]:
    """Yield path, old value and new value of each innermost part that two configs differ in; lists equal tuples.

    Args:
        old: A config or a part of it.
        new: The one to compare it with.
        path: Path of both.
        missing: Stands for the value of a key that one of them lacks.

    Example:
        >>> list(differences({'lr': 0.1, 'steps': [1, 2]}, {'lr': 0.2, 'steps': (1, 2)}))
        [('lr', 0.1, 0.2)]
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys([*old, *new]):
            yield from differences(old.get(key, missing), new.get(key, missing), join_path(path, key), missing)
    elif isinstance(old, list | tuple) and isinstance(new, list | tuple) and len(old) == len(new):
        for i, (one, other) in enumerate(zip(old, new)):
            yield from differences(one, other, join_path(path, i), missing)
    elif old != new:
        yield path, old, new


def grouped(pairs: Iterable[tuple[Any, Any]]) -> dict[Any, list]:
    """Return the values that come with each key."""
    groups: dict[Any, list] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return groups


def as_list(value: Any) -> list:
    """Return a list or tuple as a list, anything else as a list of one."""
    return list(value) if isinstance(value, list | tuple) else [value]
