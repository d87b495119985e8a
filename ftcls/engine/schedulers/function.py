"""Schedules that a function in the registry gives.

A function is one file and one line: written with ``@FUNCTIONS.register_module()`` in a file that the config names in
``custom_imports`` (or that this folder's ``__init__`` imports), and named in ``param_scheduler``::

    @FUNCTIONS.register_module()
    def sawtooth(step, total, teeth=4):
        return 1 - step * teeth / total % 1

    param_scheduler = dict(type='FunctionLR', function='sawtooth', args=dict(teeth=3), by_epoch=False)
"""
import inspect
import math
from collections.abc import Mapping
from typing import Any

from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.optim.scheduler.momentum_scheduler import MomentumSchedulerMixin
from mmengine.optim.scheduler.param_scheduler import INF, OptimizerType, _ParamScheduler

from ftcls.registry import FUNCTIONS, PARAM_SCHEDULERS
from ftcls.utils import ConfigError, did_you_mean

__all__ = ['FunctionLR', 'FunctionMomentum', 'inverse_sqrt', 'one_cycle_momentum']


class _FunctionScheduler(_ParamScheduler):
    """What :class:`FunctionLR` and :class:`FunctionMomentum` share."""

    def __init__(self,
                 optimizer: OptimizerType,
                 param_name: str,
                 function: str,
                 args: Mapping[str, Any] | None = None,
                 begin: int = 0,
                 end: int = INF,
                 last_step: int = -1,
                 by_epoch: bool = True,
                 verbose: bool = False) -> None:
        self.function, self.args = function, dict(args or {})
        self._call = FUNCTIONS.get(function)
        where = f'param_scheduler.function={function!r}'
        if self._call is None:
            hint = did_you_mean(function, [*FUNCTIONS.module_dict, *FUNCTIONS.parent.module_dict])
            raise ConfigError(f'{where}: no such function is registered{hint}; is its file in custom_imports?')
        try:
            inspect.signature(self._call).bind(0, 1, **self.args)
        except TypeError as err:
            raise ConfigError(f'{where}: called as {function}(step, total, **{self.args}): {err}') from None
        super().__init__(optimizer, param_name, begin, end, last_step, by_epoch, verbose)

    @classmethod
    def build_iter_from_epoch(cls,
                              *args: Any,
                              begin: int = 0,
                              end: int = INF,
                              by_epoch: bool = True,
                              epoch_length: int | None = None,
                              **kwargs: Any) -> '_FunctionScheduler':
        """Build the scheduler by iteration from arguments by epoch, as ``convert_to_iter_based`` asks."""
        end = end if end == INF else end * epoch_length
        return cls(*args, begin=begin * epoch_length, end=end, by_epoch=False, **kwargs)

    def state_dict(self) -> dict[str, Any]:
        """Return the state, without the function itself."""
        return {key: value for key, value in super().state_dict().items() if key != '_call'}

    def _get_value(self) -> list[float]:
        factor = float(self._call(self.last_step, self.end - self.begin, **self.args))
        return [value * factor for value in self.base_values]


@PARAM_SCHEDULERS.register_module()
class FunctionLR(LRSchedulerMixin, _FunctionScheduler):
    """Sets each learning rate to its first value times what a registered function returns.

    It sets and does not multiply: a warm-up beside it needs epochs of its own (``begin``, ``end``).

    Args:
        function: Name of a function in the registry ``FUNCTIONS``: ``function(step, total, **args)`` returns the
            factor. ``step`` counts from 0 at ``begin``, in epochs or iterations; ``total`` is how many there are up to
            ``end``.
        args: Further arguments of the function.
        begin: Epochs or iterations before the first step.
        end: Epochs or iterations before the value stays; the Runner gives the end of the run where it is not given.
        by_epoch: Whether a step is an epoch or an iteration.

    Raises:
        ConfigError: If there is no such function, or it does not take these arguments.
    """


@PARAM_SCHEDULERS.register_module()
class FunctionMomentum(MomentumSchedulerMixin, _FunctionScheduler):
    """Sets each momentum (of Adam: beta 1) as :class:`FunctionLR` sets the learning rate."""


@FUNCTIONS.register_module()
def inverse_sqrt(step: int, total: int, warmup: int = 1) -> float:
    """Rise for ``warmup`` steps, then fall with the square root: the Transformer's schedule (Vaswani et al. 2017).

    Example:
        >>> [round(inverse_sqrt(step, 20, warmup=4), 2) for step in (0, 3, 15)]
        [0.25, 1.0, 0.5]
    """
    return min((step + 1) / warmup, math.sqrt(warmup / (step + 1)))


@FUNCTIONS.register_module()
def one_cycle_momentum(step: int, total: int, lowest: float = 0.85 / 0.95, pct_start: float = 0.3) -> float:
    """Fall while ``OneCycleLR`` raises the rate, then rise again: the one-cycle policy's momentum (Smith 2018).

    Args:
        lowest: The smallest factor, where the rate is highest.
        pct_start: Share of the steps until then, as of ``OneCycleLR``.

    Example:
        >>> [round(0.95 * one_cycle_momentum(step, 11), 3) for step in (0, 1, 10)]
        [0.95, 0.91, 0.95]
    """
    turn = pct_start * total - 1
    way = step / turn if step < turn else 1 - (step - turn) / (total - 1 - turn)
    return lowest + (1 - lowest) * (1 + math.cos(math.pi * way)) / 2
