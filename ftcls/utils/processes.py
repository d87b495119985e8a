"""What the processes of a run agree on apart from gradients: whether to stop, and to wait long for one of them."""
from datetime import timedelta
from functools import lru_cache

import torch
import torch.distributed as torch_dist
from mmengine.dist import get_world_size

__all__ = ['Agreement', 'patient_barrier']


@lru_cache(maxsize=1)
def _cpu_group(world: torch_dist.ProcessGroup) -> torch_dist.ProcessGroup:
    """Return a group of all processes that works without a GPU, and does not make one wait."""
    return world if torch_dist.get_backend(world) == 'gloo' else torch_dist.new_group(backend='gloo')


def patient_barrier(hours: float = 6) -> None:
    """Wait for all processes, longer than the time limit of the process group, while one of them downloads.

    Raises:
        RuntimeError: After this time, with the ranks that are not there.
    """
    if get_world_size() > 1:
        torch_dist.monitored_barrier(_cpu_group(torch_dist.group.WORLD), timedelta(hours=hours))


class Agreement:
    """The largest of a number over all processes, known one call later, so that none waits for it."""

    def __init__(self) -> None:
        self._shared = torch.zeros((), dtype=torch.int64)
        self._work: torch_dist.Work | None = None

    def exchange(self, value: int) -> int:
        """Return the largest value of the call before; all processes get the same, and must call equally often."""
        if get_world_size() == 1:
            return value
        agreed = self.finish()
        self._shared.fill_(value)
        group = _cpu_group(torch_dist.group.WORLD)
        self._work = torch_dist.all_reduce(self._shared, torch_dist.ReduceOp.MAX, group, async_op=True)
        return agreed

    def finish(self) -> int:
        """Return the largest value of the last call."""
        if self._work is None:
            return 0
        self._work.wait()
        self._work = None
        return int(self._shared)
