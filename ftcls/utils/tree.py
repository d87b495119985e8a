"""One walk over a config, for all who look for something in it."""
from collections.abc import Callable, Iterator, Mapping
from typing import Any

__all__ = ['as_list', 'find_paths', 'join_path', 'walk']


def join_path(path: str, key: str | int) -> str:
    """Return the path of ``key`` inside ``path``: ``'model.head'``, ``'pipeline.0'``."""
    return f'{path}.{key}' if path else str(key)


def walk(node: Any, path: str = '', into: Callable[[str, Any], bool] | None = None) -> Iterator[tuple[str, Any]]:
    """Yield the path and the value of a config's node and of everything inside it, from the outside inwards.

    Args:
        node: A dict, a list, a tuple or a plain value.
        path: Path of ``node`` itself.
        into: Asked with a path and its value whether to look inside it; None looks everywhere.

    Example:
        >>> list(walk({'a': [1, {'b': 2}]}))
        [('', {'a': [1, {'b': 2}]}), ('a', [1, {'b': 2}]), ('a.0', 1), ('a.1', {'b': 2}), ('a.1.b', 2)]
    """
    yield path, node
    if into is not None and not into(path, node):
        return
    if isinstance(node, Mapping):
        items = list(node.items())
    elif isinstance(node, list | tuple):
        items = list(enumerate(node))
    else:
        return
    for key, child in items:
        yield from walk(child, join_path(path, key), into)


def find_paths(node: Any, value: Any) -> list[str]:
    """Return the paths inside ``node`` whose value has the type of ``value`` and equals it."""
    return [path for path, child in walk(node) if path and type(child) is type(value) and child == value]


def as_list(value: Any) -> list:
    """Return a list or tuple as a list, anything else as a list of one."""
    return list(value) if isinstance(value, list | tuple) else [value]
