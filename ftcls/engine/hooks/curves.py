"""Keep an image of the run's curves in its work dir."""
import time
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ftcls.registry import HOOKS
from ftcls.visualization import plot_curves, read_records

__all__ = ['CurvesHook']

_FIRST_COST = 1.  # seconds, until a drawing has been timed


@HOOKS.register_module()
class CurvesHook(Hook):
    """Draw ``<work_dir>/curves.png`` from ``metrics.jsonl`` after each validation and at the end of the training.

    An image that cannot be drawn (for example on a full disk) gives one warning and does not stop the run.

    Args:
        filename: The image in the work dir.
        source: The file of records there, as ``MetricsRecordHook`` writes it.
        max_share: The largest share of the run's time to spend on drawing; an image that would exceed it waits for the
            next validation. The last one, at the end of the training, is drawn in any case.
    """
    priority = 'VERY_LOW'  # after ``MetricsRecordHook`` has written the records

    def __init__(self, filename: str = 'curves.png', source: str = 'metrics.jsonl', max_share: float = 0.02) -> None:
        self.filename, self.source, self.max_share = filename, source, max_share
        self._training = self._failed = False

    def before_train(self, runner: Runner) -> None:
        """Start the clock that the share is taken of."""
        self._training = True
        self._began = time.monotonic()
        self._spent, self._last_cost, self._drawn_size = 0., _FIRST_COST, 0

    def after_val_epoch(self, runner: Runner, metrics: dict[str, Any] | None = None) -> None:
        """Draw, if it is not too early after the last time."""
        if self._training and self._spent + self._last_cost <= self.max_share * (time.monotonic() - self._began):
            self._draw(runner)

    def after_train(self, runner: Runner) -> None:
        """Draw the whole run."""
        self._draw(runner)
        self._training = False

    def _draw(self, runner: Runner) -> None:
        folder = Path(runner.work_dir)
        records = folder / self.source
        if self._failed or not is_main_process() or not records.exists():
            return
        began = time.monotonic()
        try:
            if (size := records.stat().st_size) == self._drawn_size:  # all of them are in the image
                return
            self._drawn_size = size
            plot_curves(read_records(records), folder / self.filename, title=folder.name)
        except Exception as err:  # noqa: B902  whatever goes wrong, the run is worth more than its image
            self._failed = True
            runner.logger.warning(f'{self.filename} cannot be drawn any more: {type(err).__name__}: {err}')
        self._last_cost = time.monotonic() - began
        self._spent += self._last_cost
