"""Unpacking archives so that nothing lands outside the folder and nothing is left half unpacked."""
import contextlib
import gzip
import lzma
import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ftcls.utils.errors import DataError, MissingFileError

__all__ = ['safe_extract']

_READ_ERRORS = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError)


def safe_extract(archive: str | os.PathLike, folder: str | os.PathLike) -> Path:
    """Unpack a zip, tar (plain or compressed) or single-file ``.gz`` archive into ``folder``, and return the folder.

    Everything is first unpacked into a temporary folder on the same file system. Where ``folder`` does not exist yet, that
    one becomes it; otherwise each top-level entry is moved in, replacing one of the same name. An archive that is broken or
    unsafe leaves nothing behind.

    Raises:
        MissingFileError: If there is no such archive.
        DataError: If it is broken, of an unknown kind, or holds a member that points outside the folder (an absolute
            path, ``..``, a link to elsewhere) or is neither file, folder nor link.
    """
    archive, folder = Path(archive), Path(folder)
    if not archive.is_file():
        raise MissingFileError(f'no archive at {archive}')
    parent = folder if folder.is_dir() else folder.parent
    parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f'.{archive.name}.', dir=parent))
    try:
        inner = scratch / 'new'
        inner.mkdir()
        with _explained(archive):
            _unpack(archive, inner)
        _move_into_place(inner, folder, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder


@contextlib.contextmanager
def _explained(archive: Path) -> Iterator[None]:
    """Turn what the archive libraries raise into one message that names the archive."""
    try:
        yield
    except DataError:
        raise
    except _READ_ERRORS as err:
        raise DataError(f'cannot unpack {archive}: {err or type(err).__name__}; it is broken or incomplete: '
                        'delete it and fetch it again') from err


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack by what the file is, not by what it is called."""
    if zipfile.is_zipfile(archive):
        _unpack_zip(archive, folder)
    elif tarfile.is_tarfile(archive):
        _unpack_tar(archive, folder)
    elif _magic(archive) == b'\x1f\x8b':
        with gzip.open(archive) as source, open(folder / archive.with_suffix('').name, 'wb') as target:
            shutil.copyfileobj(source, target)
    else:
        raise DataError(f'{archive} is not a zip, tar or gz archive (an incomplete or wrong download?); '
                        'delete it and fetch it again')


def _magic(path: Path) -> bytes:
    """Return a file's first two bytes."""
    with open(path, 'rb') as file:
        return file.read(2)


def _refuse(archive: Path, member: str, why: str) -> DataError:
    return DataError(f'{archive} is not safe to unpack: its member {member!r} {why}; nothing was unpacked')


def _check_name(archive: Path, name: str) -> None:
    """Refuse names that lead out of the folder on any system."""
    parts = PurePosixPath(name.replace('\\', '/')).parts
    if name.startswith(('/', '\\')) or (parts and parts[0].endswith(':')):
        raise _refuse(archive, name, 'has an absolute path')
    if '..' in parts:
        raise _refuse(archive, name, "leads out of the folder by '..'")


def _unpack_zip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as source:
        for info in source.infolist():
            _check_name(archive, info.filename)
            if stat.S_ISLNK(info.external_attr >> 16):
                raise _refuse(archive, info.filename, 'is a symbolic link')
        source.extractall(folder)


def _unpack_tar(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as source:
        for member in source:
            _check_name(archive, member.name)
            try:
                source.extract(member, folder, filter='data')
            except tarfile.FilterError as err:  # a link to elsewhere, a device, a pipe
                raise _refuse(archive, member.name, f'is refused ({err})') from None


def _move_into_place(inner: Path, folder: Path, scratch: Path) -> None:
    """Move what was unpacked to its final place, each rename in one step."""
    if not folder.exists():
        os.rename(inner, folder)
        return
    old = scratch / 'old'
    old.mkdir()
    for entry in sorted(inner.iterdir()):
        target = folder / entry.name
        if target.is_dir() and not target.is_symlink():
            os.rename(target, old / entry.name)
        os.replace(entry, target)
