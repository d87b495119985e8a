"""What a run will do, before it does it."""
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ftcls.engine.mmengine_compat import ENDLESS, accumulative_counts
from ftcls.engine.parameter_table import never_learning, summary_table
from ftcls.models.adapters import describe_adapter
from ftcls.models.freezing import half_frozen
from ftcls.registry import HOOKS
from ftcls.utils.checkpoint.matching import unwrap_model
from ftcls.utils.names import plural
from ftcls.utils.tree import as_list
from .speed import SpeedHook

__all__ = ['PreflightHook']

_SHOWN = ('momentum', 'betas', 'nesterov')


@HOOKS.register_module()
class PreflightHook(Hook):
    """Log and write, before the first step: the data, the batch, the schedule, and a table of the parameters.

    A hook with a method ``preflight(runner) -> list[str]`` adds its lines; one that unfreezes parameters during the run
    names them by ``trained_later(runner) -> set[str]``. Frozen parameters that stay random give a warning.

    Args:
        facts: ``(title, lines)`` pairs of what is known before the model is built, such as the data and the batch.
        filename: Where in the work dir the text goes.

    Raises:
        ConfigError: If nothing is trained, or a parameter that requires a gradient is not in the optimizer.
    """
    priority = 'LOWEST'  # after every hook that still changes the model or the optimizer in `before_train`

    def __init__(self, facts: Sequence[tuple[str, Sequence[str]]] = (), filename: str = 'preflight.txt') -> None:
        self.facts = [(title, list(lines)) for title, lines in facts]
        self.filename = filename

    def before_train(self, runner: Runner) -> None:
        """Write the text once the weights are loaded and the optimizer is built."""
        text = self.describe(runner)
        if is_main_process():
            (Path(runner.work_dir) / self.filename).write_text(text + '\n', encoding='utf-8')
        runner.logger.info('what this run will do:\n' + text)
        for warning in _never_learning(runner):
            runner.logger.warning(warning)

    def describe(self, runner: Runner) -> str:
        """Return the whole text."""
        runner.model.train()  # the table shows what BatchNorm does in training mode
        model = unwrap_model(runner.model)
        table = summary_table(model, runner.optim_wrapper)
        strategy = sum((hook.preflight(runner) for hook in runner.hooks if hasattr(hook, 'preflight')), [])
        sections = [*self.facts, ('schedule', _schedule(runner)), ('optimizer', [_optimizer(runner)])]
        sections += [('speed', hook.lines) for hook in runner.hooks if isinstance(hook, SpeedHook)]
        preprocessor = getattr(model, 'data_preprocessor', None)
        if hasattr(preprocessor, 'describe'):
            sections.append(('augment', preprocessor.describe()))
        sections += [('adapter', describe_adapter(model)), ('strategy', strategy), ('note', half_frozen(model))]
        sections.append(('WARNING', _never_learning(runner)))
        lines = []
        for title, body in sections:
            lines += [f'{name:10}{line}' for name, line in zip([title] + [''] * len(body), body)]
        return '\n'.join([*lines, '', table])


def _never_learning(runner: Runner) -> list[str]:
    later = [hook.trained_later(runner) for hook in runner.hooks if hasattr(hook, 'trained_later')]
    return never_learning(unwrap_model(runner.model), set().union(*later))


def _schedule(runner: Runner) -> list[str]:
    loop = runner.train_loop
    lines = [f'{loop.max_epochs} epochs, {loop.max_iters} iterations']
    if (every := accumulative_counts(runner.optim_wrapper)) > 1:
        lines[0] += f' in {plural(math.ceil(loop.max_iters / every), "step")}'
    if loop.iter:
        lines[0] += f', from iteration {loop.iter} on'
    for scheduler in as_list(runner.cfg.get('param_scheduler') or []):
        settings = ', '.join(f'{key}={value}' for key, value in scheduler.items() if key != 'type')
        lines.append(f'{scheduler["type"]}({settings}){_misfit(scheduler, loop.max_epochs, loop.max_iters)}')
    if len(lines) == 1:
        lines.append('constant learning rate')
    return lines


def _optimizer(runner: Runner) -> str:
    wrapper = runner.optim_wrapper
    text, defaults = type(wrapper.optimizer).__name__, wrapper.optimizer.defaults
    if settings := [f'{key}={value}' for key, value in defaults.items() if key in _SHOWN and value]:
        text += f'({", ".join(settings)})'
    dtype = getattr(wrapper, 'dtype', None) or getattr(wrapper, 'cast_dtype', None)
    dtype = dtype or getattr(unwrap_model(runner.model), 'cast_dtype', None)  # as `speed` sets it
    if dtype is None:
        return f'{text}, float32'
    return f'{text}, {dtype} where it is safe (automatic mixed precision)'


def _misfit(scheduler: Mapping[str, Any], epochs: int, iters: int) -> str:
    """Return a note where a schedule does not fit the length of the run; else ``''``."""
    unit, length = ('epochs', epochs) if scheduler.get('by_epoch', True) else ('iterations', iters)
    begin, span, end, milestones = (scheduler.get(key) or 0 for key in ('begin', 'T_max', 'end', 'milestones'))
    if span and begin + span != length:
        return f'; NOTE: it spans {unit} {begin} to {begin + span}, the run ends after {length}'
    if length < end < ENDLESS:
        return f'; NOTE: it ends after {end} {unit}, the run after {length}: its last rate is not reached'
    if late := [milestone for milestone in milestones or () if milestone >= length]:
        return f'; NOTE: the run ends after {length} {unit}: the milestones {late} have no effect'
    return ''
