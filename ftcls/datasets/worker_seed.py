"""Random numbers of the processes that load images: anew in each epoch, and taken up again within one."""
import copy
import itertools
import random
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from .wrappers import inner_datasets

__all__ = ['EpochSeed', 'random_state', 'remaining', 'seed_workers', 'sending_states', 'set_random_state', 'set_seeds']


class EpochSeed:
    """A seed that the main process sets and its workers take up, also those that live on from epoch to epoch.

    PyTorch seeds a worker when it starts and never again. Workers that are kept would thus go on from where the epoch
    before left them, which a resumed run cannot know, and workers that are started anew would repeat the numbers of the
    first epoch.
    """
    batches_done: ClassVar[int] = 0  #: In a worker of a resumed run: batches of the pass that were loaded before.

    def __init__(self) -> None:
        self._shared = torch.zeros((), dtype=torch.int64)
        self.taken = 0

    def set(self, seed: int) -> None:
        """Set the seed, a positive number, for all workers, those to come and those that run."""
        if not self._shared.is_shared():
            self._shared.share_memory_()
        self._shared.fill_(seed)

    @property
    def value(self) -> int:
        """The seed that this process sees; 0 before one is set."""
        return int(self._shared)

    def take(self) -> None:
        """In a worker, seed the random numbers if the seed is a new one; elsewhere do nothing."""
        worker, seed = get_worker_info(), self.value
        if worker is None or seed == self.taken:
            return
        self.taken = seed
        lane = (self.batches_done + worker.id) % worker.num_workers
        set_seeds((seed + 104_729 * (lane + 1)) % 2**32)  # a prime: no two workers share a seed


def _epoch_seeds(dataset: Dataset) -> list[EpochSeed]:
    """Return the ``epoch_seed`` of every dataset in a dataset that has one, wrapped ones included."""
    found = [getattr(one, 'epoch_seed', None) for one in inner_datasets(dataset)]
    return [one for one in found if isinstance(one, EpochSeed)]


def set_seeds(seed: int) -> None:
    """Seed the random numbers of Python, NumPy and torch."""
    random.seed(seed)
    np.random.seed(seed)
    if torch.accelerator.is_available():
        torch.manual_seed(seed)
    else:  # a hundred times as fast: no stack is kept for a device that may appear
        torch.default_generator.manual_seed(seed)


def seed_workers(dataset: Dataset, seed: int) -> None:
    """Give a seed to the workers of a dataset."""
    for one in _epoch_seeds(dataset):
        one.set(seed)


def random_state(dataset: Dataset | None = None) -> dict[str, Any]:
    """Return where the random numbers of this process are: of Python, NumPy and torch, on the CPU and on GPUs.

    Args:
        dataset: That of a worker, which uses no GPU; ``taken`` tells of each part of it whether it has taken up the
            present seed.
    """
    state = dict(python=random.getstate(), numpy=np.random.get_state(), torch=torch.get_rng_state().numpy())
    if dataset is not None:
        state['taken'] = [one.taken == one.value for one in _epoch_seeds(dataset)]
    elif torch.cuda.is_initialized():
        state['cuda'] = torch.cuda.get_rng_state_all()
    return state


def set_random_state(state: Mapping[str, Any], dataset: Dataset | None = None) -> None:
    """Set the random numbers to what :func:`random_state` gave."""
    random.setstate(state['python'])
    np.random.set_state(state['numpy'])
    torch.set_rng_state(torch.from_numpy(state['torch']))
    if 'cuda' in state:
        torch.cuda.set_rng_state_all([one.cpu() for one in state['cuda']])
    for one, is_taken in zip(_epoch_seeds(dataset), state.get('taken', ())):
        one.taken = one.value * is_taken


def _send_state(collate: Callable, samples: list) -> tuple[Any, dict]:
    return collate(samples), random_state(get_worker_info().dataset)


def _rejoin(begin: Callable | None, done: int, states: Mapping[int, Mapping], is_seeded: bool, number: int) -> None:
    """Take, as a worker that starts, the place of the one whose turn it is after ``done`` batches."""
    worker = get_worker_info()
    lane = (done + number) % worker.num_workers
    if begin is not None:
        begin(lane)
    EpochSeed.batches_done = done
    if lane in states:
        set_random_state(states[lane], worker.dataset)
    elif not is_seeded:
        for one in _epoch_seeds(worker.dataset):
            one.taken = one.value


def sending_states(loader: DataLoader) -> DataLoader:
    """Return a copy of a loader that, if it has workers, gives pairs: a batch, and the worker's state after it."""
    sending = copy.copy(loader)
    if loader.num_workers:
        sending.collate_fn = partial(_send_state, loader.collate_fn)
    return sending


def remaining(loader: DataLoader, done: int, states: Mapping[int, Mapping], is_seeded: bool = True) -> DataLoader:
    """Return a loader of a pass's batches after the first ``done``, equal to those of an uninterrupted pass.

    It loads none before them, and can be iterated once.

    Args:
        loader: The loader of whole passes, with a batch sampler.
        done: How many batches were given.
        states: The random numbers of the workers, by the number of a batch modulo the number of workers.
        is_seeded: Whether the workers of the pass took up an :class:`EpochSeed`, and did not start before it was set.
    """
    rest = copy.copy(loader)
    batches = itertools.islice(loader.batch_sampler, done, None)
    start = partial(_rejoin, loader.worker_init_fn, done, states, is_seeded)
    # past DataLoader's own guard, which is for a loader that is in use
    vars(rest).update(batch_sampler=batches, worker_init_fn=start, persistent_workers=False, _iterator=None)
    return rest
