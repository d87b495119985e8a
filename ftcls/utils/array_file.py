"""Bytes that are expensive to compute, in a file: written once, whole or not at all, and memory-mapped by all."""
import os
import re
import shutil
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
from filelock import FileLock

from .checkpoint.folder import remove_drafts, whole
from .errors import ConfigError, UserError

__all__ = ['ArrayFile', 'SHARED_MEMORY', 'cache_folder', 'file_state']

SHARED_MEMORY = Path('/dev/shm')  #: A folder in memory that all processes of the machine share; Linux has it.
_END = b'ftcls v1'  # the last bytes of a whole file, after its length


class ArrayFile:
    """A file of bytes, memory-mapped. It may be pickled and deleted; its name carries the key of what it holds.

    Args:
        path: A file that :meth:`ensure` wrote.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = os.fspath(path)
        with open(path, 'rb') as file:
            self.data = np.memmap(file, np.uint8, 'r')[:-16].view(np.ndarray)  #: The bytes, (N, ) uint8, read-only.
            self._descriptor = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._descriptor)

    def __reduce__(self) -> tuple:
        path = self.path
        if not os.path.exists(path):  # a deleted file lives on while it is open
            path = f'/proc/{os.getpid()}/fd/{self._descriptor}'
        return type(self), (path, )

    @classmethod
    def ensure(cls,
               path: str | os.PathLike,
               size: int,
               write: Callable[[BinaryIO], object],
               limit: float | None = None) -> 'tuple[ArrayFile, bool]':
        """Open a file if it is there and whole; else write it first. Processes that want it meanwhile wait.

        Args:
            path: The file; its name must be another where its content would be.
            size: Bytes that it will have, or a few more.
            write: Gets the file that it writes the bytes to.
            limit: GiB that the files of this suffix in the folder may take together; to make room, those that were used
                least recently are removed. None: half of what is free.

        Returns:
            The file, and whether it was there at once, without another process writing it meanwhile.

        Raises:
            ConfigError: If there is no room, or the folder cannot be written.
        """
        path = Path(path)
        try:
            path.parent.mkdir(0o700, parents=True, exist_ok=True)
            was_there = path.exists()
            with FileLock(path.parent / '.lock'):
                if _is_whole(path):
                    path.touch()
                else:
                    was_there = False
                    _make_room(path, size, limit)
                    _write(path, write)
                return cls(path), was_there
        except UserError:
            raise
        except OSError as err:
            raise ConfigError(f'{path.parent} cannot be used ({err.strerror or err}); give another folder') from err


def _is_whole(path: Path) -> bool:
    if not path.is_file() or path.stat().st_size < 16:
        return False
    with path.open('rb') as file:
        length = file.seek(-16, os.SEEK_END)
        return file.read() == length.to_bytes(8, 'little') + _END


def cache_folder(name: str) -> Path:
    """Return the user's folder for files of some kind: in ``$XDG_CACHE_HOME/ftcls``, by default ``~/.cache/ftcls``."""
    return Path(os.environ.get('XDG_CACHE_HOME') or '~/.cache', 'ftcls', name).expanduser()


def _make_room(path: Path, size: int, limit: float | None) -> None:
    remove_drafts(path.parent)  # of killed processes: this one holds the lock
    files = sorted(path.parent.glob(f'*{path.suffix}'), key=lambda file: file.stat().st_mtime)
    used = sum(file.stat().st_size for file in files)
    most = (_free_bytes(path.parent) + used) / 2
    whose = 'half of what is free'
    if limit is not None:
        whose, most = f'limit={limit:g}, and what is free', min(limit * 2**30, 2 * most)
    if size > most:
        raise ConfigError(f'{size / 2**30:.3g} GiB are needed, {path.parent} may take {most / 2**30:.3g} GiB '
                          f'({whose}); raise the limit, or give another folder')
    while used + size > most:
        used -= files[0].stat().st_size
        files.pop(0).unlink()


def _free_bytes(folder: Path) -> int:
    free = shutil.disk_usage(folder).free
    if folder.is_relative_to(SHARED_MEMORY):
        free = min(free, 1024 * int(re.search(r'MemAvailable: +(\d+) kB', Path('/proc/meminfo').read_text())[1]))
    return free


def _write(path: Path, write: Callable[[BinaryIO], object]) -> None:
    with whole(path) as draft, draft.open('wb') as file:
        write(file)
        file.write(file.tell().to_bytes(8, 'little') + _END)
        file.flush()
        os.fsync(file.fileno())


def file_state(path: str) -> str:
    """Return a text that changes with a file: its path, size and time; of one that is not there, its path."""
    with suppress(OSError):
        state = os.stat(path)
        return f'{os.path.abspath(path)}/{state.st_size}/{state.st_mtime_ns}\n'
    return f'{path}\n'
