"""Read a ``torch.save`` file whose pickle names types that ``torch.load(weights_only=True)`` refuses, running none of
it.

Public checkpoints carry, beside their weights, an ``argparse.Namespace``, a path, a date or a logger's history. A
pickle can do no more than call what its names yield. Here nothing is imported for a name: it yields one of the few
functions below or a stand-in that stores nothing and does nothing. ``torch.load`` does the rest.
"""
import _compat_pickle
import io
import pickle
import warnings
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import numpy as np
import torch

from ftcls.utils.errors import CheckpointError

__all__ = ['RestrictedUnpickler', 'StandIn', 'read_restricted']

_DANGEROUS = frozenset(  # no list of weights has a reason to name these: the file is refused
    'os posix nt sys subprocess importlib imp runpy pty shutil socket ctypes _ctypes cffi pickle _pickle cPickle dill '
    'cloudpickle joblib marshal shelve code codeop bdb pdb trace timeit profile cProfile pydoc doctest asyncio '
    'multiprocessing threading _thread signal webbrowser urllib http ftplib smtplib telnetlib requests httpx aiohttp '
    'io _io gc inspect zipimport pkgutil pip setuptools distutils ensurepip venv commands popen2 platform atexit '
    'tempfile _posixsubprocess concurrent linecache torch.hub torch.jit torch.package torch.load torch.compile '
    'torch.multiprocessing torch.utils.cpp_extension numpy.load numpy.fromfile numpy.memmap numpy.save numpy.f2py '
    'numpy.testing numpy.distutils operator.attrgetter operator.methodcaller operator.call types.FunctionType '
    'types.LambdaType types.CodeType types.ModuleType'.split())
_HARMLESS_BUILTINS = frozenset('bool bytearray bytes complex dict float frozenset getattr int list object print range '
                               'set slice str tuple type None NotImplemented Ellipsis'.split())


class StandIn:
    """What an unknown type or function becomes: it takes anything, keeps nothing, and every call gives another one."""
    __slots__ = ()
    dump_patches = False  # asked for by torch's reader of old files

    def __new__(cls, *args: Any, **kwargs: Any) -> 'StandIn':
        return object.__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def _ignore(self, *args: Any, **kwargs: Any) -> 'StandIn':
        return self

    __call__ = __setstate__ = __setitem__ = append = extend = add = _ignore


class _Function:
    """A function that the pickle may call but not alter."""
    __slots__ = ('_function', )

    def __init__(self, function: Callable) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError('the file tries to alter a part of the reader')


def _rebuild_from_type(function: Any, kind: Any, args: tuple, state: Any) -> Any:
    return function(*args) if isinstance(function, _Function) else StandIn()


def _first(data: Any = None, *rest: Any) -> Any:
    return data


_ALLOWED: dict[str, Callable] = {
    'torch._utils._rebuild_tensor': torch._utils._rebuild_tensor,
    'torch._utils._rebuild_tensor_v2': torch._utils._rebuild_tensor_v2,
    'torch._utils._rebuild_tensor_v3': torch._utils._rebuild_tensor_v3,
    'torch._utils._rebuild_parameter': _first,
    'torch._utils._rebuild_parameter_with_state': _first,
    'torch.nn.parameter.Parameter': _first,
    'torch._tensor._rebuild_from_type_v2': _rebuild_from_type,
    # of a tensor in a plain pickle, whose content is a file of its own
    'torch.storage._load_from_bytes': lambda raw: torch.load(io.BytesIO(raw), 'cpu', weights_only=True),
    'torch.Size': tuple,
    'torch.device': str,
    'collections.OrderedDict': OrderedDict,
    'collections.defaultdict': lambda *args: {},
    'collections.Counter': dict,
    'builtins.set': set,
    'builtins.frozenset': frozenset,
    'builtins.bytes': bytes,
    'builtins.bytearray': bytes,
    '_codecs.encode': lambda text, *rest: text.encode('latin1'),
    # old pickles have ints instead of bools
    'numpy.dtype': lambda name, align=0, copy=0: np.dtype(name, align=bool(align), copy=bool(copy)),
    'numpy._core.multiarray.scalar': lambda dtype, raw=None: np.frombuffer(raw, dtype, count=1)[0].item(),
    'numpy._core.numeric._frombuffer': np.zeros(1).__reduce_ex__(5)[0],
    'numpy._core.multiarray._reconstruct': lambda *args: np.empty(0, 'b'),
}


class RestrictedUnpickler(pickle.Unpickler):
    """Turns every name into an allowed function or a stand-in; ``left_out`` gathers the names of the stand-ins."""

    left_out: set[str] = set()

    def find_class(self, module: str, name: str) -> Any:
        """Return what a name in the pickle stands for."""
        module, name = _compat_pickle.NAME_MAPPING.get((module, name), (module, name))  # names of Python 2
        module = _compat_pickle.IMPORT_MAPPING.get(module, module).replace('numpy.core', 'numpy._core')
        full = f'{module}.{name}'
        parts = full.split('.')
        is_dangerous = any('.'.join(parts[:i]) in _DANGEROUS for i in range(1, len(parts) + 1))
        if is_dangerous or (module == 'builtins' and parts[1] not in _HARMLESS_BUILTINS):
            raise CheckpointError(f'it names {full}, which could run code; take the file from a source that you trust')
        if full in _ALLOWED:
            return _Function(_ALLOWED[full])
        if module == 'torch' and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        self.left_out.add(full)
        return StandIn


def _plain(value: Any) -> Any:
    """Copy a nested value without stand-ins: such an entry of a dict is left out, in a list it becomes None."""
    if isinstance(value, dict):
        pairs = ((_plain(key), inner, _plain(inner)) for key, inner in value.items())
        return {key: plain for key, inner, plain in pairs if key is not None and (inner is None or plain is not None)}
    if isinstance(value, list | tuple | set | frozenset):
        return type(value)(_plain(item) for item in value)
    if isinstance(value, np.ndarray) and value.dtype.hasobject:
        return _plain(value.tolist())
    if isinstance(value, bool | int | float | complex | str | bytes | torch.Tensor | torch.dtype | np.ndarray):
        return value
    return None


def read_restricted(path: Path, map_location: str | torch.device = 'cpu') -> tuple[Any, set[str]]:
    """Read a file of ``torch.save`` (zip or the older formats); types that are not plain are left out.

    Returns:
        The content, built of plain types and tensors (a top-level object of an unknown type is given as None), and the
        full names of the types that were left out.

    Raises:
        CheckpointError: If the file names something that could run code.
        Exception: Whatever a damaged file leads to; the caller turns it into a ``CheckpointError``.
    """
    left_out: set[str] = set()
    reader = type('Unpickler', (RestrictedUnpickler, ), {'left_out': left_out})

    def load(file: BinaryIO, **kwargs: Any) -> Any:
        return reader(file, **kwargs).load()

    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of old formats
        module = SimpleNamespace(Unpickler=reader, load=load, __name__=__name__)
        content = torch.load(path, map_location, module, weights_only=False)
    return _plain(content), left_out
