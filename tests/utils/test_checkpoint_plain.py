"""Plain types and back."""
import enum
from collections import Counter, OrderedDict, namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer
from torch import nn

from ftcls.utils.checkpoint.plain import from_plain, to_plain


class Color(enum.Enum):
    RED = 'red'


class Level(enum.IntEnum):
    LOW = 1


Point = namedtuple('Point', 'x y')


def round_trip(value, tmp_path):
    plain, left_out = to_plain(value)
    assert left_out == []
    torch.save(plain, tmp_path / 'x.pth')
    return from_plain(torch.load(tmp_path / 'x.pth', weights_only=True))


@pytest.mark.parametrize('value, expected', [
    (np.float64(0.1), 0.1), (np.int32(3), 3), (np.bool_(True), True), (np.str_('a'), 'a'), (Color.RED, 'red'),
    (Level.LOW, 1), (Path('/a/b'), '/a/b'), (Point(1, np.float32(2)), (1, 2.0)), (ConfigDict(a=dict(b=1)), {'a': {'b': 1}}),
    (None, None), (True, True), ({'s': {1, 2}}, {'s': {1, 2}}), ((1, [2, (3, )]), (1, [2, (3, )])),
    (np.array(['a', 'b']), ['a', 'b']), ({np.int64(1): 2}, {1: 2}), (Counter([3, 3, 5]), Counter([3, 3, 5])),
    (torch.Size([2, 3]), (2, 3)), (OrderedDict(b=1, a=2), OrderedDict(b=1, a=2)), (b'ab', b'ab'),
])  # yapf: disable
def test_values(value, expected, tmp_path):
    got = round_trip(value, tmp_path)
    assert got == expected and type(got) is type(expected)


@pytest.mark.parametrize('dtype', ['f8', 'f4', 'i8', 'u1', '>f4', '?'])
@pytest.mark.parametrize('shape', [(), (0, ), (2, 3)])
def test_arrays(dtype, shape, tmp_path):
    array = np.ones(shape, dtype)
    got = round_trip({'a': array}, tmp_path)['a']
    assert got.shape == shape and got.dtype == np.dtype(dtype).newbyteorder('=')
    np.testing.assert_array_equal(got, array)


def test_history_buffer(tmp_path):
    buffer = HistoryBuffer(max_length=3)
    for value in (0.1, 0.2, 0.3, 1e-30):
        buffer.update(value, count=2)
    got = round_trip({'loss': buffer}, tmp_path)['loss']
    assert isinstance(got, HistoryBuffer)
    for one, other in zip(got.data, buffer.data):
        assert one.dtype == other.dtype and np.array_equal(one, other)
    buffer.update(5.), got.update(5.)
    assert got.mean(3) == buffer.mean(3) and got.current() == buffer.current() and len(got.data[0]) == len(
        buffer.data[0])


def test_tensors_are_shared_and_metadata_kept(tmp_path):
    state = nn.BatchNorm1d(2).state_dict()
    plain, _ = to_plain({'state_dict': state, 'p': nn.Parameter(torch.ones(2))})
    assert plain['state_dict']['weight'].data_ptr() == state['weight'].data_ptr()
    assert plain['state_dict']._metadata == state._metadata
    assert type(plain['p']) is torch.Tensor


def test_unknown_types_are_left_out_and_named():
    plain, left_out = to_plain({'a': {'f': print, 'x': 1}, 'l': [1, object()]})
    assert plain == {'a': {'x': 1}, 'l': [1]}
    assert left_out == ['a.f (builtin_function_or_method)', 'l[1] (object)']


def test_the_original_is_not_changed():
    original = {'a': [np.float64(1)], 'c': Counter([1])}
    to_plain(original)
    assert type(original['a'][0]) is np.float64 and type(original['c']) is Counter
