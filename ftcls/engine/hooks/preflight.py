"""Showing what a run will do before it does it."""
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ftcls.engine.parameter_table import never_learning, parameter_rows, render_rows, unwrap
from ftcls.models.freezing import half_frozen
from ftcls.registry import HOOKS

__all__ = ['PreflightHook']

_ENDLESS = 10**8  # MMEngine's INF for a schedule without an end is 10**9


@HOOKS.register_module()
class PreflightHook(Hook):
    """Print and write, before the first step: the data, the batch, the schedule, and a table of the parameters.

    A hook with a method ``preflight(runner) -> list[str]`` adds its lines; one that thaws parameters during the run names
    them by ``trained_later(runner) -> set[str]``. Frozen parameters that are random and will stay so are warned of.

    Args:
        facts: ``(title, lines)`` pairs of what is known before the model is built, such as the data and the batch.
        filename: Where in the work dir the text goes.

    Raises:
        ConfigError: If nothing is trained, or a parameter that is to be trained is not in the optimizer.
    """
    # After every hook that still changes the model or the optimizer in `before_train`.
    priority = 'LOWEST'

    def __init__(self, facts: Sequence[tuple[str, Sequence[str]]] = (), filename: str = 'preflight.txt') -> None:
        self.facts = [(title, list(lines)) for title, lines in facts]
        self.filename = filename

    def before_train(self, runner: Runner) -> None:
        """Build the text once the weights are loaded and the optimizer stands."""
        text = self.describe(runner)
        if is_main_process():
            (Path(runner.work_dir) / self.filename).write_text(text + '\n', encoding='utf-8')
        runner.logger.info('what this run will do:\n' + text)
        for warning in self._never_learning(runner):
            runner.logger.warning(warning)

    def describe(self, runner: Runner) -> str:
        """Return the whole text."""
        runner.model.train()  # what BatchNorm does shows in training mode only
        model = unwrap(runner.model)
        rows = parameter_rows(model, runner.optim_wrapper)
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        total = sum(p.numel() for p in model.parameters())
        sections = self.facts + [('schedule', self._schedule(runner)), ('optimizer', [self._optimizer(runner)])]
        mixing = getattr(getattr(model, 'data_preprocessor', None), 'batch_augments', None)
        sections.append(('augment', [] if mixing is None else [mixing.describe()]))
        sections.append(('strategy', [line for hook in runner.hooks if hasattr(hook, 'preflight')
                                      for line in hook.preflight(runner)]))  # yapf: disable
        sections.append(('note', half_frozen(model)))
        sections.append(('WARNING', self._never_learning(runner)))
        lines = [
            f'{title:10}{line}' if i == 0 else f'{"":10}{line}' for title, body in sections
            for i, line in enumerate(body)
        ]
        return '\n'.join(lines + ['', render_rows(rows), '', f'{trained:,} of {total:,} parameters are trained'])

    @staticmethod
    def _never_learning(runner: Runner) -> list[str]:
        later = [name for h in runner.hooks if hasattr(h, 'trained_later') for name in h.trained_later(runner)]
        return never_learning(unwrap(runner.model), set(later))

    @staticmethod
    def _schedule(runner: Runner) -> list[str]:
        loop = runner.train_loop
        lines = [
            f'{loop.max_epochs} epochs, {loop.max_iters} iterations' +
            (f', from iteration {loop.iter} on' if loop.iter else '')
        ]
        configs = runner.cfg.get('param_scheduler') or []
        for scheduler in [configs] if isinstance(configs, dict) else configs:
            settings = ', '.join(f'{k}={v}' for k, v in scheduler.items() if k != 'type')
            note = _unfit(scheduler, loop.max_epochs if scheduler.get('by_epoch', True) else loop.max_iters)
            lines.append(f'{scheduler["type"]}({settings}){note}')
        return lines if configs else lines + ['constant learning rate']

    @staticmethod
    def _optimizer(runner: Runner) -> str:
        wrapper = runner.optim_wrapper
        settings = {k: v for k, v in wrapper.optimizer.defaults.items() if k in ('momentum', 'betas', 'nesterov') and v}
        text = type(wrapper.optimizer).__name__ + (f'({", ".join(f"{k}={v}" for k, v in settings.items())})'
                                                   if settings else '')
        dtype = getattr(wrapper, 'dtype', None) or getattr(wrapper, 'cast_dtype', None)
        return text + (f', {dtype} where it is safe (automatic mixed precision)' if dtype else ', float32')


def _unfit(scheduler: Mapping[str, Any], length: int) -> str:
    """Return a remark where a schedule does not fit the length of the run, in its own unit; else ''."""
    unit = 'epochs' if scheduler.get('by_epoch', True) else 'iterations'
    span, end, milestones = (scheduler.get(key) for key in ('T_max', 'end', 'milestones'))
    if span and span != length:
        return f'; NOTE: it spans {span} {unit}, the run ends after {length}'
    if end and length < end < _ENDLESS:
        return f'; NOTE: it ends after {end} {unit}, the run after {length}: its last rate is not reached'
    late = [m for m in milestones or () if m >= length]
    return f'; NOTE: the run ends after {length} {unit}: of no effect are the milestones {late}' if late else ''
