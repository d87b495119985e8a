"""Read a ``torch.save`` file whose pickle names types that ``torch.load(weights_only=True)`` refuses, running none of it.

Public checkpoints carry, beside their weights, an ``argparse.Namespace``, a path, a date or a logger's history, and the
weights-only loader then refuses the whole file. The reader here keeps the weights and leaves the rest out. A pickle can
do no more than call what it names, so safety rests on what a name yields: nothing is ever imported, and a name gives
either one of the few builders below (all of them in this file) or a stand-in that stores nothing and does nothing.
Tensors are rebuilt from their raw bytes by this file, with sizes checked against the file, never by the file's code.
"""
import _compat_pickle
import io
import math
import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from ftcls.utils.errors import CheckpointError

__all__ = ['StandIn', 'read_restricted']

# What starts a file written by torch.save before its zip format (torch < 1.6): a pickled integer.
_LEGACY_MAGIC = 0x1950a86a20f9469cfc6c
# Modules that no list of weights has a reason to name: a file that does is refused, though a stand-in would be harmless.
_DANGEROUS_MODULES = frozenset(
    'os posix nt sys subprocess importlib imp runpy pty shutil socket ctypes _ctypes cffi pickle _pickle cPickle dill '
    'cloudpickle joblib marshal shelve code codeop bdb pdb trace timeit profile cProfile pydoc doctest asyncio '
    'multiprocessing threading _thread signal webbrowser urllib http ftplib smtplib telnetlib requests httpx aiohttp '
    'io _io gc inspect zipimport pkgutil pip setuptools distutils ensurepip venv commands popen2 platform atexit '
    'tempfile _posixsubprocess concurrent linecache'.split())
_DANGEROUS_NAMES = {
    'builtins':
    frozenset('eval exec execfile compile __import__ open input breakpoint globals locals vars exit quit '
              'setattr delattr file apply memoryview __build_class__ help'.split()),
    'operator':
    frozenset(('attrgetter', 'methodcaller', 'call')),
    'types':
    frozenset(('FunctionType', 'LambdaType', 'CodeType', 'ModuleType')),
    'torch':
    frozenset(('load', 'compile', 'hub', 'jit')),
    'numpy':
    frozenset(('load', 'fromfile', 'memmap', 'save', 'savez')),
}
_DANGEROUS_PREFIXES = ('torch.hub', 'torch.utils.cpp_extension', 'torch.jit', 'torch.package', 'torch.multiprocessing',
                       'torch.distributed.elastic', 'numpy.testing', 'numpy.f2py', 'numpy.distutils')
_STORAGE_DTYPES = {
    'DoubleStorage': torch.float64, 'FloatStorage': torch.float32, 'HalfStorage': torch.float16,
    'BFloat16Storage': torch.bfloat16, 'LongStorage': torch.int64, 'IntStorage': torch.int32,
    'ShortStorage': torch.int16, 'CharStorage': torch.int8, 'ByteStorage': torch.uint8, 'BoolStorage': torch.bool,
    'ComplexFloatStorage': torch.complex64, 'ComplexDoubleStorage': torch.complex128, 'UntypedStorage': torch.uint8,
}  # yapf: disable


class StandIn:
    """What an unknown type becomes: it takes anything, keeps nothing, and every call gives another stand-in."""
    __slots__ = ()

    def __new__(cls, *args: Any, **kwargs: Any) -> 'StandIn':
        return object.__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def _ignore(self, *args: Any, **kwargs: Any) -> 'StandIn':
        return self

    __call__ = __setstate__ = __setitem__ = append = extend = add = _ignore


class _Sealed:
    """A value that the pickle may pass on but not alter: the BUILD instruction on it ends the reading."""
    __slots__ = ('value', )

    def __init__(self, value: Any) -> None:
        self.value = value

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError('the file tries to alter a part of the reader')


class _Tensor(_Sealed):
    """A rebuilt tensor."""
    __slots__ = ()


class _Storage(_Sealed):
    """A flat tensor, (numel, ), that tensors are views of."""
    __slots__ = ()


class _StorageType(_Sealed):
    """The dtype that a storage class stands for."""
    __slots__ = ()


class _Builder(_Sealed):
    """A function of this file that the pickle may call."""
    __slots__ = ()

    def __call__(self, *args: Any) -> Any:
        return self.value(*args)


class _NumpyType:
    """A NumPy dtype while it is read: its code and byte order."""
    __slots__ = ('code', 'order')

    def __init__(self, code: Any) -> None:
        self.code = code if isinstance(code, str) else ''
        self.order = '='

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ('<', '>', '|', '='):
            self.order = state[1]

    def dtype(self) -> np.dtype | None:
        """Return the dtype where it is a number's, else None."""
        if not re.fullmatch(r'[biufc]\d{1,2}', self.code):
            return None
        return np.dtype(self.code).newbyteorder(self.order)


