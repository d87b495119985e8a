"""Ending a training on a signal, with a checkpoint."""
import logging
from signal import Signals
from typing import Any

from mmengine.dist import all_gather_object, barrier, get_world_size, is_main_process
from mmengine.hooks import EMAHook, Hook
from mmengine.runner import Runner

from ftcls.signals import RunStopped, StopSignals
from ftcls.utils.processes import Agreement
from .checkpoint import CheckpointHook
from .dry_run import DryRunHook

__all__ = ['StopHook']


class StopHook(Hook):
    """Saves a checkpoint and ends the training at the step after a signal; of several processes, all at the same step.

    In a validation this happens after a batch; a resumed run begins with the validation.

    Raises:
        RunStopped: After the checkpoint.
    """
    priority = 'LOWEST'

    def __init__(self, signals: StopSignals) -> None:
        self.signals, self._agreement, self._is_even = signals, Agreement(), True

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Stop if a process got a signal before its last step."""
        self._stop_if_asked(runner, runner.iter + 1)

    def before_val_epoch(self, runner: Runner) -> None:
        """Ask during the validation only if all processes have as many batches."""
        self._is_even = len(set(all_gather_object(len(runner.val_dataloader)))) == 1

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Stop if a process got a signal before its last batch."""
        if self._is_even:
            self._stop_if_asked(runner, runner.iter)

    def after_train(self, runner: Runner) -> None:
        """Leave no question open."""
        self._agreement.finish()

    def _stop_if_asked(self, runner: Runner, done: int) -> None:
        if not (signum := self._agreement.exchange(self.signals.signum or 0)):
            return
        self.signals.signum = signum
        self._agreement.finish()
        validating = done == runner.iter
        for hook in runner.hooks:
            if validating and isinstance(hook, EMAHook):
                hook.after_val_epoch(runner)  # puts the trained weights back
        savers = [hook for hook in runner.hooks if isinstance(hook, CheckpointHook)]
        remedy, text = '', f'{Signals(signum).name}: stopped after iteration {done} of {runner.max_iters}'
        if savers and not any(isinstance(hook, DryRunHook) for hook in runner.hooks):
            text += f'; {savers[0].save_now(runner, validating)} holds it'
            remedy = 'the same command with --resume continues'
        barrier()  # the launcher ends all processes where one of them ends
        self.signals.is_ending = get_world_size() > 1
        if not is_main_process():
            raise RunStopped(signum)
        for handler in runner.logger.handlers:
            if isinstance(handler, logging.FileHandler):  # the terminal gets it from who catches the exception
                handler.handle(logging.makeLogRecord(dict(msg=text, levelno=30, levelname='WARNING')))
        raise RunStopped(signum, text, remedy)
