"""No file, however made, runs anything when it is read."""
import os
import pickle
import struct
import subprocess
import warnings
import zipfile
from argparse import Namespace
from collections import OrderedDict, defaultdict
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer
from torch import nn

from ftcls.utils.checkpoint.reading import read_checkpoint
from ftcls.utils.checkpoint.restricted_pickle import StandIn, read_restricted
from ftcls.utils.errors import CheckpointError


class Call:
    """Pickles to a call of ``function``."""

    def __init__(self, function, *args) -> None:
        self.function, self.args = function, args

    def __reduce__(self) -> tuple:
        return self.function, self.args


class BuildCall:
    """Pickles to an object whose BUILD state holds a call."""

    def __init__(self, inner) -> None:
        self.inner = inner

    def __reduce__(self) -> tuple:
        return Namespace, (), {'x': self.inner}


def weights() -> OrderedDict:
    torch.manual_seed(0)
    return OrderedDict(a=torch.randn(3, 4), b=torch.randn(6)[1:4], c=torch.arange(3))


def _attack_file(path: Path, payload: object, legacy: bool, key: str = 'meta') -> None:
    torch.save({'state_dict': weights(), key: payload}, path, _use_new_zipfile_serialization=not legacy)


@pytest.mark.parametrize('legacy', [False, True], ids=['zip', 'legacy'])
@pytest.mark.parametrize(
    'wrap', [lambda c: c, BuildCall, lambda c: [(c, )], lambda c: {
        'args': Namespace(x=c)
    }],
    ids=['plain', 'build', 'nested', 'namespace'])
@pytest.mark.parametrize('kind', ['system', 'eval', 'exec', 'popen', 'import', 'open'])
def test_malicious_file_runs_nothing_and_is_refused(tmp_path, kind, wrap, legacy):
    mark = tmp_path / 'ran'
    calls = {
        'system': (Call(os.system, f'touch {mark}'), 'posix.system'),
        'eval': (Call(eval, f'open({str(mark)!r}, "w")'), 'builtins.eval'),
        'exec': (Call(exec, f'open({str(mark)!r}, "w")'), 'builtins.exec'),
        'popen': (Call(subprocess.Popen, ['touch', str(mark)]), 'subprocess.Popen'),
        'import': (Call(__import__, 'antigravity'), 'builtins.__import__'),
        'open': (Call(open, str(mark), 'w'), 'open'),
    }
    payload, name = calls[kind]
    _attack_file(tmp_path / 'evil.pth', wrap(payload), legacy)
    with pytest.raises(CheckpointError, match='could run code') as err:
        read_checkpoint(tmp_path / 'evil.pth')
    assert name in str(err.value) and 'evil.pth' in str(err.value)
    assert not mark.exists()


def test_the_attacks_are_real(tmp_path):
    """The same object does run code where it is read carelessly: the tests above prove something."""
    mark = tmp_path / 'ran'
    pickle.loads(pickle.dumps({'state_dict': {}, 'meta': BuildCall(Call(os.system, f'touch {mark}'))}, protocol=2))
    assert mark.exists()


def _zip_with_pickle(path: Path, data: bytes) -> None:
    torch.save({'state_dict': weights()}, path)
    with zipfile.ZipFile(path) as archive:
        files = {n: archive.read(n) for n in archive.namelist()}
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(name, data if name.endswith('data.pkl') else content)


@pytest.mark.parametrize('protocol', [0, 1, 2, 3, 4, 5])
def test_every_pickle_protocol_is_inert(tmp_path, protocol):
    mark = tmp_path / 'ran'
    _zip_with_pickle(tmp_path / 'evil.pth', pickle.dumps({'x': Call(os.system, f'touch {mark}')}, protocol))
    with pytest.raises(CheckpointError):
        read_checkpoint(tmp_path / 'evil.pth')
    assert not mark.exists()


@pytest.mark.parametrize('data', [
    b"(S'touch {mark}'\nios\nsystem\n.",  # INST
    b"(cos\nsystem\nS'touch {mark}'\no.",  # OBJ
    b"cos\nsystem\n(S'touch {mark}'\ntR.",  # GLOBAL, REDUCE
    b"cnt\nsystem\n(S'touch {mark}'\ntR.",
    b"c__builtin__\neval\n(S'open(\"{mark}\", \"w\")'\ntR.",  # the name that Python 2 gives
    b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x06touch \x85R.",  # STACK_GLOBAL
    b"\x80\x04\x8c\x08builtins\x8c\x0deval.__call__\x93\x8c\x011\x85R.",  # a dotted name
    b"\x80\x02cos\nsystem\n}\x81.",  # NEWOBJ
], ids=['inst', 'obj', 'reduce', 'nt', 'python2', 'stack-global', 'dotted', 'newobj'])  # yapf: disable
def test_hand_made_pickles_are_refused(tmp_path, data):
    mark = tmp_path / 'ran'
    _zip_with_pickle(tmp_path / 'evil.pth', data.replace(b'{mark}', str(mark).encode()))
    with pytest.raises(CheckpointError, match='could run code'):
        read_checkpoint(tmp_path / 'evil.pth')
    assert not mark.exists()


@pytest.mark.parametrize('data', [
    # State put onto a rebuilding function, onto a class, and onto a storage type: each ends the reading.
    b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x05\x00\x00\x00valueK\x01sb.",
    b"\x80\x02ccollections\nOrderedDict\n}X\x05\x00\x00\x00itemsK\x01sb.",
    b"\x80\x02cargparse\nNamespace\n}X\x05\x00\x00\x00itemsK\x01sb.",
    b"\x80\x02ctorch\nFloatStorage\nN}X\x05\x00\x00\x00valueK\x01s\x86b.",
], ids=['function', 'class', 'stand-in', 'storage'])  # yapf: disable
def test_the_readers_own_parts_cannot_be_altered(tmp_path, data):
    _zip_with_pickle(tmp_path / 'evil.pth', data)
    with pytest.raises(CheckpointError):
        read_checkpoint(tmp_path / 'evil.pth')


