"""What the processes of a run agree on apart from gradients: whether to stop, and to wait long for one of them."""
import ctypes
import gc
import itertools
import os
import platform
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.distributed as torch_dist
from mmengine.dist import broadcast_object_list, get_rank, get_world_size, is_distributed, is_main_process
from torch.distributed.distributed_c10d import _get_default_store

__all__ = [
    'Agreement', 'PATIENCE', 'from_main', 'frozen_garbage', 'is_last_here', 'keep_freed_memory', 'main_process_first',
    'patient_barrier', 'show_life', 'usable_cores'
]

PATIENCE = 240  # seconds to wait for another process, as at the exchange of gradients; torch waits 10 or 30 minutes
_BEAT = 10.  # seconds between two signs of life
_QUOTA = Path('/sys/fs/cgroup/cpu.max')  # of a container
_barriers = itertools.count()
_freezing: list[None] = []  # as long as calls of `frozen_garbage` are nested


@lru_cache(maxsize=1)
def _cpu_group(world: torch_dist.ProcessGroup) -> torch_dist.ProcessGroup:
    """Return a group of all processes that works without a GPU, and does not make one wait."""
    if torch_dist.get_backend(world) == 'gloo':
        return world
    return torch_dist.new_group(backend='gloo', timeout=timedelta(seconds=PATIENCE))


@lru_cache(maxsize=1)
def show_life(world: torch_dist.ProcessGroup | None) -> None:
    """Let a thread tell the other processes, as long as they are connected, that this one is not frozen."""
    if get_world_size() > 1:
        threading.Thread(target=_beat, args=(f'beats of {get_rank()}', _get_default_store()), daemon=True).start()


def _beat(name: str, store: torch_dist.Store) -> None:
    with suppress(RuntimeError):
        while is_distributed():
            store.add(name, 1)
            time.sleep(_BEAT)


def patient_barrier() -> None:
    """Wait for all processes, while one of them downloads or scans, as long as it shows life.

    Raises:
        RuntimeError: If one does not for 240 s.
    """
    if get_world_size() == 1:
        return
    store, name = _get_default_store(), f'barrier {next(_barriers)}'
    store.add(f'{name} of {get_rank()}', 1)
    for rank in range(get_world_size()):
        beats, seen = -1, time.monotonic()
        while store.add(f'{name} of {rank}', 0) == 0:
            if store.add(f'beats of {rank}', 0) != beats:
                beats, seen = store.add(f'beats of {rank}', 0), time.monotonic()
            if time.monotonic() - seen > PATIENCE:
                raise RuntimeError(f'timed out waiting for process {rank}')
            time.sleep(.05)


@contextmanager
def main_process_first() -> Iterator[None]:
    """Run a block in the main process, then in the others, which find what it has downloaded; also after an error."""
    if not is_main_process():
        patient_barrier()
    try:
        yield
    finally:
        if is_main_process():
            patient_barrier()


def from_main(value: Any) -> Any:
    """Return the first process's value in all of them."""
    shared = [value]
    broadcast_object_list(shared)
    return shared[0]


def is_last_here(name: str) -> bool:
    """Tell whether this process is the last of the run on this machine to call this with ``name``."""
    if get_world_size() == 1:
        return True
    count = _get_default_store().add(f'{socket.gethostname()} {name}', 1)
    return count % int(os.environ.get('LOCAL_WORLD_SIZE', 1)) == 0


def usable_cores() -> int:
    """Return how many cores this process may use: those of its container, shared by its run's processes there."""
    cores = os.cpu_count() or 1
    if hasattr(os, 'sched_getaffinity'):
        cores = len(os.sched_getaffinity(0))
    with suppress(OSError, ValueError):  # no limit: the first word is 'max'
        quota, period = map(int, _QUOTA.read_text().split())
        cores = min(cores, quota // period)
    if os.environ.get('SLURM_NTASKS', '1') == '1':  # Slurm gives each task cores of its own
        cores //= int(os.environ.get('LOCAL_WORLD_SIZE', 1))
    return max(1, cores)


class Agreement:
    """The largest of a number over all processes, known one exchange later, so that none waits for it.

    An exchange takes 0.4 ms: if steps are fast, only every tenth call is one, else it is due every quarter of a second.
    """

    def __init__(self) -> None:
        self._shared = torch.zeros(2)  # the number, and the seconds since the last exchange
        self._work: torch_dist.Work | None = None
        self._every, self._calls, self._since = 1, 0, time.monotonic()

    def exchange(self, value: int) -> int:
        """Return the largest value of an exchange before; all processes get the same, and must call equally often."""
        if get_world_size() == 1:
            return value
        self._calls += 1
        if self._calls < self._every:
            return 0
        agreed = self.finish()
        now = time.monotonic()
        self._shared[:] = torch.tensor([value, (now - self._since) / self._calls])
        self._calls, self._since = 0, now
        group = _cpu_group(torch_dist.group.WORLD)
        self._work = torch_dist.all_reduce(self._shared, torch_dist.ReduceOp.MAX, group, async_op=True)
        return agreed

    def finish(self) -> int:
        """Return the largest value of the last exchange."""
        if self._work is None:
            return 0
        self._work.wait()
        self._work = None
        value, seconds = self._shared.tolist()
        self._every = int(max(1, .25 / max(seconds, .025)))
        return int(value)


@cache
def keep_freed_memory() -> None:
    """Let glibc keep large buffers that are freed, instead of asking the system for new pages in each step.

    On a CPU those pages cost up to half of a step (docs/performance.md). Before a worker starts they are given back: as
    long as it lives, each would be copied when it is written to again.
    """
    if platform.libc_ver()[0] == 'glibc':
        libc = ctypes.CDLL(None)
        libc.mallopt(-3, 2**30)  # M_MMAP_THRESHOLD, in bytes; 32 MiB before
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
        os.register_at_fork(before=lambda: libc.malloc_trim(0))


@contextmanager
def frozen_garbage() -> Iterator[None]:
    """Look for garbage only among what is made meanwhile: in all that a training imports, it takes half a second."""
    if not _freezing:  # an inner one would hide from the outer one what was made in it
        gc.freeze()
    _freezing.append(None)
    try:
        yield
    finally:
        _freezing.pop()
        if not _freezing:
            gc.unfreeze()
