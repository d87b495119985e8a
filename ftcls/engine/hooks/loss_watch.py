"""Stop a run whose loss is no longer a number, and say where and how it went wrong."""
import logging
import math

from mmengine.logging import print_log

from ftcls.utils import UserError

__all__ = ['DivergedError', 'LossWatch']

# Dynamic loss scaling halves the scale after each overflow. From its start at 65,536 = 2^16 it reaches 1 after 16
# halvings, so a loss that is not finite for twice as long has another cause.
_LONGEST_OVERFLOW = 32


class DivergedError(UserError, ArithmeticError):
    """The training loss became NaN or infinite and stayed so."""


class LossWatch:
    """Follow the loss and stop the run after several values in a row that are not finite.

    Args:
        patience: How many losses in a row that are not finite stop the run; None never stops it.
            Iterations whose update the loss scaling skipped left the weights unharmed and are not counted, unless there
            are more than 32 in a row.

    Example:
        >>> watch = LossWatch(patience=1)
        >>> watch.update(0.5, iteration=1, lr=0.1)
        >>> watch.update(float('nan'), iteration=2, lr=0.1)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ftcls.engine.hooks.loss_watch.DivergedError: the training loss is nan at iteration 2 (1 in a row ...
    """

    def __init__(self, patience: int | None = 3) -> None:
        self.patience = patience
        self._said = False
        self._last: tuple[float, int] | None = None
        self._counted = 0
        self._in_a_row = 0
        self._first_bad = 0

    def update(self, loss: float, iteration: int, lr: float, skipped: bool = False) -> None:
        """Take in one iteration's loss.

        Args:
            loss: The loss.
            iteration: Its iteration, from 1, over the whole run.
            lr: The learning rate it was trained with.
            skipped: Whether loss scaling skipped the iteration's update.

        Raises:
            DivergedError: If the loss has not been finite for ``patience`` iterations in a row.
        """
        if math.isfinite(loss):
            self._last = (loss, iteration)
            self._counted = self._in_a_row = 0
            return
        if not self._in_a_row:
            self._first_bad = iteration
        self._in_a_row += 1
        self._counted += not skipped
        if not self._said:
            self._said = True
            print_log(
                f'the training loss is {loss} at iteration {iteration} (learning rate {lr:g}); '
                'metrics.jsonl has null for it',
                logger='current',
                level=logging.WARNING)
        if self.patience is not None and (self._counted >= self.patience or self._in_a_row > _LONGEST_OVERFLOW):
            raise DivergedError(self._message(loss, iteration, lr))

    def _message(self, loss: float, iteration: int, lr: float) -> str:
        last = 'no loss of this run was finite: check the data and the loaded weights'
        if self._last is not None:
            last = f'the last finite loss was {self._last[0]:.4g} at iteration {self._last[1]}'
        return (f'the training loss is {loss} at iteration {iteration} ({self._in_a_row} in a row not finite, from '
                f'iteration {self._first_bad}) with learning rate {lr:g}; {last}. Try a smaller '
                'optim_wrapper.optimizer.lr, a warm-up (LinearLR first in param_scheduler), or '
                'optim_wrapper.clip_grad=dict(max_norm=1.0); to let such a run go on, set stop_after=None in '
                'MetricsRecordHook')
