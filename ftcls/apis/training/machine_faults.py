"""What memory, disk, workers and other processes fail with during a run, in plain words; and how workers end."""
import atexit
import errno
import gc
import multiprocessing
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from multiprocessing.queues import Queue
from multiprocessing.util import Finalize
from types import FrameType
from typing import Any

import cv2
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter as Workers

from ftcls.signals import SIGNALS, RunStopped, StopSignals, kill_workers, stop_signals
from ftcls.utils.errors import MachineError, UserError
from .distributed import count_event

__all__ = ['machine_errors', 'prepare_workers']

_FAULTS = (  # each: what the error says, and what is said of it; {} is its first line
    (rf'Too many open files|ancdata|exit code {errno.EMFILE}\b', 'too many open files: raise the limit by '
     '`ulimit -n 65536`, or give fewer num_workers'),
    (rf'(?i)shared memory|</?torch_|bus error|exit code {errno.ENOSPC}\b', 'shared memory (/dev/shm) is full: give '
     'fewer num_workers, a smaller batch_size, or docker run --shm-size=8g'),
    (r'worker \(pid.*(killed by signal|exited)', 'a process that loads images has ended ({}): most often, memory ran '
     'out; give fewer num_workers, or a smaller batch_size'),
    (r'(?i)out of memory|allocate memory|bad_alloc|MemoryError', 'memory ran out ({}): give a smaller batch_size of '
     'the dataloader (the default --batch-policy keeps the images per step), or --amp'),
    (r'No space left on device|Disk quota exceeded', 'the disk is full ({}): make space, or give another --work-dir'))
_LOST = re.compile(r'(?i)closed by peer|reset by peer|timed out waiting|socket ?timeout|nccl|gloo|monitoredbarrier|'
                   r'broken pipe|wait timeout')


@contextmanager
def machine_errors() -> Iterator[StopSignals]:
    """Receive signals, and say of a fault of the machine what to change; no worker is left after an error.

    Raises:
        MachineError: In place of the error of torch or the system.
        RunStopped: On a signal.
    """
    with stop_signals() as signals:
        try:
            yield signals
        except BaseException as err:
            _end_workers()
            if (text := _explain(err)) is None:
                raise
            if signals.signum is not None:  # the other processes have stopped
                raise RunStopped(signals.signum) from err
            raise MachineError(text) from err


def _explain(err: BaseException) -> str | None:
    """Return what to say of an error, None for one that is not the machine's."""
    if isinstance(err, UserError) or not isinstance(err, RuntimeError | OSError | MemoryError):
        return None
    said = f'{type(err).__name__}: {err} {err.__cause__}'
    line = (str(err).strip() or said).splitlines()[0].rstrip('.')[:200]
    for pattern, text in _FAULTS:
        if re.search(pattern, said):
            return text.format(line)
    if int(os.environ.get('WORLD_SIZE', 1)) > 1 and _LOST.search(said):
        return _describe_lost(line)
    return None


def _describe_lost(line: str) -> str:
    """Name the processes that do not report the loss of a connection, as all others do within seconds."""
    ranks, own = range(int(os.environ['WORLD_SIZE'])), int(os.environ['RANK'])
    count_event(f'lost a process, {own}')
    time.sleep(5)
    silent = [rank for rank in ranks if rank != own and count_event(f'lost a process, {rank}', 0) == 0]
    who = f'process {", ".join(map(str, silent))}' if silent else 'a process'
    return (f'{who} did not answer, and may be frozen or killed ({line}). Continue from the last checkpoint by '
            '--resume; env_cfg.dist_cfg.timeout is the limit in seconds')


_take = Workers._try_get_data


def _take_in_time(workers: Workers, *timeout: float) -> tuple[bool, Any]:
    """Name the worker that gives no batch in time; its tensors may be missing after it has announced them (torch 2.14).

    Raises:
        MachineError: After the loader's ``timeout``.
    """
    if not workers._timeout:
        return _take(workers, *timeout)
    is_timed = hasattr(signal, 'SIGALRM') and threading.current_thread() is threading.main_thread()
    if is_timed:
        handler = signal.signal(signal.SIGALRM, _give_up)
        timer = signal.setitimer(signal.ITIMER_REAL, workers._timeout + 2)  # a little later than torch
    try:
        is_there, data = _take(workers, *timeout)
    except _Late:
        is_there = False
    finally:
        if is_timed:
            signal.setitimer(signal.ITIMER_REAL, *timer)
            signal.signal(signal.SIGALRM, handler)
    if is_there:
        return True, data
    index = workers._task_info[workers._rcvd_idx][0]
    name, kind = f'{_split(workers)}_dataloader', type(workers._dataset).__name__
    who = f'worker {index} of {len(workers._workers)} (process {workers._workers[index].pid}, {kind})'
    text = f'{who} gave no batch for {workers._timeout:g} s; does its file system hang?'
    raise MachineError(f'{name}.num_workers: {text} If images take that long, raise {name}.timeout')


Workers._try_get_data = _take_in_time


class _Late(BaseException):
    """Raised in what waits for a worker; not an Exception, which torch would take for a fault of a worker."""


def _give_up(signum: int, frame: FrameType | None) -> None:
    raise _Late


def _split(workers: Workers) -> str | None:
    start = getattr(workers._worker_init_fn, 'begin', workers._worker_init_fn)
    return start.args[0] if getattr(start, 'func', None) is _start_worker else None


def prepare_workers(loader: DataLoader, split: str) -> None:
    """Let a loader's workers leave signals to the main process, which ends them."""
    loader.worker_init_fn = partial(_start_worker, split, loader.worker_init_fn)
    _kill_workers_at_exit(os.getpid())


@lru_cache(maxsize=1)
def _kill_workers_at_exit(process: int) -> None:
    atexit.register(kill_workers)
    Finalize(None, kill_workers, exitpriority=0)  # in a process that multiprocessing has started, atexit does nothing


def _start_worker(split: str, start: Callable[[int], Any] | None, worker: int) -> None:
    """Begin as a worker that ignores what Ctrl-C, Slurm and `timeout` send to all: a step needs its batches."""
    gc.freeze()  # a collection writes to all that it looks at: what the processes share would be copied
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    cv2.setNumThreads(0)  # a worker that is not forked starts with a thread per core
    Queue._on_queue_feeder_error = staticmethod(_end_worker)
    if start is not None:
        start(worker)


def _end_worker(err: Exception, batch: object) -> None:
    """End with a batch that cannot be sent; Python only prints a traceback, and the main process waits."""
    os.write(2, f'error: a worker cannot send a batch: {type(err).__name__}: {err}\n'.encode())
    known = [number for number in (errno.EMFILE, errno.ENOSPC) if os.strerror(number) in str(err)]
    os._exit(max(known, default=1))


def _end_workers() -> None:
    for one in gc.get_objects() if multiprocessing.active_children() else ():
        if type(one) is Workers and _split(one):
            one._shutdown_workers()
            for worker in one._workers:
                worker.kill()
