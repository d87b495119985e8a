"""Turn what a training run keeps into types that ``torch.load(weights_only=True)`` reads, and back."""
import enum
import os
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from types import NoneType
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

from ftcls.utils.tree import join_path

__all__ = ['from_plain', 'to_plain']

_MARK = '__ftcls_type__'  # marks a dict that stands for another type, with that type's name as its value
_LEFT_OUT = object()


def _array_to_plain(array: np.ndarray) -> Any:
    if array.dtype.kind not in 'biuf':
        return array.tolist()
    native = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder('='))
    return {_MARK: 'ndarray', 'data': torch.from_numpy(native.reshape(array.shape).copy())}


def _history_to_plain(buffer: HistoryBuffer) -> dict:
    values, counts = (torch.from_numpy(np.array(numbers)) for numbers in buffer.data)
    return {_MARK: 'HistoryBuffer', 'values': values, 'counts': counts, 'max_length': int(buffer.max_length)}


def _history_from_plain(entry: Mapping) -> HistoryBuffer:
    return HistoryBuffer(entry['values'].cpu().numpy(), entry['counts'].cpu().numpy(), entry['max_length'])


_TO_PLAIN: tuple[tuple[type, Callable[[Any], Any]], ...] = (  # the first that a value is an instance of counts
    (torch.Tensor, lambda v: v.detach().as_subclass(torch.Tensor)), (HistoryBuffer, _history_to_plain),
    (np.ndarray, _array_to_plain), (np.generic, lambda v: v.item()), (enum.Enum, lambda v: v.value),
    (os.PathLike, os.fspath), *((kind, kind) for kind in (bool, int, float, str, bytes)),
    *((kind, lambda v: v) for kind in (NoneType, torch.dtype, torch.device)))
_FROM_PLAIN: dict[str, Callable[[Mapping], Any]] = dict(
    HistoryBuffer=_history_from_plain,
    ndarray=lambda entry: entry['data'].cpu().numpy(),
    Counter=lambda entry: Counter(dict(entry['items'])))


def _empty_like(value: Mapping) -> dict:
    return OrderedDict() if isinstance(value, OrderedDict) else {}


def _walk(value: Any, path: str, left_out: list[str]) -> Any:
    if isinstance(value, Counter):
        return {_MARK: 'Counter', 'items': [[_walk(k, path, left_out), int(n)] for k, n in value.items()]}
    if isinstance(value, Mapping):
        plain = _empty_like(value)
        for key, inner in value.items():
            new = _walk(inner, join_path(path, key), left_out)
            if new is not _LEFT_OUT:
                plain[_walk(key, path, left_out)] = new
        if hasattr(value, '_metadata'):  # a state dict's versions, which torch keeps beside its entries
            plain._metadata = _walk(value._metadata, path, left_out)
        return plain
    if isinstance(value, list | tuple | set | frozenset):
        items = [_walk(v, f'{path}[{i}]', left_out) for i, v in enumerate(value)]
        kind = next(kind for kind in (tuple, set, list, frozenset) if isinstance(value, kind))
        return {frozenset: set}.get(kind, kind)(item for item in items if item is not _LEFT_OUT)
    for kind, convert in _TO_PLAIN:
        if isinstance(value, kind) and kind in (enum.Enum, np.ndarray):
            return _walk(convert(value), path, left_out)
        if isinstance(value, kind):
            return convert(value)
    left_out.append(f'{path} ({type(value).__name__})')
    return _LEFT_OUT


def to_plain(value: Any) -> tuple[Any, list[str]]:
    """Copy a nested value with all of it turned into tensors, numbers, strings, lists, tuples, sets and dicts.

    NumPy numbers become Python's; NumPy arrays, ``Counter`` and MMEngine's ``HistoryBuffer`` become marked dicts, which
    :func:`from_plain` turns back. Tensors are shared, not copied. Plain values come out as they went in.

    Returns:
        The copy, and where something of another type was, with the type; it is left out of the copy.
    """
    left_out: list[str] = []
    plain = _walk(value, '', left_out)
    if plain is _LEFT_OUT:
        plain = None
    return plain, left_out


def from_plain(value: Any) -> Any:
    """Copy a nested value with the marked dicts of :func:`to_plain` turned back into what they stand for."""
    if isinstance(value, Mapping):
        if value.get(_MARK) in _FROM_PLAIN:
            return _FROM_PLAIN[value[_MARK]](value)
        restored = _empty_like(value)
        restored.update((key, from_plain(inner)) for key, inner in value.items())
        if hasattr(value, '_metadata'):
            restored._metadata = value._metadata
        return restored
    if type(value) in (list, tuple):
        return type(value)(from_plain(v) for v in value)
    return value