class _NumpyArray:
    """A NumPy array while it is read."""
    __slots__ = ('array', )

    def __init__(self) -> None:
        self.array: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, raw = state
        dtype = kind.dtype() if isinstance(kind, _NumpyType) else None
        if dtype is None:
            return
        raw = raw.encode('latin1') if isinstance(raw, str) else raw
        self.array = np.frombuffer(raw, dtype).reshape(shape, order='F' if fortran else 'C').copy()


def _numpy_scalar(kind: Any, raw: Any = None) -> Any:
    dtype = kind.dtype() if isinstance(kind, _NumpyType) else None
    if dtype is None:
        return StandIn()
    raw = raw.encode('latin1') if isinstance(raw, str) else raw
    return np.frombuffer(raw, dtype, count=1)[0].item()


def _rebuild(storage: _Storage, offset: int, size: tuple, stride: tuple, *rest: Any) -> _Tensor:
    """Rebuild a tensor as a view of its storage; torch checks that the view lies inside."""
    return _Tensor(torch.as_strided(storage.value, tuple(size), tuple(stride), int(offset)))


def _rebuild_v3(storage: _Storage, offset: int, size: tuple, stride: tuple, grad: Any, hooks: Any, dtype: Any, *rest:
                Any) -> _Tensor:
    return _rebuild(_Storage(storage.value.view(dtype)), offset, size, stride)


def _rebuild_from_type(function: Any, kind: Any, args: tuple, state: Any) -> Any:
    return function(*args) if isinstance(function, _Builder) else StandIn()


def _to_bytes(value: Any = b'', *rest: Any) -> bytes:
    if isinstance(value, str):
        return value.encode('latin1')
    return bytes(value) if isinstance(value, (bytes, bytearray, list)) else b''


_BUILDERS: dict[tuple[str, str], Callable] = {
    ('torch._utils', '_rebuild_tensor'): _rebuild,
    ('torch._utils', '_rebuild_tensor_v2'): _rebuild,
    ('torch._utils', '_rebuild_tensor_v3'): _rebuild_v3,
    ('torch._utils', '_rebuild_parameter'): lambda data, *rest: data,
    ('torch._utils', '_rebuild_parameter_with_state'): lambda data, *rest: data,
    ('torch.nn.parameter', 'Parameter'): lambda data=None, *rest: data,
    ('torch._tensor', '_rebuild_from_type_v2'): _rebuild_from_type,
    ('torch', 'Size'): lambda size=(): tuple(size),
    ('torch', 'device'): lambda *args: ':'.join(str(a) for a in args),
    ('numpy', 'dtype'): lambda code='', *rest: _NumpyType(code),
    ('numpy.core.multiarray', 'scalar'): _numpy_scalar,
    ('numpy.core.multiarray', '_reconstruct'): lambda *args: _NumpyArray(),
    ('_codecs', 'encode'): _to_bytes,
    ('builtins', 'bytes'): _to_bytes,
    ('builtins', 'bytearray'): _to_bytes,
    ('collections', 'defaultdict'): lambda *args: {},
    ('collections', 'Counter'): lambda counts=(): dict(counts),
}
_PLAIN_TYPES = {
    ('collections', 'OrderedDict'): OrderedDict,
    **{
        ('builtins', t.__name__): t
        for t in (dict, list, tuple, set, frozenset, int, float, bool, str, complex)
    },
}


def _is_dangerous(module: str, name: str) -> bool:
    first = name.split('.')[0]
    return (module.split('.')[0] in _DANGEROUS_MODULES or first in _DANGEROUS_NAMES.get(module, ())
            or any(module == p or module.startswith(p + '.') for p in _DANGEROUS_PREFIXES))


class _RestrictedUnpickler(pickle.Unpickler):
    """An unpickler for which names yield builders and stand-ins only."""

    def __init__(self, file: BinaryIO, get_storage: Callable[..., torch.Tensor] | None = None) -> None:
        super().__init__(file, encoding='latin1')
        self._get_storage = get_storage
        self.left_out: set[str] = set()

    def find_class(self, module: str, name: str) -> Any:
        """Return what a name in the pickle stands for; nothing is imported.

        Raises:
            CheckpointError: If the name is one that only an attack has a use for.
        """
        if (module, name) in _compat_pickle.NAME_MAPPING:  # files written by Python 2
            module, name = _compat_pickle.NAME_MAPPING[module, name]
        module = _compat_pickle.IMPORT_MAPPING.get(module, module)
        if _is_dangerous(module, name):
            raise CheckpointError(f'it names {module}.{name}, which could run code; no weights need that. Nothing of '
                                  'it was run. Delete the file and take the weights from a source you trust')
        if module == 'numpy._core.multiarray':
            module = 'numpy.core.multiarray'
        if (module, name) in _PLAIN_TYPES:
            return _PLAIN_TYPES[module, name]
        if (module, name) in _BUILDERS:
            return _Builder(_BUILDERS[module, name])
        if module in ('torch', 'torch.cuda', 'torch.storage') and name in _STORAGE_DTYPES:
            return _StorageType(_STORAGE_DTYPES[name])
        if module == 'torch' and isinstance(vars(torch).get(name), torch.dtype):
            return vars(torch)[name]
        self.left_out.add(f'{module}.{name}')
        return type('StandIn', (StandIn, ), {'__slots__': ()})

    def persistent_load(self, pid: Any) -> Any:
        """Return the storage, or the class of a pickled module (a stand-in), that an id in the pickle stands for."""
        kind = pid[0] if isinstance(pid, tuple) and pid else None
        if kind == 'module':
            return pid[1]
        if kind != 'storage' or self._get_storage is None:
            raise pickle.UnpicklingError(f'unknown reference {kind!r}')
        storage_type, key, _, numel = pid[1:5]
        if not isinstance(storage_type, _StorageType) or not isinstance(numel, int):
            raise pickle.UnpicklingError('a storage of no known type')
        flat = self._get_storage(str(key), storage_type.value, numel)
        if len(pid) > 5 and pid[5] is not None:
            _, offset, size = pid[5]
            flat = flat[offset:offset + size]
        return _Storage(flat)


