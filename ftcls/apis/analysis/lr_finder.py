"""Which learning rate to use: a range test on the config's own model, data and optimizer, which leaves no trace."""
import copy
import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config

from ftcls.apis.training.train import TrainOptions, require, train
from ftcls.config.loading import load_config
from ftcls.config.resolve import type_name
from ftcls.datasets.worker_seed import random_state, set_random_state
from ftcls.engine.hooks import RangeTestFinished
from ftcls.engine.mmengine_compat import quiet_run
from ftcls.utils import ConfigError
from ftcls.visualization import plot_range_test

__all__ = ['RangeTest', 'find_lr']

_LEFT_OUT = ('EarlyStoppingHook', 'CheckpointHook')  # hooks that wait for a validation, or write files


@dataclass(frozen=True)
class RangeTest:
    """What a range test found; rates are those of ``optim_wrapper.optimizer.lr``.

    Attributes:
        rates: The rate of each step, growing.
        losses: The training loss after each step; ``smoothed`` averages it with its neighbours.
        steepest: The rate at which the smoothed loss falls fastest, over the logarithm of the rate.
        bottom: The rate of the lowest smoothed loss.
        configured: The rate that the config has.
        stopped: Whether the loss diverged before the highest rate.
        images: Images per step; 0 if it is not known.
    """
    rates: list[float]
    losses: list[float]
    smoothed: list[float]
    steepest: float
    bottom: float
    configured: float
    stopped: bool
    images: int = 0

    @property
    def confirms(self) -> bool:
        """Whether the loss is down at the config's rate, by a tenth of its fall, before twice the lowest's rate."""
        fallen = self.smoothed[0] - np.interp(self.configured, self.rates, self.smoothed)
        return self.configured <= 2 * self.bottom and fallen > 0.1 * (self.smoothed[0] - min(self.smoothed))

    @property
    def suggested(self) -> float:
        """The config's rate if the test confirms it, else ``steepest`` (docs/small_data.md has both measured)."""
        return self.configured if self.confirms else self.steepest

    def describe(self) -> list[str]:
        """Return how to read the result, in sentences."""
        end = 'where the loss diverged' if self.stopped else 'the highest rate'
        best, bottom, tenth = f'{self.steepest:.2g}', f'{self.bottom:.2g}', f'{self.bottom / 10:.2g}'
        steps = f'{len(self.rates)} steps of {self.images} images, one at each rate, without the schedule of the config'
        lines = [f'{steps}: from {self.rates[0]:.2g} to {self.rates[-1]:.2g}, {end}']
        lines.append(f'the loss falls fastest at {best}; it is lowest at {bottom}, a tenth of which is {tenth}')
        why = f"the config's: the loss is down there; it is for the whole schedule, {best} for a short one"
        if not self.confirms:
            option = f'--cfg-options optim_wrapper.optimizer.lr={best}'
            why = f"where it falls fastest; at the config's {self.configured:.2g} it is not down: {option}"
        lines.append(f'suggested: {self.suggested:.2g}, {why}')
        if not self.stopped and self.bottom >= 0.8 * self.rates[-1]:
            lines.append('the loss still falls at the highest rate: give a higher --max')
        if self.smoothed[0] - min(self.smoothed) < 0.05 * abs(self.smoothed[0]):
            lines.append('the loss hardly falls at any rate: give more --steps, or check that the config can learn')
        return lines


