"""The learning rates that are trained with, and the lines of the log that show them."""
import re
from collections.abc import Iterator
from typing import Any

from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import LogProcessor as MMEngineLogProcessor
from mmengine.runner import Runner

from ftcls.registry import LOG_PROCESSORS
from ftcls.utils.names import is_percentage
from ftcls.utils.tree import join_path
from ftcls.utils.types import NonNegativeInt, PositiveInt

__all__ = ['LogProcessor', 'distinct_lrs', 'lr_text']


def _named_groups(optim_wrapper: OptimWrapper | OptimWrapperDict) -> Iterator[tuple[str, dict[str, Any]]]:
    wrappers = {'': optim_wrapper}
    if isinstance(optim_wrapper, OptimWrapperDict):
        wrappers = dict(optim_wrapper.items())
    for prefix, wrapper in wrappers.items():
        for number, group in enumerate(wrapper.optimizer.param_groups):
            yield join_path(prefix, group.get('name', f'group{number}')), group


def distinct_lrs(optim_wrapper: OptimWrapper | OptimWrapperDict) -> dict[str, float]:
    """Return the learning rates of the groups that started with different ones: ``lr``, then ``lr/<name>``."""
    first: dict[float, tuple[str, float]] = {}
    for name, group in _named_groups(optim_wrapper):
        key = f'lr/{name}' if first else 'lr'
        first.setdefault(float(group.get('initial_lr', group['lr'])), (key, float(group['lr'])))
    return dict(first.values())


def lr_text(optim_wrapper: OptimWrapper | OptimWrapperDict, digits: int = 4) -> str:
    """Return the learning rate of the trained parameters, or the lowest and the highest: ``1.0e-03..1.0e-02``."""
    groups = [group for _, group in _named_groups(optim_wrapper)]
    trained = [group for group in groups if any(p.requires_grad for p in group['params'])]
    rates = [float(group['lr']) for group in trained or groups]
    return '..'.join(dict.fromkeys(f'{rate:.{digits}e}' for rate in (min(rates), max(rates))))


@LOG_PROCESSORS.register_module()
class LogProcessor(MMEngineLogProcessor):
    """MMEngine's, with all learning rates in training's lines, and losses that are those of ``metrics.jsonl``.

    MMEngine (0.10.7) shows the rate of the first parameter group only; here ``lr: 1.0000e-03..1.0000e-02`` are the
    lowest and the highest of the groups that are trained. It smooths everything with ``loss`` in its name over the
    last 10 values: the line of epoch 3 would show the mean of the validations of epochs 1 to 3. Percentages have two
    decimals.

    Args:
        window_size: Losses and times in training are means over so many iterations; None takes those since the last
            record of :class:`.MetricsRecordHook`.
        by_epoch: Those of MMEngine's, as the others.
    """

    def __init__(self,
                 window_size: PositiveInt | None = None,
                 by_epoch: bool = True,
                 custom_cfg: list[dict] | None = None,
                 num_digits: NonNegativeInt = 4,
                 log_with_hierarchy: bool = False,
                 mean_pattern: str = r'.*(loss|time|data_time|grad_norm).*') -> None:
        self._window = window_size
        super().__init__(10, by_epoch, custom_cfg, num_digits, log_with_hierarchy, mean_pattern)

    def get_log_after_iter(self, runner: Runner, batch_idx: int, mode: str) -> tuple[dict, str]:
        """Return the scalars and the line of an iteration."""
        since = [hook.unrecorded_iters for hook in runner.hooks if hasattr(hook, 'unrecorded_iters')]
        self.window_size = self._window or sum(since[:1]) + 1
        scalars, line = super().get_log_after_iter(runner, batch_idx, mode)
        if mode == 'train':
            rates = f'lr: {lr_text(runner.optim_wrapper, self.num_digits)}'
            line = re.sub(r'(?:\bbase_lr: \S+ )?\blr: \S+', rates, line, count=1)
            prefix = 'train/' * self.log_with_hierarchy
            if f'{prefix}data_time' in scalars:
                share = scalars[f'{prefix}data_time'] / scalars[f'{prefix}time']
                line = re.sub(r'(\bdata_time: \S+)', rf'\1 ({share:.0%})', line, count=1)
        return scalars, line

    def get_log_after_epoch(self,
                            runner: Runner,
                            batch: int,
                            mode: str,
                            with_non_scalar: bool = False) -> tuple[dict, str]:
        """Return the scalars and the line of a validation or test that has just ended."""
        self.window_size = 1
        scalars, line = super().get_log_after_epoch(runner, batch, mode, with_non_scalar)
        return scalars, re.sub(r'(\S+): (\d+\.\d+)', lambda pair: f'{pair[1]}: {self._rounded(*pair.groups())}', line)

    def _rounded(self, name: str, text: str) -> str:
        return f'{float(text):.2f}' if is_percentage(name) else text
