"""Write what a run measures into ``metrics.jsonl``."""
import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook, LoggerHook
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import IterBasedTrainLoop, Runner

from ftcls.evaluation import higher_is_better
from ftcls.registry import HOOKS
from ftcls.utils import ConfigError
from .loss_watch import LossWatch
from .metrics_file import MetricsFile, to_json

__all__ = ['MetricsRecordHook', 'as_floats', 'distinct_lrs', 'lr_text']

_RESERVED = ('kind', 'epoch', 'iter', 'step', 'time')


def _named_groups(optim_wrapper: OptimWrapper | OptimWrapperDict) -> Iterator[tuple[str, dict[str, Any]]]:
    wrappers = optim_wrapper.items() if isinstance(optim_wrapper, OptimWrapperDict) else [('', optim_wrapper)]
    for prefix, wrapper in wrappers:
        for number, group in enumerate(wrapper.optimizer.param_groups):
            name = group.get('name', f'group{number}')
            yield f'{prefix}.{name}' if prefix else name, group


def distinct_lrs(optim_wrapper: OptimWrapper | OptimWrapperDict) -> dict[str, float]:
    """Return the learning rates of the parameter groups: ``lr`` for the first, ``lr/<name>`` for the others.

    A group that started from the same rate as one before it is left out, since schedulers treat the two alike.
    """
    rates: dict[str, float] = {}
    seen = set()
    for name, group in _named_groups(optim_wrapper):
        start = float(group.get('initial_lr', group['lr']))
        if start not in seen:
            seen.add(start)
            rates['lr' if not rates else f'lr/{name}'] = float(group['lr'])
    return rates


def lr_text(optim_wrapper: OptimWrapper | OptimWrapperDict, digits: int) -> str:
    """Return the learning rate of the parameters that are trained now, or the lowest and the highest, as ``1e-03..1e-02``."""
    groups = [group for _, group in _named_groups(optim_wrapper)]
    trained = [group for group in groups if any(p.requires_grad for p in group['params'])]
    rates = [float(group['lr']) for group in trained or groups]
    return '..'.join(dict.fromkeys(f'{rate:.{digits}e}' for rate in (min(rates), max(rates))))


def as_floats(outputs: Mapping[str, Any] | None) -> dict[str, float]:
    """Return the single numbers among the outputs of a training step."""
    values = {}
    for key, value in (outputs or {}).items():
        if isinstance(value, torch.Tensor) and value.numel() == 1:
            value = value.item()
        if isinstance(value, (int, float)):
            values[key] = float(value)
    return values


class _Averages:
    """Means of the entries of the training output since the last record."""

    def __init__(self) -> None:
        self.sums: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.iterations = 0

    def add(self, values: Mapping[str, float]) -> None:
        self.iterations += 1
        for key, value in values.items():
            self.sums[key] += value
            self.counts[key] += 1

    def take(self) -> dict[str, float]:
        means = {key: total / self.counts[key] for key, total in self.sums.items()}
        self.__init__()
        return means


