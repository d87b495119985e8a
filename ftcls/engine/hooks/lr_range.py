"""The learning rate range test: the rate grows from step to step, and the loss tells how far it may."""
import math
from typing import Annotated, Any

from annotated_types import Ge
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ftcls.engine.mmengine_compat import accumulative_counts
from ftcls.engine.recording import as_floats
from ftcls.registry import HOOKS
from ftcls.utils import ConfigError
from ftcls.utils.types import PositiveFloat

__all__ = ['LRRangeHook', 'RangeTestFinished']

_DIVERGED = 4.  # times its lowest so far is the smoothed loss where the test ends, as in fastai's `lr_find` …
_MOMENTUM, _FIRST_STEPS = 0.9, 10  # … smoothed by this share of the old value, the first steps apart


class RangeTestFinished(Exception):
    """Raised to leave the training loop, with the growing rates of the steps and the rate that the config gives.

    ``losses`` has the training loss before the first step, then that after each step; ``stopped`` tells whether it
    diverged before the highest rate.
    """

    def __init__(self, rates: list[float], losses: list[float], stopped: bool, configured: float) -> None:
        super().__init__(f'{len(losses) - 1} steps of the range test')
        self.rates, self.losses, self.stopped, self.configured = rates[:len(losses) - 1], losses, stopped, configured


@HOOKS.register_module()
class LRRangeHook(Hook):
    """Raise the learning rate exponentially from step to step, then end the training (Smith 2017, arXiv:1506.01186).

    The rates of all groups of the optimizer grow alike: each keeps its factor to ``optim_wrapper.optimizer.lr``. Where
    gradients are accumulated, a step is that of the optimizer, and its loss the mean over its batches. The config must
    have no ``param_scheduler``.

    Args:
        lowest: Rate of the first step.
        highest: Rate of the last step.

    Raises:
        ConfigError: If the range is none, or the optimizer has no learning rate that others could be a factor of.
        RangeTestFinished: Always, at the end of the test.
    """

    def __init__(self,
                 lowest: PositiveFloat = 1e-6,
                 highest: PositiveFloat = 1.,
                 steps: Annotated[int, Ge(10)] = 100) -> None:
        if not lowest < highest < math.inf:
            raise ConfigError(f'LRRangeHook: lowest={lowest!r} must be below highest={highest!r}')
        self.rates = [lowest * (highest / lowest)**(i / (steps - 1)) for i in range(steps)]
        self.losses: list[float] = []
        self._sum = self._base = self._average = 0.
        self._factors: list[float] = []
        self._means: list[float] = []

    def before_train(self, runner: Runner) -> None:
        """Note the factor of each group."""
        self._base = float(runner.optim_wrapper.optimizer.defaults.get('lr') or 0)
        if not self._base:
            raise ConfigError('optim_wrapper.optimizer.lr must be set, and not 0: the groups\' rates are factors of it')
        self._factors = [float(group['lr']) / self._base for group in runner.optim_wrapper.param_groups]

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Set the rate of the step that this batch belongs to."""
        rate = self.rates[min(runner.iter // accumulative_counts(runner.optim_wrapper), len(self.rates) - 1)]
        for group, factor in zip(runner.optim_wrapper.param_groups, self._factors, strict=True):
            group['lr'] = rate * factor

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Note the loss, and leave where it has diverged or the last rate has been tried."""
        accumulation = accumulative_counts(runner.optim_wrapper)
        self._sum += as_floats(outputs)['loss']
        if (runner.iter + 1) % accumulation:
            return
        self.losses.append(self._sum / accumulation)
        self._sum = 0.
        if (diverged := self._diverged()) or len(self.losses) > len(self.rates):
            raise RangeTestFinished(self.rates, self.losses, diverged, self._base)

    def _diverged(self) -> bool:
        self._average = _MOMENTUM * self._average + (1 - _MOMENTUM) * self.losses[-1]
        self._means.append(self._average / (1 - _MOMENTUM**(len(self._means) + 1)))  # the average began at 0
        if not math.isfinite(self.losses[-1]):
            return True
        return len(self._means) > _FIRST_STEPS and self._means[-1] > _DIVERGED * min(self._means)
