"""Find and read checkpoint files, from whatever source, so that nothing in them can run."""
import os
import pickle
import urllib.parse
import warnings
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.runner import CheckpointLoader
from safetensors.torch import load_file

from ftcls.utils.download import download, hash_from_name
from ftcls.utils.errors import CheckpointError, MissingFileError
from ftcls.utils.names import did_you_mean, enumerate_names, missing_hint
from ftcls.utils.tree import walk
from .restricted_pickle import read_restricted

__all__ = ['checkpoint_meta', 'locate_checkpoint', 'read_checkpoint', 'register_safe_loading']

MapLocation = str | torch.device | None
_SUFFIXES = ('.pth', '.th', '.pt', '.bin', '.safetensors', '.tar', '.ckpt')
_HEAD = 512  # bytes read to tell what a file is
_MAX_TABLE = 100 << 20  # bytes of a .safetensors file's table of tensors, by its format

_FOREIGN = (  # what a file begins with, and what it then is, with the remedy
    (b'version https://git-lfs', 'a git-lfs pointer, not the file itself; fetch the file with `git lfs pull`'),
    (b'\x1f\x8b', 'a gzip archive; unpack it and give the file inside'),
    (b'\x89HDF', 'an HDF5 file (Keras); convert it to a PyTorch state dict first'))


def _torchvision_url(name: str) -> str:
    import torchvision  # here, because it takes a second and most runs do not need it
    model, _, version = name.partition('.')
    model = model.lower().removesuffix('_weights')
    try:
        weights = torchvision.models.get_model_weights(model)
    except ValueError:
        hint = did_you_mean(model, torchvision.models.list_models())
        raise CheckpointError(f"'torchvision://{name}': torchvision has no model {model!r}{hint}") from None
    by_name = {w.name.lower(): w for w in weights} | {'': weights.DEFAULT, 'default': weights.DEFAULT}
    if version.lower() not in by_name:
        hint = did_you_mean(version, [w.name for w in weights])
        raise CheckpointError(f"'torchvision://{name}': {model} has no weights {version!r}{hint}")
    return by_name[version.lower()].url


def _openmmlab_url(scheme: str, name: str) -> str:
    from mmengine.runner import checkpoint as mmengine_checkpoint
    table = mmengine_checkpoint.get_mmcls_models() if scheme == 'mmcls' else mmengine_checkpoint.get_external_models()
    if name not in table:
        raise CheckpointError(f"'{scheme}://{name}': no such model{did_you_mean(name, table)}")
    return table[name]


def locate_checkpoint(source: str | os.PathLike) -> Path:
    """Return the local path of a checkpoint, fetching it into the cache where ``source`` is an address.

    Args:
        source: A path (``~`` and ``file://`` allowed), an ``http(s)://`` address, ``torchvision://resnet50``,
            ``torchvision://resnet50.IMAGENET1K_V1``, ``openmmlab://…`` or ``mmcls://…``. What is fetched goes to
            PyTorch Hub's own cache, ``$TORCH_HOME/hub/checkpoints``, and the hash in its name is verified.

    Raises:
        MissingFileError: If there is no such file.
        CheckpointError: If it is a folder, or the scheme or the model's name is unknown.
    """
    text = os.fspath(source)
    scheme, separator, rest = text.partition('://')
    if scheme == 'file' and separator:
        path = Path(urllib.parse.unquote(urllib.parse.urlsplit(text).path))
    elif separator:
        return _fetch(_web_address(text, scheme, rest))
    else:
        path = Path(text).expanduser()
    if path.is_dir():
        inside = enumerate_names(sorted(p.name for p in path.iterdir() if p.name.endswith(_SUFFIXES)), 8)
        raise CheckpointError(f'{text!r} is a folder; give the checkpoint file in it ({inside or "it holds none"})')
    if not path.is_file():
        raise MissingFileError(f'no checkpoint at {text!r} (looked for {path.absolute()}){missing_hint(path)}')
    return path


def _web_address(text: str, scheme: str, rest: str) -> str:
    if scheme in ('torchvision', 'modelzoo'):
        return _torchvision_url(rest)
    if scheme in ('openmmlab', 'open-mmlab', 'mmcls'):
        return _openmmlab_url(scheme, rest)
    if scheme not in ('http', 'https'):
        hint = did_you_mean(scheme, ('http', 'https', 'file', 'torchvision', 'openmmlab', 'mmcls'))
        raise CheckpointError(f'{text!r}: unknown scheme {scheme!r}{hint}')
    return text


def _fetch(url: str) -> Path:
    name = Path(urllib.parse.unquote(urllib.parse.urlsplit(url).path)).name  # after unquoting: `%2F` is a slash
    return Path(download(url, Path(torch.hub.get_dir()) / 'checkpoints' / name, hash_prefix=hash_from_name(name)))


def _zip_fault(path: Path) -> str | None:
    """Say what is wrong with a zip file as a checkpoint, or None."""
    if not zipfile.is_zipfile(path):
        return 'cut short (the end of a PyTorch file is missing): the download or the copy was interrupted'
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if any(n.endswith('/constants.pkl') or '/code/' in n for n in names):
        return "a TorchScript archive, a program; save torch.jit.load(file).state_dict() by torch.save, and give that"
    if not any(n == 'data.pkl' or n.endswith('/data.pkl') for n in names):
        shown = ', '.join(names[:4])
        return f'a zip archive that torch.save did not write (in it: {shown or "nothing"}); give the right file'
    return None


def _is_safetensors(head: bytes) -> bool:
    """Tell from what a file begins with (the length of a table, the table: JSON) whether it is a .safetensors file."""
    return head[8:9] == b'{' and 2 <= int.from_bytes(head[:8], 'little') <= _MAX_TABLE