@HOOKS.register_module()
class MetricsRecordHook(Hook):
    """Write ``<work_dir>/metrics.jsonl``, and stop a run whose loss is no longer finite.

    ==========  ==========================================================================================================
    key         meaning
    ==========  ==========================================================================================================
    ``kind``    ``'train'`` or ``'val'``
    ``epoch``   from 1; of a run by iterations, the pass over the training data
    ``iter``    iteration within the epoch, from 1
    ``step``    iteration over the whole run, from 1
    ``time``    seconds since this process began to train
    ``iters``   in ``train``: the number of iterations, since the record before, that the values are means of
    ``lr``      in ``train``: the learning rate of the first group; ``lr/<name>`` of groups with another one
    ``loss`` …  in ``train``: the means of the model's losses on the main process; in ``val``: all metrics
    ==========  ==========================================================================================================

    A record of kind ``val`` also has ``higher_is_better``: whether more is better, of each metric whose class states it.
    A value that is not finite is null. A run that is resumed drops the records past the iteration that it resumes from
    and appends; a fresh one moves an earlier file to ``metrics.jsonl.1`` (``.2`` …).

    Args:
        interval: A ``train`` record every so many iterations of an epoch, and at its end. None takes the interval of
            ``LoggerHook``.
        stop_after: Stop after so many iterations in a row with a loss that is not finite, None never. Those whose update
            was skipped by loss scaling do not count.
        filename: Name of the file in the work dir.

    Raises:
        ConfigError: If ``interval`` or ``stop_after`` is below 1.
        DivergedError: During training, if the loss stays NaN or infinite.
    """
    # After MMEngine's logger, before the schedulers change the learning rate (LOW).
    priority = 'BELOW_NORMAL'

    def __init__(self,
                 interval: int | None = None,
                 stop_after: int | None = 3,
                 filename: str = 'metrics.jsonl') -> None:
        for name, value in (('interval', interval), ('stop_after', stop_after)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ConfigError(f'MetricsRecordHook.{name} = {value!r}: must be a whole number from 1, or None')
        self.interval = interval
        self.stop_after = stop_after
        self.filename = filename
        self._file: MetricsFile | None = None
        self._averages = _Averages()
        self._watch = LossWatch(stop_after)
        self._skipped = 0
        self._position: dict[str, int] = {}
        self._rates: dict[str, float] = {}
        self._left_out: set[str] = set()
        self._began = 0.

    def before_train(self, runner: Runner) -> None:
        """Open the file: cut it where the run resumes, or start a new one."""
        self._began = time.monotonic()
        self._averages = _Averages()
        self._watch = LossWatch(self.stop_after)
        self._skipped = getattr(runner.optim_wrapper, 'skipped_steps', 0)
        self._position = dict(epoch=runner.epoch, iter=0, step=runner.iter)
        if self.interval is None:
            self.interval = next((hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)), 10)
        if not is_main_process():
            return
        self._file = MetricsFile(Path(runner.work_dir) / self.filename)
        if runner.iter > 0:
            dropped = self._file.cut_after(runner.iter)
            if dropped:
                runner.logger.info(f'{self._file.path}: dropped {dropped} records past iteration {runner.iter}, '
                                   'where this run resumes')
        else:
            kept = self._file.start_afresh()
            if kept is not None:
                runner.logger.info(f'the metrics of an earlier run in this work dir are kept in {kept}')

    def after_train_iter(self,
                         runner: Runner,
                         batch_idx: int,
                         data_batch: Any = None,
                         outputs: Mapping[str, Any] | None = None) -> None:
        """Add the iteration to the means, check its loss, and write a record where one is due."""
        values = as_floats(outputs)
        self._averages.add(values)
        self._rates = distinct_lrs(runner.optim_wrapper)
        self._position = _train_position(runner, batch_idx)
        skipped = getattr(runner.optim_wrapper, 'skipped_steps', 0)
        losses = [value for key, value in values.items() if 'loss' in key]
        loss = next((value for value in losses if not math.isfinite(value)), values.get('loss', 0.))
        try:
            self._watch.update(loss, self._position['step'], self._rates['lr'], skipped > self._skipped)
        except ArithmeticError:
            self._write_train()
            raise
        self._skipped = skipped
        if self.every_n_inner_iters(batch_idx, self.interval):
            self._write_train()

    def before_val(self, runner: Runner) -> None:
        """Write what is not written yet, so that the records are in order."""
        self._write_train()

    def after_train_epoch(self, runner: Runner) -> None:
        """Write what is not written yet."""
        self._write_train()

    def after_val_epoch(self, runner: Runner, metrics: Mapping[str, Any] | None = None) -> None:
        """Write a validation's metrics; a validation outside training (``tools/test.py``) is not recorded."""
        if self._file is None or not metrics:
            return
        values = {}
        for key, value in metrics.items():
            try:
                values[key] = to_json(value)
            except TypeError as err:
                if key not in self._left_out:
                    self._left_out.add(key)
                    runner.logger.info(f'{self.filename} leaves out the metric {key!r}: {err}')
        directions = _directions(values, runner.val_loop.evaluator.metrics)
        self._file.append(self._record('val', values, higher_is_better=directions))

    def after_train(self, runner: Runner) -> None:
        """Let go of the file: what follows the training is not part of it."""
        self._write_train()
        self._file = None

    def _record(self, kind: str, values: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        """Return a record of ``values``; one with the name of a key of every record becomes ``metric/<name>``."""
        named = {f'metric/{key}' if key in _RESERVED else key: value for key, value in values.items()}
        return dict(kind=kind, **self._position, time=round(time.monotonic() - self._began, 3)) | more | named

    def _write_train(self) -> None:
        iterations = self._averages.iterations
        if not iterations:
            return
        means = self._averages.take()
        if self._file is not None:
            self._file.append(self._record('train', means, iters=iterations, **self._rates))


def _directions(names: Iterable[str], metrics: Sequence[BaseMetric]) -> dict[str, bool]:
    """Return, of the results whose direction is known, whether more of it is better."""
    stated = {name: higher_is_better(name, metrics) for name in names}
    return {name: answer for name, answer in stated.items() if answer is not None}


def _train_position(runner: Runner, batch_idx: int) -> dict[str, int]:
    """Return the place of the iteration that just ended, all counted from 1."""
    if isinstance(runner.train_loop, IterBasedTrainLoop):
        passes, within = divmod(batch_idx, len(runner.train_dataloader))
        return dict(epoch=passes + 1, iter=within + 1, step=runner.iter + 1)
    return dict(epoch=runner.epoch + 1, iter=batch_idx + 1, step=runner.iter + 1)
