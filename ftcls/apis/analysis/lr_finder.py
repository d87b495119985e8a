"""Which learning rate to take: a range test on the config's own model, data and optimizer, of which nothing stays."""
import copy
import math
import random
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config

from ftcls.apis.training.train import TrainOptions, train
from ftcls.engine.hooks import RangeTestFinished
from ftcls.engine.mmengine_compat import quiet_run
from ftcls.utils import ConfigError
from ftcls.visualization import plot_range_test

__all__ = ['RangeTest', 'find_lr']

# Hooks that wait for a validation, or write.
_LEFT_OUT = ('EarlyStoppingHook', 'CheckpointHook')


@dataclass(frozen=True)
class RangeTest:
    """What a range test found; rates are those of ``optim_wrapper.optimizer.lr``.

    Attributes:
        rates: The rate of each step, growing.
        losses: The training loss after each step.
        smoothed: The losses, averaged with their neighbours.
        steepest: The rate at which the smoothed loss falls fastest, over the logarithm of the rate.
        bottom: The rate of the lowest smoothed loss.
        configured: The rate that the config has.
        stopped: Whether the loss left all bounds before the highest rate.
    """
    rates: list[float]
    losses: list[float]
    smoothed: list[float]
    steepest: float
    bottom: float
    configured: float
    stopped: bool

    @property
    def suggested(self) -> float:
        """``steepest``; a tenth of ``bottom``, the other reading, is the cautious one (docs/small_data.md has both measured)."""
        return self.steepest

    def describe(self) -> list[str]:
        """Return what to make of it, in sentences."""
        end = 'where the loss left all bounds' if self.stopped else 'the highest rate'
        lines = [
            f'{len(self.rates)} steps, from a rate of {self.rates[0]:.2g} to {self.rates[-1]:.2g}, {end}',
            f'the loss falls fastest at {self.steepest:.2g}; it is lowest at {self.bottom:.2g}, '
            f'a tenth of which is {self.bottom / 10:.2g}',
            f'suggested: {self.suggested:.2g}, where it falls fastest: --cfg-options '
            f'optim_wrapper.optimizer.lr={self.suggested:.2g} (the config has {self.configured:.2g})'
        ]
        if not self.stopped and self.bottom >= 0.8 * self.rates[-1]:
            lines.append('the loss still falls at the highest rate: give a higher --max')
        if self.smoothed[0] - min(self.smoothed) < 0.05 * abs(self.smoothed[0]):
            lines.append('the loss hardly falls at any rate: more --steps, or the config cannot learn this')
        return lines


def find_lr(cfg: Config,
            out: str | Path = 'lr_finder.png',
            *,
            lowest: float = 1e-6,
            highest: float = 1.,
            steps: int = 100,
            options: TrainOptions | None = None) -> RangeTest:
    """Train for some steps with a growing learning rate, and draw the loss over it (Smith 2017, arXiv:1506.01186).

    It is an ordinary run of the config (its weights, batch, augmentation, freezing and factors of rates), without schedule
    and validation, in a folder that is deleted after. A training after it is bitwise the training without it: the random
    state is put back, and nothing is written but ``out``.

    Args:
        cfg: The config; it is not changed.
        out: The PNG file to write.
        lowest: Rate of the first step.
        highest: Rate of the last.
        steps: Steps of the optimizer, at least 10.
        options: As of :func:`train`: ``amp``, ``batch_policy`` and ``seed`` are of use.

    Raises:
        UserError: If the config is not fit for training, or the range is none.
    """
    if Path(out).suffix.lower() != '.png':
        raise ConfigError(f'--out {out}: must end in .png')
    cfg = _for_range_test(cfg, lowest, highest, steps)
    with tempfile.TemporaryDirectory(prefix='lr_finder_') as folder, _random_state_kept():
        options = replace(options or TrainOptions(), work_dir=folder, validate=False, resume=False)
        try:
            with quiet_run():
                train(cfg, options)
        except RangeTestFinished as done:
            result = _evaluate(done)
        else:
            raise ConfigError(f'train_cfg ends before the {steps} steps of the range test; give fewer --steps')
    plot_range_test(result.rates, result.losses, result.smoothed,
                    {'steepest': result.steepest, 'lowest / 10': result.bottom / 10, 'the config\'s': result.configured},
                    out, Path(cfg.filename).stem if cfg.filename else None)  # yapf: disable
    return result


def _for_range_test(cfg: Config, lowest: float, highest: float, steps: int) -> Config:
    """Return a copy of a config that makes the range test of it."""
    cfg = copy.deepcopy(cfg)
    if not cfg.get('train_dataloader') or not cfg.get('train_cfg'):
        raise ConfigError('train_dataloader, train_cfg: missing; there is no training whose rate could be found')
    cfg.param_scheduler, cfg.resume = None, False
    for key in ('max_epochs', 'max_iters'):  # as long as it takes; what the config has is the least
        if key in cfg.train_cfg:
            batches = (steps + 1) * int(cfg.optim_wrapper.get('accumulative_counts', 1)) * 100
            cfg.train_cfg[key] = max(cfg.train_cfg[key], batches)
    hooks = dict(cfg.get('default_hooks') or {})
    hooks['checkpoint'] = None
    cfg.default_hooks = {key: None if _is_left_out(hook) else hook for key, hook in hooks.items()}
    cfg.custom_hooks = [hook for hook in cfg.get('custom_hooks') or [] if not _is_left_out(hook)]
    cfg.custom_hooks.append(dict(type='LRRangeHook', lowest=lowest, highest=highest, steps=steps))
    return cfg


def _is_left_out(hook: object) -> bool:
    return isinstance(hook, Mapping) and hook.get('type') in _LEFT_OUT


@contextmanager
def _random_state_kept() -> Iterator[None]:
    """Put all random states, and torch's switches for deterministic results, back as they were."""
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    cudnn = torch.backends.cudnn
    switches = torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, cudnn.benchmark
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        if gpus is not None:
            torch.cuda.set_rng_state_all(gpus)
        torch.use_deterministic_algorithms(switches[0])
        cudnn.deterministic, cudnn.benchmark = switches[1:]


def _evaluate(done: RangeTestFinished) -> RangeTest:
    """Read the rates off the curve."""
    losses = [loss for loss in done.losses[1:] if math.isfinite(loss)]
    rates = done.rates[:len(losses)]
    if len(losses) < 5:
        raise ConfigError(f'the loss left all bounds after {len(done.losses)} steps, at a rate of '
                          f'{done.rates[-1] if done.rates else 0:.2g}: give a lower --min')
    smoothed = _smooth(losses)
    slopes = np.gradient(smoothed, np.log(rates))
    bottom = int(np.argmin(smoothed))
    # past the bottom a dip is noise
    steepest = int(np.argmin(slopes[:bottom + 1]))
    return RangeTest(rates, losses, smoothed.tolist(), rates[steepest], rates[bottom], done.configured, done.stopped)


def _smooth(losses: list[float]) -> np.ndarray:
    """Average each loss with its neighbours, by a Gaussian of a twenty-fifth of the steps (a symmetric one does not lag)."""
    width = max(1., len(losses) / 25)
    at = np.arange(len(losses))
    weights = np.exp(-0.5 * ((at[:, None] - at) / width)**2)
    return weights @ np.asarray(losses) / weights.sum(axis=1)
