"""What memory, disk, workers and other processes fail with during a run, in plain words; and how workers end."""
import atexit
import gc
import multiprocessing
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType, TracebackType
from typing import Any

from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter as Workers

from ftcls.signals import SIGNALS, RunStopped, StopSignals, kill_workers, stop_signals
from ftcls.utils.errors import MachineError, UserError
from .distributed import count_event

__all__ = ['machine_errors', 'prepare_workers']

_FEWER = 'fewer num_workers, or a smaller batch_size'
# Each: what the error says, and what is said of it; {0} is the first line of the error, {1} the loader.
_FAULTS = (
    (r'(?i)shared memory|</?torch_|bus error', f'{{1}}shared memory (/dev/shm) is full: give {_FEWER}, or raise its '
     'size (docker run --shm-size=8g or --ipc=host)'),
    (r'worker \(pid.*(killed by signal|exited)', '{1}a process that loads images has ended ({0}): most often, '
     f'memory ran out; give {_FEWER}'),
    (r'(?i)out of memory|allocate memory|bad_alloc', 'memory ran out ({0}): give a smaller batch_size of the '
     'dataloader (the default --batch-policy keeps the images per step), or --amp'),
    (r'Too many open files|ancdata', 'too many open files: raise the limit by `ulimit -n 65536`, or give fewer '
     'num_workers'),
    (r'No space left on device|Disk quota exceeded', 'the disk is full ({0}): make space, or give another --work-dir; '
     '--resume continues a run'),
)  # yapf: disable
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
            text = _explain(err) if isinstance(err, RuntimeError | OSError | MemoryError) else None
            _end_workers()
            if text is None or isinstance(err, UserError):
                raise
            if signals.signum is not None:  # the other processes have stopped
                raise RunStopped(signals.signum) from err
            raise MachineError(text) from err


def _explain(err: BaseException) -> str | None:
    """Return what to say of an error, None for one that is not the machine's."""
    said = f'{type(err).__name__}: {err}'
    lines = [line.strip() for line in str(err).splitlines() if line.strip()] or [said]
    if 'DataLoader timed out' in said:
        return _describe_frozen(err.__traceback__)
    for pattern, text in _FAULTS:
        if re.search(pattern, said) or (isinstance(err, MemoryError) and 'memory ran' in text):
            return text.format(lines[0].rstrip('.')[:200], _loader_of(said))
    if int(os.environ.get('WORLD_SIZE', 1)) > 1 and _LOST.search(said):
        return _describe_lost(lines[0][:200])
    return None


def _all_workers() -> list[Workers]:
    return [one for one in gc.get_objects() if type(one) is Workers and _split(one)]


def _split(workers: Workers) -> str | None:
    start = getattr(workers._worker_init_fn, 'begin', workers._worker_init_fn)
    return start.args[0] if getattr(start, 'func', None) is _start_worker else None


def _describe_frozen(traceback: TracebackType | None) -> str:
    """Name the worker that gave no batch."""
    while traceback is not None:
        waiting = traceback.tb_frame.f_locals.get('self')
        if isinstance(waiting, Workers):
            break
        traceback = traceback.tb_next
    index = waiting._task_info[waiting._rcvd_idx][0]
    name, kind = f'{_split(waiting)}_dataloader', type(waiting._dataset).__name__
    return (f'{name}.num_workers: worker {index} of {len(waiting._workers)} (process {waiting._workers[index].pid}, '
            f'{kind}) gave no batch for {waiting._timeout:g} s; does its file system hang? If images take that long, '
            f'raise {name}.timeout')


def _loader_of(said: str) -> str:
    """Return ``'train_dataloader: '`` where an error names the process of its worker."""
    pids = set(re.findall(r'\d+', ''.join(re.findall(r'pid\(?s?\)? [\d, ]+', said))))
    splits = [_split(one) for one in _all_workers() if pids & {str(worker.pid) for worker in one._workers}]
    return f'{splits[0]}_dataloader: ' if splits else ''


def _describe_lost(line: str) -> str:
    """Name the processes that do not report the loss of a connection, as all others do within seconds."""
    ranks, own = range(int(os.environ['WORLD_SIZE'])), int(os.environ['RANK'])
    count_event(f'lost a process, {own}')
    time.sleep(5)
    silent = [rank for rank in ranks if rank != own and count_event(f'lost a process, {rank}', 0) == 0]
    who = f'process {", ".join(map(str, silent))}' if silent else 'a process'
    return (f'{who} did not answer, and may be frozen or killed ({line}). Continue from the last checkpoint with '
            '--resume; env_cfg.dist_cfg.timeout is the limit in seconds')


_take = Workers._try_get_data


def _take_in_time(workers: Workers, *timeout: float) -> tuple[bool, Any]:
    """Give up also on the tensors of a batch that has been announced by a worker that is stopped since (torch 2.14)."""
    if not workers._timeout or threading.current_thread() is not threading.main_thread():
        return _take(workers, *timeout)
    handler = signal.signal(signal.SIGALRM, _give_up)
    timer = signal.setitimer(signal.ITIMER_REAL, workers._timeout + 2)  # a little later than torch
    try:
        return _take(workers, *timeout)
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, handler)


def _give_up(signum: int, frame: FrameType | None) -> None:
    raise RuntimeError('DataLoader timed out')


if hasattr(signal, 'SIGALRM'):
    Workers._try_get_data = _take_in_time


def prepare_workers(loader: DataLoader, split: str) -> None:
    """Let a loader's workers leave signals to the main process, which ends them."""
    loader.worker_init_fn = partial(_start_worker, split, loader.worker_init_fn)
    atexit.unregister(kill_workers)
    atexit.register(kill_workers)


def _start_worker(split: str, start: Callable[[int], Any] | None, worker: int) -> None:
    # Ctrl-C, Slurm and `timeout` send a signal to all processes, and a step in progress needs its batches.
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if start is not None:
        start(worker)


def _end_workers() -> None:
    for one in _all_workers() if multiprocessing.active_children() else ():
        one._shutdown_workers()
        for worker in one._workers:
            if worker.is_alive():
                worker.kill()
