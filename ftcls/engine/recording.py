"""What a run records while it trains: ``metrics.jsonl``, and the check of its loss."""
import itertools
import json
import math
import os
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook, LoggerHook
from mmengine.runner import IterBasedTrainLoop, Runner

from ftcls.evaluation import higher_is_better
from ftcls.registry import HOOKS
from ftcls.utils import UserError
from ftcls.utils.checkpoint.folder import write_whole
from ftcls.utils.log import warn
from ftcls.utils.types import PositiveInt
from ftcls.visualization import read_records
from .log_processor import distinct_lrs

__all__ = ['DivergedError', 'LossWatch', 'MetricsFile', 'MetricsRecordHook', 'as_floats', 'to_json']

REMEDY = 'Lower optim_wrapper.optimizer.lr, add a warm-up (LinearLR first in param_scheduler) or ' \
    'optim_wrapper.clip_grad=dict(max_norm=1.0), or use no half precision'  #: of a run that diverges
_RESERVED = ('kind', 'epoch', 'iter', 'step', 'time')
_MOST_NUMBERS = 1000  # a confusion matrix of 31 classes; longer values would swell the file at every validation
_LONGEST_OVERFLOW = 32  # dynamic loss scaling halves the scale from 2^16 to 1 in 16 overflows; twice that has a cause
_MOST_UNREAD = 10  # on a GPU, reading a loss waits for it


class DivergedError(UserError, ArithmeticError):
    """The training loss became NaN or infinite and stayed so."""


class LossWatch:
    """Follow the loss, and stop the run after several values in a row that are not finite.

    Args:
        patience: How many losses in a row that are not finite stop the run; None never stops it. Iterations whose
            update the loss scaling skipped are not counted, unless there are more than 32 in a row.

    Example:
        >>> watch = LossWatch(patience=1)
        >>> watch.update(0.5, iteration=1, lr=0.1)
        >>> watch.update(float('nan'), iteration=2, lr=0.1)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ftcls.engine.recording.DivergedError: the training loss is nan at iteration 2 (1 in a row ...
    """

    def __init__(self, patience: int | None = 3) -> None:
        self.patience = patience
        self._has_warned = False
        self._last_finite = 'no loss of this run was finite: check the data and the loaded weights'
        self._counted = self._in_a_row = 0

    def update(self, loss: float, iteration: int, lr: float, skipped: bool = False) -> None:
        """Take one iteration's loss into account.

        Args:
            loss: The loss.
            iteration: Its iteration, from 1, over the whole run.
            lr: The learning rate.
            skipped: Whether loss scaling skipped the update.

        Raises:
            DivergedError: If the loss has not been finite for ``patience`` iterations in a row.
        """
        if math.isfinite(loss):
            self._last_finite = f'the last finite loss was {loss:.4g} at iteration {iteration}'
            self._counted = self._in_a_row = 0
            return
        self._in_a_row += 1
        self._counted += not skipped
        what = f'the training loss is {loss} at iteration {iteration}'
        if not self._has_warned:
            self._has_warned = True
            warn(f'{what} (learning rate {lr:g}); metrics.jsonl has null')
        if self.patience is not None and (self._counted >= self.patience or self._in_a_row > _LONGEST_OVERFLOW):
            since = f'{self._in_a_row} in a row not finite, from iteration {iteration - self._in_a_row + 1}'
            raise DivergedError(f'{what} ({since}) with learning rate {lr:g}; {self._last_finite}. {REMEDY}; '
                                'MetricsRecordHook.stop_after=None does not stop the run')


