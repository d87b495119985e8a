"""A progress bar on a terminal."""
import atexit
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner
from rich.console import Console
from rich.file_proxy import FileProxy
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from ftcls.registry import HOOKS
from .record import as_floats, lr_text

__all__ = ['ProgressHook']

# Reading the loss makes a GPU wait, and nobody reads faster than this.
_SECONDS_BETWEEN_UPDATES = 0.1


@HOOKS.register_module()
class ProgressHook(Hook):
    """Show a bar with epoch, iteration, loss, learning rate, images a second and the time left.

    It shows on the main process and on a terminal only; elsewhere ``LoggerHook`` prints its plain lines, and this hook
    does nothing. On a terminal the lines of the log appear above the bar. The bar is taken down at the end of the
    training, or by ``close()`` where a training stops on an error.

    Args:
        console: Where to draw; None takes the standard output.
    """
    # After all that prints when the training starts, and after all that needs the iteration's result.
    priority = 'LOWEST'

    def __init__(self, console: Console | None = None) -> None:
        self._console = console
        self._progress: Progress | None = None
        self._train_task: TaskID | None = None
        self._val_task: TaskID | None = None
        self._handlers: list[tuple[logging.StreamHandler, Any]] = []
        self._last_update = 0.
        self._images_since = 0
        self._images_began = 0.

    def before_train(self, runner: Runner) -> None:
        """Put up the bar, where there is a terminal."""
        console = self._console or Console()
        if not is_main_process() or not console.is_terminal or console.is_dumb_terminal:
            return
        self.close()
        # No refresh thread: the bar is drawn from the training loop, and nothing is left running if that stops.
        self._progress = Progress(
            TextColumn('{task.description}'),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn('{task.fields[state]}'),
            TimeRemainingColumn(),
            console=console,
            auto_refresh=False,
            transient=True)
        self._train_task = self._progress.add_task(
            self._epoch_text(runner), total=runner.max_iters, completed=runner.iter, state='')
        self._send_log_above(runner.logger, console)
        self._progress.start()
        # A terminal whose cursor stays hidden is of no use to the next command.
        atexit.register(self.close)
        self._restart_clock()

    def before_train_epoch(self, runner: Runner) -> None:
        """Count images from here, validation apart."""
        self._restart_clock()

    def after_train_iter(self,
                         runner: Runner,
                         batch_idx: int,
                         data_batch: Any = None,
                         outputs: Mapping[str, Any] | None = None) -> None:
        """Move the bar on, ten times a second at most."""
        if self._progress is None:
            return
        self._images_since += _batch_size(data_batch) * get_world_size()
        now = time.monotonic()
        done = runner.iter + 1
        if now - self._last_update < _SECONDS_BETWEEN_UPDATES and done < runner.max_iters:
            return
        self._last_update = now
        state = []
        values = as_floats(outputs)
        if 'loss' in values:
            state.append(f'loss {values["loss"]:.4f}')
        state.append(f'lr {lr_text(runner.optim_wrapper, 2)}')
        if self._images_since:
            state.append(f'{self._images_since / max(now - self._images_began, 1e-9):.0f} img/s')
        self._progress.update(
            self._train_task, completed=done, description=self._epoch_text(runner), state='  '.join(state))
        self._progress.refresh()

    def before_val(self, runner: Runner) -> None:
        """Add a second bar for the validation."""
        if self._progress is not None:
            self._val_task = self._progress.add_task('validation', total=len(runner.val_dataloader), state='')

    def after_val_iter(self,
                       runner: Runner,
                       batch_idx: int,
                       data_batch: Any = None,
                       outputs: Sequence[Any] | None = None) -> None:
        """Move the validation's bar on."""
        if self._progress is None or self._val_task is None:
            return
        self._progress.update(self._val_task, completed=batch_idx + 1)
        if time.monotonic() - self._last_update >= _SECONDS_BETWEEN_UPDATES:
            self._last_update = time.monotonic()
            self._progress.refresh()

    def after_val(self, runner: Runner) -> None:
        """Take the validation's bar away."""
        if self._progress is not None and self._val_task is not None:
            self._progress.remove_task(self._val_task)
            self._progress.refresh()
        self._val_task = None
        self._restart_clock()

    def after_train(self, runner: Runner) -> None:
        """Take the bar down."""
        self.close()

    def close(self) -> None:
        """Take the bar down and give the log its stream back; safe to call at any time, any number of times."""
        if self._progress is None:
            return
        self._progress.stop()
        for handler, stream in self._handlers:
            handler.setStream(stream)
        self._handlers.clear()
        self._progress = self._train_task = self._val_task = None
        atexit.unregister(self.close)

    def _send_log_above(self, logger: logging.Logger, console: Console) -> None:
        """Let the logger's terminal lines pass through the console, which puts them above the bar."""
        for handler in logger.handlers:
            if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
                self._handlers.append((handler, handler.stream))
                handler.setStream(FileProxy(console, handler.stream))

    def _restart_clock(self) -> None:
        self._images_since = 0
        self._images_began = time.monotonic()

    @staticmethod
    def _epoch_text(runner: Runner) -> str:
        if isinstance(runner.train_loop, IterBasedTrainLoop):
            return 'training'
        return f'epoch {min(runner.epoch + 1, runner.max_epochs)}/{runner.max_epochs}'


def _batch_size(data_batch: Any) -> int:
    """Return how many images a batch holds, 0 where it cannot be told."""
    inputs = data_batch.get('inputs') if isinstance(data_batch, Mapping) else data_batch
    return len(inputs) if hasattr(inputs, '__len__') else 0
