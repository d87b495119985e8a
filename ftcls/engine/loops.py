"""MMEngine's loops, entered also in the middle of an epoch: no batch twice, none left out, the same random numbers."""
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from mmengine.dist import all_gather_object, get_rank, get_world_size
from mmengine.runner import EpochBasedTrainLoop as MMEngineEpochBasedTrainLoop
from mmengine.runner import IterBasedTrainLoop as MMEngineIterBasedTrainLoop
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

from ftcls.datasets.worker_seed import random_state, remaining, sending_states, set_random_state
from ftcls.registry import LOOPS
from ftcls.utils.log import warn
from .mmengine_compat import restart_sampler

__all__ = ['BatchStream', 'EpochBasedTrainLoop', 'IterBasedTrainLoop']


class BatchStream:
    """The batches of a loader, pass after pass, from any point on.

    Attributes:
        passes: How many passes over the data were completed.
        batches: How many batches of the present pass were given; None between two passes.
        is_seeded: Whether the workers of the first pass start after the hooks have set the seed of an epoch.
        before_validation: The random numbers of this process at the start of a validation, while it runs.
    """

    def __init__(self, loader: DataLoader, is_seeded: bool = True) -> None:
        self.loader, self.is_seeded = sending_states(loader), is_seeded
        if not is_seeded:  # workers that live on would carry random numbers, which no checkpoint has, to the next pass
            vars(self.loader).update(persistent_workers=False)
        self.passes = 0
        self.batches: int | None = None
        self.before_validation: dict | None = None
        self._states: dict[int, dict] = {}
        self._setting = {'batches': len(loader), 'workers': loader.num_workers, 'processes': get_world_size()}

    def begin(self, position: Mapping | None = None, iterator: Iterator | None = None) -> None:
        """Begin a pass, or take one up at the position that :meth:`position` gave, as far as it is known."""
        self.batches, self._states, loader, own = 0, {}, self.loader, {}
        if position is not None:
            self.passes, self.batches = position.get('passes', 0), position['batches']
            before = position.get('setting')
            if before == self._setting:
                own = position['states'][get_rank()]
                self._states |= own['workers']
            elif before:
                self.batches = self.batches * len(loader) // before['batches']  # the same share of the data
                warn(f'resuming within an epoch with {self._setting}, not {before}: its rest has other random numbers')
            restart_sampler(loader.sampler)
            loader = remaining(loader, self.batches, self._states, self.is_seeded or self.passes > 0)
        random_numbers = torch.get_rng_state()
        self._iterator = iterator or iter(loader)
        if loader.persistent_workers and self.passes > 0:
            torch.set_rng_state(random_numbers)  # workers that live on from pass to pass draw no seed, new ones do
        if own:
            set_random_state(own['main'])

    def position(self, before_validation: bool = False) -> dict[str, Any] | None:
        """Return where the stream is, with the random numbers of all processes; None between two passes.

        All processes must call it together. ``before_validation`` is for a validation that will be made again.
        """
        if self.batches is None:
            return None
        main = (before_validation and self.before_validation) or random_state()
        states = all_gather_object(dict(main=main, workers=self._states))
        return dict(passes=self.passes, batches=self.batches, setting=self._setting, states=states)

    def __iter__(self) -> Iterator:
        return self

    def __next__(self) -> Any:
        batch = next(self._iterator)
        if self.loader.num_workers:
            batch, self._states[self.batches % self.loader.num_workers] = batch
        self.batches += 1
        return batch

    def forever(self) -> Iterator:
        """Yield the batches of one pass after another."""
        while True:
            yield from self
            self.passes += 1
            _set_epoch(self.loader, self.passes)
            self.begin()


def _set_epoch(loader: DataLoader, epoch: int) -> None:
    for sampler in (loader.sampler, getattr(loader.batch_sampler, 'sampler', None)):
        if hasattr(sampler, 'set_epoch'):
            sampler.set_epoch(epoch)


class _Resumable:
    """What both loops add to MMEngine's; ``resumed`` is ``meta`` of the checkpoint that the run resumes."""
    resumed: Mapping[str, Any] = {}

    def _is_due(self, done: int, most: int) -> bool:
        self._decide_current_val_interval()
        is_due = done >= self.val_begin and (done % self.val_interval == 0 or done == most)
        return self.runner.val_loop is not None and is_due

    def _validate(self, done: int, most: int) -> None:
        """Validate where it is time to."""
        if self._is_due(done, most):
            self.stream.before_validation = random_state()
            self.runner.val_loop.run()
            self.stream.before_validation = None


@LOOPS.register_module()
class EpochBasedTrainLoop(_Resumable, MMEngineEpochBasedTrainLoop):
    """MMEngine's loop by epochs; a run that was stopped within an epoch or before its validation goes on from there."""

    def run(self) -> nn.Module:
        """Train, and validate between the epochs."""
        self.stream = BatchStream(self.dataloader)
        self.runner.call_hook('before_train')
        position = self.resumed.get('position')
        if self.begins_with_validation():
            self._validate(self._epoch, self._max_epochs)
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch(position)
            position = None
            self._validate(self._epoch, self._max_epochs)
        self.runner.call_hook('after_train')
        return self.runner.model

    def begins_with_validation(self) -> bool:
        """Tell whether a resumed run makes up for the validation that its checkpoint was written before."""
        is_pending = self.resumed.get('validation_due') and self.resumed.get('position') is None
        return bool(is_pending) and self._is_due(self._epoch, self._max_epochs)

    def run_epoch(self, position: Mapping | None = None) -> None:
        """Train for an epoch, or for what is left of one."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        self.stream.passes = self._epoch
        self.stream.begin(position)
        for batch in self.stream:
            self.run_iter(self.stream.batches - 1, batch)
        self.stream.batches = None
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1


@LOOPS.register_module()
class IterBasedTrainLoop(_Resumable, MMEngineIterBasedTrainLoop):
    """MMEngine's loop by iterations; a run that was stopped continues with the next batch, and loads none before it."""

    def __init__(self,
                 runner: Runner,
                 dataloader: DataLoader,
                 max_iters: int,
                 val_begin: int = 1,
                 val_interval: int = 1000,
                 dynamic_intervals: Sequence[tuple[int, int]] | None = None) -> None:
        self.stream = BatchStream(dataloader, is_seeded=False)
        super().__init__(runner, self.stream.loader, max_iters, val_begin, val_interval, dynamic_intervals)
        self.dataloader = dataloader
        self.stream.begin(iterator=self.dataloader_iterator._iterator)
        self.dataloader_iterator = self.stream.forever()

    def run(self) -> nn.Module:
        """Train, and validate at its intervals."""
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        if self._iter > 0:
            position = self.resumed.get('position') or dict(batches=self._iter)
            _set_epoch(self.dataloader, position.get('passes', 0))
            self.stream.begin(position)
        if self.begins_with_validation():
            self._validate(self._iter, self._max_iters)
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(self.dataloader_iterator))
            self._validate(self._iter, self._max_iters)
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model

    def begins_with_validation(self) -> bool:
        """Tell whether a resumed run makes up for the validation that its checkpoint was written before."""
        return bool(self.resumed.get('validation_due')) and self._is_due(self._iter, self._max_iters)