def _fault(path: Path) -> str | None:
    """Say what a file is, with the remedy, where its beginning tells that it is no checkpoint; else None."""
    with open(path, 'rb') as file:
        head = file.read(_HEAD)
    if not head:
        return 'empty: the download or the copy was interrupted'
    for magic, what in _FOREIGN:
        if head.startswith(magic):
            return what
    if head.startswith(b'PK'):
        return _zip_fault(path)
    if head.lstrip()[:14].lower().startswith((b'<!doctype html', b'<html', b'<?xml')):
        return 'a web page, not a file of weights; use the address of the file itself'
    if not _is_safetensors(head) and head[:1] != b'\x80':
        return (f'not a file of torch.save or safetensors (it begins with {head[:16]!r}); convert ONNX, TensorFlow and '
                'other formats to a PyTorch state dict first')
    return None


def _read(path: Path, map_location: str | torch.device) -> Any:
    with open(path, 'rb') as file:
        if _is_safetensors(file.read(9)):
            return load_file(path, str(map_location))
    with suppress(pickle.UnpicklingError), warnings.catch_warnings():
        warnings.simplefilter('ignore')  # about pickle protocols; what cannot be read is read below or is an error
        return torch.load(path, map_location=map_location, weights_only=True)
    content, left_out = read_restricted(path, map_location)
    if content is None and left_out:
        raise CheckpointError(f'it holds a whole pickled object (of types such as {min(left_out)}), not weights; where '
                              "it was made, save the weights alone: torch.save(model.state_dict(), 'weights.pth')")
    if left_out:
        text = f'{path.name}: left out what is neither a tensor nor a plain value: {enumerate_names(sorted(left_out))}'
        print_log(text, logger='current')
    return content


def read_checkpoint(source: str | os.PathLike, map_location: MapLocation = 'cpu') -> dict:
    """Read a checkpoint, local or fetched, without running anything that is in it.

    ``torch.load(weights_only=True)`` reads it. Where that refuses because of other types in the file (an
    ``argparse.Namespace``, a path, a log history …) it is read again with those left out (``restricted_pickle``).

    Args:
        source: What :func:`locate_checkpoint` takes.
        map_location: Device of the tensors, None for the CPU.

    Returns:
        What the file holds: a dict of weights, or a dict that holds one (see
            :func:`ftcls.utils.checkpoint.matching.find_state_dict`).

    Raises:
        MissingFileError: If the file is not there.
        CheckpointError: If it is no checkpoint, is damaged, names something that could run code, or holds no tensors;
            the message has the file, its size, what it is and what to do.
    """
    path, text = locate_checkpoint(source), os.fspath(source)
    shown, advice = f'{str(path)!r} ({path.stat().st_size:,} bytes)', '. Fetch or copy it anew'
    if text != str(path):
        shown += f', from {text}'
        advice = f'. Delete {path} and start again, to fetch it anew'
    if fault := _fault(path):
        raise CheckpointError(f'the checkpoint {shown} cannot be read: it is {fault}{advice}')
    try:
        content = _read(path, map_location or 'cpu')
    except CheckpointError as err:
        raise CheckpointError(f'the checkpoint {shown} is refused: {err}') from None
    except MemoryError:
        raise
    except Exception as err:  # a damaged file can lead to any error, of the zip reader, the unpickler or torch
        reason = (str(err).strip().splitlines() or ['no text'])[0]
        text = f'it is cut short or damaged ({type(err).__name__}: {reason})'
        raise CheckpointError(f'the checkpoint {shown} cannot be read: {text}{advice}') from None
    if not isinstance(content, dict) or not any(isinstance(one, torch.Tensor) for _, one in walk(content)):
        kind = 'a dict without any tensor' if isinstance(content, dict) else f'a {type(content).__name__}, not a dict'
        raise CheckpointError(f'the checkpoint {shown} holds no weights: it is {kind}; give a file made by '
                              "torch.save(model.state_dict(), 'weights.pth') or by a training run")
    return content


def checkpoint_meta(checkpoint: dict) -> dict:
    """Return ``meta`` of a checkpoint; {} if it is missing or not a dict."""
    meta = checkpoint.get('meta')
    return meta if isinstance(meta, dict) else {}


def load_from_ftcls(filename: str, map_location: str | torch.device | Callable | dict | None = None) -> dict:
    """Read a checkpoint for MMEngine's ``CheckpointLoader``, which calls it with these two arguments."""
    if callable(map_location) or isinstance(map_location, dict):
        map_location = 'cpu'  # MMEngine copies the tensors to the model's device anyway
    checkpoint = read_checkpoint(filename, map_location)
    checkpoint_meta(checkpoint).pop('config', None)  # MMEngine's `Runner.resume` would execute it
    return checkpoint


def _load_silently(loader: type, filename: str, map_location: MapLocation = None, logger: Any = 'current') -> Any:
    return loader._get_checkpoint_loader(filename)(filename, map_location)


def register_safe_loading() -> None:
    """Make MMEngine read every checkpoint (``load_from``, resume, ``Pretrained``) through :func:`read_checkpoint`.

    MMEngine 0.10.7 calls ``torch.load`` bare: with torch < 2.6 that runs code in the file, with later ones it refuses
    MMEngine's own checkpoints. May be called any number of times.
    """
    schemes = 'http https file torchvision modelzoo openmmlab open-mmlab mmcls'.split()
    CheckpointLoader.register_scheme(['', *(f'{scheme}://' for scheme in schemes)], load_from_ftcls, force=True)
    CheckpointLoader.load_checkpoint = classmethod(_load_silently)  # which would also print each file's name
