"""One training at a time in a folder."""
import errno
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ftcls.utils.log import warn
from .errors import RunningError
from .writable import check_writable

__all__ = ['run_lock']

_WITHOUT_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


@contextmanager
def run_lock(folder: str | Path) -> Iterator[None]:
    """Keep a folder to this process; it is made if it is not there.

    The system's lock ends with the process, however it ends: what a killed one leaves means nothing.

    Raises:
        RunningError: If another training holds the folder.
        ConfigError: If the folder cannot be written.
    """
    path = Path(folder).absolute()
    file, note = path / '.run.lock', path / '.run.note'
    lock = FileLock(file)
    check_writable(work_dir=folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        _acquire(lock, path)
        note.write_text(f'process {os.getpid()} on {socket.gethostname()}, since {time.strftime("%Y-%m-%d %H:%M:%S")}')
    except Timeout:
        who = 'another process'
        with suppress(OSError):
            who = note.read_text() or who
        text = f'{path} is in use: a training runs there ({who})'
        raise RunningError(f'{text}; give another --work-dir (--out-dir), or wait for its end') from None
    try:
        yield
    finally:
        for mine in (note, file):
            with suppress(OSError):
                mine.unlink()
        lock.release()
        with suppress(OSError):
            path.rmdir()  # if there is nothing in it


def _acquire(lock: FileLock, path: Path) -> None:
    try:
        lock.acquire(timeout=0)
    except (OSError, NotImplementedError) as err:  # the second: filelock 3 without flock
        if getattr(err, 'errno', errno.ENOSYS) not in _WITHOUT_LOCKS:
            raise
        warn(f'{path}: its file system has no locks; start no second training there')