def test_unknown_functions_are_never_imported_or_called(tmp_path, monkeypatch):
    (tmp_path / 'trap_module.py').write_text(f'open({str(tmp_path / "ran")!r}, "w")\nclass Trap: pass\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    data = b"\x80\x02}(X\x01\x00\x00\x00wctrap_module\nTrap\n)RX\x01\x00\x00\x00vK\x01u."
    _zip_with_pickle(tmp_path / 'odd.pth', data)
    content, left_out = read_restricted(tmp_path / 'odd.pth')
    assert content == {'v': 1} and left_out == {'trap_module.Trap'}
    assert not (tmp_path / 'ran').exists()


def test_stand_in_keeps_nothing():
    stand_in = StandIn(1, 2, key=3)
    stand_in.__setstate__({'x': 1})
    stand_in['a'] = 1
    stand_in.append(1)
    assert isinstance(stand_in(5), StandIn) and not hasattr(stand_in, '__dict__')


class Odd(dict):
    """A dict of a type that is unknown elsewhere."""


def harmless() -> dict:
    buffer = HistoryBuffer()
    buffer.update(1.5)
    return {
        'args': Namespace(lr=0.1, path=Path('/tmp')),
        'path': Path('/tmp/x'),
        'date': datetime(2024, 1, 2),
        'scalar': np.float64(1.25),
        'int': np.int64(7),
        'array': np.arange(6, dtype='>f4').reshape(2, 3),
        'strings': np.array(['a', 'b'], dtype=object),
        'config': ConfigDict(a=dict(b=1)),
        'buffer': buffer,
        'odd': Odd(a=1),
        'by_name': defaultdict(list, a=[1, 2]),
        'function': nn.functional.relu,
        'tuple': (1, Namespace(), 'x'),
        'set': {1, 2},
    }


@pytest.mark.parametrize('protocol', [2, 4])
@pytest.mark.parametrize('legacy', [False, True], ids=['zip', 'legacy'])
def test_weights_beside_harmless_types_are_read(tmp_path, legacy, protocol):
    state = weights()
    state['p'] = nn.Parameter(torch.randn(2, 2).half())
    state['view'] = state['a'].t()  # shares the storage of a, other strides
    state['empty'] = torch.empty(0, 3)
    state['bool'] = torch.tensor([True, False])
    torch.save({
        'state_dict': state,
        **harmless()
    },
               tmp_path / 'c.pth',
               pickle_protocol=protocol,
               _use_new_zipfile_serialization=not legacy)
    with warnings.catch_warnings(), pytest.raises(pickle.UnpicklingError):
        warnings.simplefilter('ignore')  # about the protocol
        torch.load(tmp_path / 'c.pth', weights_only=True)
    checkpoint = read_checkpoint(tmp_path / 'c.pth')
    got = checkpoint['state_dict']
    assert list(got) == list(state)
    for name, tensor in state.items():
        assert type(got[name]) is torch.Tensor and got[name].dtype == tensor.dtype
        assert torch.equal(got[name], tensor.detach())
    assert got['view'].data_ptr() == got['a'].data_ptr()
    assert checkpoint['scalar'] == 1.25 and checkpoint['int'] == 7
    np.testing.assert_array_equal(checkpoint['array'], np.arange(6).reshape(2, 3))
    assert checkpoint['tuple'] == (1, None, 'x') and checkpoint['by_name'] == {'a': [1, 2]}
    assert checkpoint['set'] == {1, 2}
    assert not {'args', 'date', 'buffer', 'odd', 'config', 'function'} & set(checkpoint)


def test_storage_larger_than_the_file_is_refused(tmp_path):
    """A tensor that claims numbers that the file has not would show other memory."""
    torch.save({'w': torch.arange(4.), 'n': Namespace()}, tmp_path / 'c.pth')
    with zipfile.ZipFile(tmp_path / 'c.pth') as archive:
        data = archive.read(next(n for n in archive.namelist() if n.endswith('data.pkl')))
        files = {n: archive.read(n) for n in archive.namelist()}
    for old, new in ((b'K\x04t', b'K\x40t'), (b'K\x04\x85', b'K\x40\x85')):  # the storage's length; the tensor's
        assert old in data
        with zipfile.ZipFile(tmp_path / 'd.pth', 'w', zipfile.ZIP_STORED) as archive:
            for name, content in files.items():
                archive.writestr(name, data.replace(old, new) if name.endswith('data.pkl') else content)
        with pytest.raises(CheckpointError, match='damaged'):
            read_checkpoint(tmp_path / 'd.pth')


def test_whole_pickled_model_is_refused_with_the_way_out(tmp_path):
    torch.save(nn.Linear(2, 3), tmp_path / 'model.pth')
    with pytest.raises(CheckpointError, match=r'whole pickled object.*model\.state_dict\(\)'):
        read_checkpoint(tmp_path / 'model.pth')


def test_legacy_storage_cut_short_is_refused(tmp_path):
    torch.save({'w': torch.arange(400.), 'n': Namespace()}, tmp_path / 'c.pth', _use_new_zipfile_serialization=False)
    data = (tmp_path / 'c.pth').read_bytes()
    (tmp_path / 'c.pth').write_bytes(data[:-struct.calcsize('d')])
    with pytest.raises(CheckpointError, match='cut short or damaged'):
        read_checkpoint(tmp_path / 'c.pth')
