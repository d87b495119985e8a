"""Random numbers of the processes that load pictures, anew in each epoch."""
import random

import numpy as np
import torch
from torch.utils.data import Dataset, get_worker_info

__all__ = ['EpochSeed', 'seed_workers']


class EpochSeed:
    """A seed that the main process sets and its workers take up, also those that live on from epoch to epoch.

    PyTorch seeds a worker when it starts and never again. Workers that are kept would thus go on from where the epoch
    before left them, which a resumed run cannot know, and workers that are started anew would repeat the numbers of the
    first epoch.
    """

    def __init__(self) -> None:
        self._shared = torch.zeros((), dtype=torch.int64)
        self._taken = 0

    def set(self, seed: int) -> None:
        """Set the seed, a positive number, for all workers, those to come and those that run."""
        if not self._shared.is_shared():
            self._shared.share_memory_()
        self._shared.fill_(seed)

    def take(self) -> None:
        """In a worker, seed the random numbers if the seed is a new one; elsewhere do nothing."""
        worker = get_worker_info()
        if worker is None:
            return
        seed = int(self._shared)
        if seed == self._taken:
            return
        self._taken = seed
        seed = (seed + 104_729 * (worker.id + 1)) % 2**32  # a prime: no two workers share a seed
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)


def seed_workers(dataset: Dataset, seed: int) -> None:
    """Give a seed to every dataset in a dataset that has an ``epoch_seed``, wrapped ones included."""
    parts = list(getattr(dataset, 'datasets', ())) + [getattr(dataset, 'dataset', None)]
    for part in parts:
        if part is not None:
            seed_workers(part, seed)
    if isinstance(getattr(dataset, 'epoch_seed', None), EpochSeed):
        dataset.epoch_seed.set(seed)