def to_json(value: Any) -> Any:
    """Return ``value`` as JSON can hold it: tensors and arrays as (lists of) numbers, NaN and infinity as None.

    Raises:
        TypeError: If its type has no such form, or it has more than 1,000 numbers.
    """
    if isinstance(value, torch.Tensor | np.ndarray | np.generic):
        _check_length(math.prod(value.shape))
        value = value.tolist()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, float | int | str):
        return value
    if isinstance(value, list | tuple):
        _check_length(len(value))
        return [to_json(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    raise TypeError(f'{type(value).__name__} has no form in JSON')


def _check_length(length: int) -> None:
    if length > _MOST_NUMBERS:
        raise TypeError(f'{length} numbers are more than {_MOST_NUMBERS}')


class MetricsFile:
    """A file of records that a run appends to: one JSON object per line, kept whole over stops and resumes.

    Example:
        >>> import tempfile
        >>> file = MetricsFile(Path(tempfile.mkdtemp()) / 'metrics.jsonl')
        >>> file.append(dict(kind='train', step=1, loss=float('nan')))
        >>> file.path.read_text()
        '{"kind": "train", "step": 1, "loss": null}\\n'
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)

    def move_old(self) -> Path | None:
        """Make way for a new run; return where an earlier run's records were moved, such as ``metrics.jsonl.1``."""
        if not self.path.exists() or not self.path.stat().st_size:
            return None
        names = (self.path.with_name(f'{self.path.name}.{number}') for number in itertools.count(1))
        return self.path.replace(next(name for name in names if not name.exists()))

    def cut_after(self, step: int, is_val_due: bool = False) -> int:
        """Drop the records past iteration ``step`` of the run, which a resumed run makes again; return how many.

        ``is_val_due`` drops the validation at ``step`` too.

        A line that was cut off when the run was killed is dropped too. A crash leaves the old file or the new one.

        Raises:
            DataError: If another line is not a record.
        """
        if not self.path.exists():
            return 0
        lines = self.path.read_text(encoding='utf-8').splitlines()
        most = {'val': step - is_val_due}
        kept = [record for record in read_records(self.path) if record.get('step', 0) <= most.get(record['kind'], step)]
        write_whole(self.path, ''.join(json.dumps(record) + '\n' for record in kept))
        return len(lines) - len(kept)

    def append(self, record: Mapping[str, Any]) -> None:
        """Add one record as one line; a TypeError if a value has no form in JSON."""
        line = json.dumps(to_json(record), allow_nan=False)
        with self.path.open('a', encoding='utf-8') as file:
            file.write(line + '\n')


def as_floats(outputs: Mapping[str, Any] | None) -> dict[str, float]:
    """Return the single numbers among the outputs of a training step."""
    values = {}
    for key, value in (outputs or {}).items():
        if isinstance(value, torch.Tensor) and value.numel() == 1:
            value = value.item()
        if isinstance(value, int | float):
            values[key] = float(value)
    return values


@HOOKS.register_module()
class MetricsRecordHook(Hook):
    """Write ``<work_dir>/metrics.jsonl``, and stop a run whose loss is no longer finite.

    =============  =====================================================================================================
    key            meaning
    =============  =====================================================================================================
    ``kind``       ``'train'`` or ``'val'``
    ``epoch``      from 1; of a run by iterations, the pass over the training data
    ``iter``       iteration within the epoch, from 1
    ``step``       iteration over the whole run, from 1
    ``time``       seconds since this process began to train
    ``iters``      in ``train``: the number of iterations, since the record before, that the values are means of
    ``lr``         in ``train``: the learning rate of the first group; ``lr/<name>`` of groups with another one; both
                   that of the last of these iterations
    ``lr_course``  in ``train``, by the name of a rate that changed: that of each of these iterations; of more than 100
                   every second, third …
    ``loss`` …     in ``train``: the means of the model's losses on the main process, which the log and the backends of
                   the visualizer show too; in ``val``: all metrics
    =============  =====================================================================================================

    A record of kind ``val`` also has ``higher_is_better``: whether more is better, of each metric whose class states
    it. A value that is not finite is null. A run that is resumed drops the records past the iteration that it resumes
    from and appends; a new one moves an earlier file to ``metrics.jsonl.1`` (``.2`` …).

    Args:
        interval: Iterations of an epoch from one ``train`` record to the next; the last iteration of an epoch has one
            too. None takes the interval of ``LoggerHook``.
        stop_after: Stop after so many iterations in a row with a loss that is not finite, None never. Those whose
            update was skipped by loss scaling do not count.
        filename: Name of the file in the work dir.

    Raises:
        DivergedError: During training, if the loss stays NaN or infinite.
    """
    priority = 'BELOW_NORMAL'  # after MMEngine's logger, before the schedulers change the learning rate (LOW)

    def __init__(self,
                 interval: PositiveInt | None = None,
                 stop_after: PositiveInt | None = 3,
                 filename: str = 'metrics.jsonl') -> None:
        self.interval, self.stop_after, self.filename = interval, stop_after, filename
        self._file: MetricsFile | None = None
        self._watch = LossWatch(stop_after)
        self._sums: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()
        self._iterations = self._skipped = 0
        self._unread: list[tuple[dict[str, torch.Tensor], int, float, bool]] = []
        self._position: dict[str, int] = {}
        self._rates: dict[str, float] = {}
        self._courses: dict[str, list[float]] = {}
        self._left_out: set[str] = set()
        self._began = 0.

    @property
    def unrecorded_iters(self) -> int:
        """Number of iterations since the last ``train`` record, before the current one is noted."""
        return self._iterations + len(self._unread)

    def before_train(self, runner: Runner) -> None:
        """Open the file: cut it where the run resumes, or start a new one."""
        self._began = time.monotonic()
        self._watch = LossWatch(self.stop_after)
        self._take_means()
        self._skipped = getattr(runner.optim_wrapper, 'skipped_steps', 0)
        self._position = dict(epoch=runner.epoch, iter=0, step=runner.iter)
        resumed = getattr(runner.train_loop, 'resumed', {})
        if resumed.get('unrecorded'):
            self._iterations, sums, counts, self._position, self._rates, *courses = resumed['unrecorded']
            self._sums, self._counts, self._courses = Counter(sums), Counter(counts), dict(*courses)
        if self.interval is None:
            self.interval = next((hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)), 10)
        if not is_main_process():
            return
        self._file = MetricsFile(Path(runner.work_dir) / self.filename)
        is_val_due = getattr(runner.train_loop, 'begins_with_validation', lambda: False)()
        if runner.iter == 0:
            if kept := self._file.move_old():
                runner.logger.info(f'the metrics of an earlier run in this work dir are kept in {kept}')
        elif dropped := self._file.cut_after(runner.iter, is_val_due):
            runner.logger.info(f'{self._file.path}: resuming, dropped {dropped} records past iteration {runner.iter}')

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep what is not written yet."""
        self._read()
        means = dict(self._sums), dict(self._counts)
        checkpoint['meta']['unrecorded'] = [self._iterations, *means, self._position, self._rates, self._courses]

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Note the outputs, and read them; write a record where one is due."""
        self._rates = distinct_lrs(runner.optim_wrapper)
        self._position = _train_position(runner, batch_idx)
        for name, rate in self._rates.items():
            self._courses.setdefault(name, []).append(rate)
        skipped = getattr(runner.optim_wrapper, 'skipped_steps', 0)
        values = {key: torch.as_tensor(value).detach() for key, value in (outputs or {}).items()}
        self._unread.append((values, self._position['step'], self._rates['lr'], skipped > self._skipped))
        self._skipped = skipped
        is_late = any(value.device.type != 'cpu' for value in values.values()) and len(self._unread) < _MOST_UNREAD
        if self.every_n_inner_iters(batch_idx, self.interval):
            self._write_train()
        elif not is_late:
            self._read()

    def _read(self) -> None:
        """Add the iterations that are not read yet to the means, and check their losses."""
        while self._unread:
            outputs, step, rate, skipped = self._unread.pop(0)
            values = as_floats(outputs)
            self._iterations += 1
            for key, value in values.items():
                self._sums[key] += value
                self._counts[key] += 1
            broken = [value for key, value in values.items() if 'loss' in key and not math.isfinite(value)]
            loss = broken[0] if broken else values.get('loss', 0.)
            try:
                self._watch.update(loss, step, rate, skipped)
            except DivergedError:
                self._write_train()
                raise

    def after_train_epoch(self, runner: Runner) -> None:
        """Write what is not written yet, so that the records are in order."""
        self._write_train()

    before_val = after_train_epoch

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
        stated = {name: higher_is_better(name, runner.val_loop.evaluator.metrics) for name in values}
        directions = {name: is_better for name, is_better in stated.items() if is_better is not None}
        self._append('val', values, higher_is_better=directions)

    def after_train(self, runner: Runner) -> None:
        """Close the file: what follows the training is not part of it; hand the best scores to the visualizer."""
        self._write_train()
        for name, score in runner.message_hub.runtime_info.items():
            if name.startswith('best_score'):
                runner.visualizer.add_scalar(name, score, runner.iter)
        self._file = None

    def _append(self, kind: str, values: Mapping[str, Any], **more: Any) -> None:
        """Write a record of ``values``; one with the name of a key of every record becomes ``metric/<name>``."""
        named = {f'metric/{key}' if key in _RESERVED else key: value for key, value in values.items()}
        common = dict(kind=kind, **self._position, time=round(time.monotonic() - self._began, 3))
        self._file.append(common | more | named)

    def _write_train(self) -> None:
        self._read()
        iterations, means = self._iterations, self._take_means()
        if iterations and self._file is not None:
            changing = {name: rates for name, rates in self._courses.items() if len({*rates}) > 1}
            courses = {name: rates[::len(rates) // 100 + 1] for name, rates in changing.items()}
            self._append('train', means, iters=iterations, **self._rates, **({'lr_course': courses} if courses else {}))
        self._courses = {}

    def _take_means(self) -> dict[str, float]:
        """Return the means since the last call."""
        means = {key: total / self._counts[key] for key, total in self._sums.items()}
        self._sums.clear()
        self._counts.clear()
        self._iterations = 0
        return means


def _train_position(runner: Runner, batch_idx: int) -> dict[str, int]:
    """Return the place of the iteration that just ended, all counted from 1."""
    passes, within = runner.epoch, batch_idx
    if isinstance(runner.train_loop, IterBasedTrainLoop):
        passes, within = divmod(batch_idx, len(runner.train_dataloader))
    return dict(epoch=passes + 1, iter=within + 1, step=runner.iter + 1)