def _plain(value: Any) -> Any:
    """Take the wrappers off; entries of a dict that are stand-ins are left out, in a list they become None."""
    if isinstance(value, _Tensor):
        return value.value
    if isinstance(value, _NumpyArray):
        return value.array
    if isinstance(value, dict):
        pairs = ((_plain(k), v, _plain(v)) for k, v in dict.items(value))
        return {k: plain for k, v, plain in pairs if k is not None and (v is None or plain is not None)}
    if isinstance(value, (list, tuple, set, frozenset)):
        return type(value)(_plain(v) for v in value)
    if isinstance(value, (StandIn, _Sealed, _NumpyType, type)):
        return None
    return value


def _read_zip(path: Path) -> tuple[Any, set[str]]:
    with zipfile.ZipFile(path) as archive:
        record = next(n for n in archive.namelist() if n == 'data.pkl' or n.endswith('/data.pkl'))
        root = record[:-len('data.pkl')]
        if root + 'byteorder' in archive.namelist() and archive.read(root + 'byteorder') == b'big':
            raise CheckpointError(
                'it was written on a big-endian machine; load and save it again there with plain types')
        storages: dict[str, torch.Tensor] = {}

        def get_storage(key: str, dtype: torch.dtype, numel: int) -> torch.Tensor:
            if key not in storages:
                info = archive.getinfo(f'{root}data/{key}')
                if info.compress_type != zipfile.ZIP_STORED or info.file_size < numel * dtype.itemsize:
                    raise pickle.UnpicklingError(f'storage {key} holds fewer than {numel} numbers')
                raw = bytearray(archive.read(info))
                storages[key] = torch.frombuffer(
                    raw, dtype=dtype, count=numel) if numel else torch.empty(
                        0, dtype=dtype)
            return storages[key]

        unpickler = _RestrictedUnpickler(io.BytesIO(archive.read(record)), get_storage)
        return unpickler.load(), unpickler.left_out


def _read_legacy(path: Path) -> tuple[Any, set[str]]:
    size = path.stat().st_size
    storages: dict[str, torch.Tensor] = {}

    def get_storage(key: str, dtype: torch.dtype, numel: int) -> torch.Tensor:
        if key not in storages:
            if not 0 <= numel * dtype.itemsize <= size:
                raise pickle.UnpicklingError(f'storage {key} would be larger than the file')
            storages[key] = torch.zeros(numel, dtype=dtype)
        return storages[key]

    with open(path, 'rb') as file:
        if _RestrictedUnpickler(file).load() != _LEGACY_MAGIC:
            raise pickle.UnpicklingError('not a file of torch.save')
        _RestrictedUnpickler(file).load()  # the version of the format
        _RestrictedUnpickler(file).load()  # the sizes of C types on the machine that wrote it
        unpickler = _RestrictedUnpickler(file, get_storage)
        content = unpickler.load()
        # The numbers follow the pickles: for each storage its length, 8 bytes, then its bytes.
        for key in _RestrictedUnpickler(file).load():
            flat = storages[str(key)]
            numel = int.from_bytes(file.read(8), 'little')
            raw = file.read(numel * flat.element_size()) if numel == flat.numel() else b''
            if len(raw) != math.prod(flat.shape) * flat.element_size():
                raise EOFError(f'storage {key} is cut short')
            if numel:
                flat.copy_(torch.frombuffer(bytearray(raw), dtype=flat.dtype))
    return content, unpickler.left_out


def read_restricted(path: Path) -> tuple[Any, set[str]]:
    """Read a file of ``torch.save`` (zip or the older format) onto the CPU; types that are not plain are left out.

    Returns:
        The content, built of plain types and tensors (a top-level object of an unknown type is given as None), and the
        full names of the types that were left out.

    Raises:
        CheckpointError: If the file names something that could run code.
        Exception: Whatever a damaged file leads to; the caller turns it into a ``CheckpointError``.
    """
    content, left_out = (_read_zip if zipfile.is_zipfile(path) else _read_legacy)(path)
    return _plain(content), left_out
