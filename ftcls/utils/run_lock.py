"""One training at a time in a folder."""
import errno
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from mmengine.logging import print_log

from .errors import ConfigError, RunningError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

__all__ = ['run_lock']

_NAME = '.run.lock'
_BEAT = 10.  # seconds between two signs of life
_HELD: set[str] = set()  # by this process


@contextmanager
def run_lock(folder: str | Path) -> Iterator[None]:
    """Keep a folder to this process; it is made if it is not there.

    The system's lock on the file ``.run.lock`` ends with the process, however it ends, so that a stale file means
    nothing. On a file system without such locks, and for a file from another host, its time counts, which a running
    training renews every 10 s.

    Raises:
        RunningError: If another training holds the folder.
        ConfigError: If the folder cannot be written.
    """
    path = Path(folder).absolute() / _NAME
    if str(path) in _HELD:
        raise _running(path, _note())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = _open_locked(path)
    except OSError as err:
        raise ConfigError(f'work_dir={str(folder)!r} cannot be written: {err.strerror}; give another folder by '
                          '--work-dir, or change that') from err
    _HELD.add(str(path))
    ended = threading.Event()
    beat = threading.Thread(target=_show_life, args=(path, ended), daemon=True)
    beat.start()
    try:
        yield
    finally:
        ended.set()
        beat.join()
        _HELD.discard(str(path))
        with suppress(OSError):
            path.unlink()
        file.close()
        with suppress(OSError):
            path.parent.rmdir()  # if there is nothing in it


def _open_locked(path: Path) -> IO[str]:
    """Return the file with this process's note in it, locked."""
    while True:
        file = path.open('a+', encoding='utf-8')
        try:
            has_locks = fcntl is not None
            if has_locks:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as err:
            has_locks = False
            if err.errno in (errno.EACCES, errno.EAGAIN):
                with file:
                    raise _running(path, _read(file)) from None
        if path.exists() and path.stat().st_ino == os.fstat(file.fileno()).st_ino:
            break
        file.close()  # its run has just ended, and has removed it
    other = _read(file)
    if other and (not has_locks or other['host'] != socket.gethostname()) and _is_alive(path, other):
        with file:
            raise _running(path, other, f', or remove {path} if that is not true')
    if other:
        print_log(f'{path.parent}: process {other["pid"]} on {other["host"]}, which ran here, has been killed',
                  'current')
    file.truncate(0)
    file.write(json.dumps(_note()))
    file.flush()
    return file


def _note() -> dict[str, Any]:
    return dict(host=socket.gethostname(), pid=os.getpid(), started=time.strftime('%Y-%m-%d %H:%M:%S'))


def _read(file: IO[str]) -> dict[str, Any]:
    """Return a note, with '?' for what it does not say; empty if it says nothing."""
    file.seek(0)
    try:
        note = json.load(file)
    except ValueError:
        return {}
    return {key: note.get(key, '?') for key in _note()} if isinstance(note, dict) else {}


def _is_alive(path: Path, other: dict[str, Any]) -> bool:
    """Tell whether a run that no lock tells of shows a sign of life."""
    print_log(f'{path.parent}: waiting for a sign of life of process {other["pid"]} on {other["host"]}', 'current')
    first, end = path.stat().st_mtime_ns, time.monotonic() + 2.5 * _BEAT
    while time.monotonic() < end:
        time.sleep(_BEAT / 10)
        if path.stat().st_mtime_ns != first:  # without opening it: closing it again would end the lock
            return True
    return False


def _running(path: Path, note: dict[str, Any], remedy: str = '') -> RunningError:
    who = f'process {note["pid"]} on {note["host"]}, since {note["started"]}' if note else 'another process'
    return RunningError(f'{path.parent} is in use: a training runs there ({who}); give this one another --work-dir '
                        f'(--out-dir), or wait for its end{remedy}')


def _show_life(path: Path, ended: threading.Event) -> None:
    while not ended.wait(_BEAT):
        with suppress(OSError):
            os.utime(path)