def find_lr(cfg: Config,
            out: str | Path = 'lr_finder.png',
            *,
            lowest: float = 1e-6,
            highest: float = 1.,
            steps: int = 100,
            options: TrainOptions | None = None) -> RangeTest:
    """Train for some steps with a growing learning rate, and draw the loss over it (Smith 2017, arXiv:1506.01186).

    It is an ordinary run of the config (its weights, batch, augmentation, freezing and factors of rates), without
    schedule and validation, in a temporary folder. A training after it is bitwise the training without it: the random
    state is restored, and nothing is written but ``out``.

    Args:
        cfg: The config; it is not changed.
        out: The PNG file to write.
        lowest: Rate of the first step; ``highest`` of the last.
        steps: Steps of the optimizer, at least 10.
        options: See :func:`train`; ``amp``, ``batch_policy`` and ``seed`` are of use.

    Raises:
        UserError: If the config cannot be trained, or the range is empty.
    """
    if Path(out).suffix.lower() != '.png':
        raise ConfigError(f'--out {out}: must end in .png')
    cfg = _for_range_test(cfg, lowest, highest, steps)
    with tempfile.TemporaryDirectory(prefix='lr_finder_') as folder, _random_state_kept():
        options = replace(options or TrainOptions(), work_dir=folder, validate=False, resume=False)
        try:
            with quiet_run():
                train(cfg, options)
            raise ConfigError(f'train_cfg ends before the {steps} steps of the range test; give fewer --steps')
        except RangeTestFinished as done:
            images = cfg.train_dataloader.get('batch_size', 0) * cfg.optim_wrapper.get('accumulative_counts', 1)
            result = replace(_evaluate(done), images=images)
    marks = {'steepest': result.steepest, 'lowest / 10': result.bottom / 10, "the config's": result.configured}
    plot_range_test(result.rates, result.losses, result.smoothed, marks, out, Path(cfg.filename or '').stem or None)
    return result


def _for_range_test(cfg: Config, lowest: float, highest: float, steps: int) -> Config:
    cfg = copy.deepcopy(load_config(cfg))
    require(cfg, 'train_dataloader, train_cfg', 'the range test is a training')
    cfg.param_scheduler, cfg.resume = None, False
    for key in ('max_epochs', 'max_iters'):  # as long as it takes; what the config has is the least
        if key in cfg.train_cfg:
            batches = (steps + 1) * int(cfg.optim_wrapper.get('accumulative_counts', 1)) * 100
            cfg.train_cfg[key] = max(cfg.train_cfg[key], batches)
    hooks = [hook for hook in cfg.get('custom_hooks') or [] if type_name(hook) not in _LEFT_OUT]
    cfg.custom_hooks = [*hooks, dict(type='LRRangeHook', lowest=lowest, highest=highest, steps=steps)]
    default_hooks = cfg.get('default_hooks') or {}
    left_out = [key for key, hook in default_hooks.items() if type_name(hook) in _LEFT_OUT]
    cfg.default_hooks = {**default_hooks, **dict.fromkeys(['checkpoint', *left_out])}
    return cfg


@contextmanager
def _random_state_kept() -> Iterator[None]:
    """Restore all random states, and torch's switches for deterministic results."""
    state, cudnn = random_state(), torch.backends.cudnn
    switches = torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, cudnn.benchmark
    try:
        yield
    finally:
        set_random_state(state)
        torch.use_deterministic_algorithms(switches[0])
        cudnn.deterministic, cudnn.benchmark = switches[1:]


def _evaluate(done: RangeTestFinished) -> RangeTest:
    losses = [loss for loss in done.losses[1:] if math.isfinite(loss)]
    rates = done.rates[:len(losses)]
    if len(losses) < 5:
        rate = max(done.rates, default=0)
        raise ConfigError(f'the loss diverged after {len(done.losses)} steps, at a rate of {rate:.2g}: lower --min')
    smoothed = _smooth(losses)
    slopes = np.gradient(smoothed, np.log(rates))
    bottom = int(np.argmin(smoothed))
    steepest = int(np.argmin(slopes[:bottom + 1]))  # a fall behind the bottom is noise
    return RangeTest(rates, losses, smoothed.tolist(), rates[steepest], rates[bottom], done.configured, done.stopped)


def _smooth(losses: list[float]) -> np.ndarray:
    """Average each loss with its neighbours, by a Gaussian of a 25th of the steps, which does not lag."""
    width = max(1., len(losses) / 25)
    at = np.arange(len(losses))
    weights = np.exp(-0.5 * ((at[:, None] - at) / width)**2)
    return weights @ np.asarray(losses) / weights.sum(axis=1)
