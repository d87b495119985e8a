"""Stopping when the validation no longer gets better."""
from collections.abc import Mapping, Sequence
from math import inf, isfinite
from pathlib import Path
from typing import Any, Literal

from mmengine.dist import is_main_process
from mmengine.evaluator import BaseMetric
from mmengine.hooks import EarlyStoppingHook as MMEngineEarlyStoppingHook
from mmengine.runner import Runner

from ftcls.evaluation import resolve_rule
from ftcls.registry import HOOKS
from ftcls.utils import ConfigError
from ftcls.utils.processes import from_main
from ftcls.utils.types import PositiveInt
from ftcls.visualization.records import read_records, series

__all__ = ['EarlyStoppingHook']


@HOOKS.register_module()
class EarlyStoppingHook(MMEngineEarlyStoppingHook):
    """Stop once a metric has not improved for ``patience`` validations.

    MMEngine's, but a run that resumes counts the validations before (from the run's ``metrics.jsonl``), an equal value
    is no improvement, and a metric that is not measured stops the run before its first step.

    Args:
        monitor: The metric, such as ``'accuracy/top1'`` or ``'loss'``.
        rule: None takes what the metric's class states.
        min_delta: The least difference that counts; None: 0.1 where greater is better (of 100 percent), else 0.
        strict: Whether a validation without the metric is an error.
        patience: Validations to wait.
        stopping_threshold: Stop once the metric is better than this.
        source: Name of the file of records in the work dir, as ``MetricsRecordHook`` writes it.

    Raises:
        ConfigError: Before the first step, if there is no validation; or if ``rule`` contradicts the metric's class, or
            neither says which is better.
    """

    def __init__(self,
                 monitor: str,
                 rule: Literal['greater', 'less'] | None = None,
                 min_delta: float | None = None,
                 strict: bool = True,
                 check_finite: bool = True,
                 patience: PositiveInt = 5,
                 stopping_threshold: float | None = None,
                 source: str = 'metrics.jsonl') -> None:
        super().__init__(monitor, rule or 'greater', 0., strict, check_finite, patience, stopping_threshold)
        self.source = source
        self._given = (rule, min_delta)

    def _start(self, metrics: Sequence[BaseMetric]) -> None:
        """Resolve which values are better, and begin to count."""
        rule, given = self._given
        self.rule = resolve_rule('EarlyStoppingHook', rule, self.monitor, metrics)
        self._sign, default = {'greater': (1, 0.1), 'less': (-1, 0.)}[self.rule]
        self.min_delta = {None: default}.get(given, given)
        self.best_score, self.wait_count = -inf * self._sign, 0

    def _check_stop_condition(self, current_score: float) -> tuple[bool, str]:
        """Take one value into account; return whether to stop, and why."""
        if self.check_finite and not isfinite(current_score):
            return True, f'{self.monitor} is {current_score}; the best was {self.best_score:.4g}'
        gain = (current_score - self.best_score) * self._sign
        if gain > 0 and gain >= self.min_delta:
            self.best_score, self.wait_count = current_score, 0
        else:
            self.wait_count += 1
        if self.stopping_threshold is not None and (current_score - self.stopping_threshold) * self._sign > 0:
            return True, f'{self.monitor} is {current_score:.4g}, {self.rule} than {self.stopping_threshold}'
        text = f'{self.monitor} has not improved for {self.wait_count} validations; the best was {self.best_score:.4g}'
        return self.wait_count >= self.patience, text

    def before_run(self, runner: Runner) -> None:
        """Check that there is a validation."""
        super().before_run(runner)
        if runner.val_loop is None:
            raise ConfigError(f'EarlyStoppingHook.monitor={self.monitor!r}: there is no validation to measure it; add '
                              'val_dataloader, val_cfg and val_evaluator (no --no-validate), or remove the hook')

    def before_train(self, runner: Runner) -> None:
        """Count the validations up to the checkpoint that the run resumes from."""
        self._start(runner.val_loop.evaluator.metrics)
        past: list[float] = []
        if runner.iter > 0 and is_main_process():
            path = Path(runner.work_dir) / self.source
            points = series(read_records(path), 'val', self.monitor) if path.is_file() else []
            past = [value for step, value in points if step <= runner.iter]
            if not points:
                runner.logger.warning(f'EarlyStoppingHook: {path} has no {self.monitor!r}; the patience starts again')
        for value in from_main(past):
            self._update(runner, value)

    def after_val_epoch(self, runner: Runner, metrics: Mapping[str, Any]) -> None:
        """Stop the training where it is time to."""
        if self.monitor in metrics:
            self._update(runner, float(metrics[self.monitor]))
        else:
            super().after_val_epoch(runner, metrics)

    def _update(self, runner: Runner, value: float) -> None:
        stop, why = self._check_stop_condition(value)
        if stop:
            runner.train_loop.stop_training = True
            runner.logger.info(f'stopping early after epoch {runner.epoch}: {why}')
