"""A progress bar on a terminal; elsewhere, a line of the log at least every 30 seconds."""
import atexit
import logging
from collections.abc import Mapping
from contextlib import ExitStack
from time import monotonic
from typing import TYPE_CHECKING, Any

from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner

from ftcls.engine.log_processor import lr_text
from ftcls.engine.recording import as_floats
from ftcls.registry import HOOKS
from ftcls.utils.log import LONGEST_SILENCE

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

__all__ = ['ProgressHook']

_SECONDS_BETWEEN_UPDATES = 0.1  # reading the loss makes a GPU wait, and nobody reads faster than this
_TITLES = dict(val='validation', test='test')


class _LineClock(logging.Handler):
    """Notes when a logger last wrote a line."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.last = monotonic()

    def emit(self, record: logging.LogRecord) -> None:
        self.last = monotonic()


@HOOKS.register_module()
class ProgressHook(Hook):
    """Show where the run is: epoch, iteration, loss, learning rate and images per second.

    On a terminal the main process draws a bar, with the time left; the lines of the log appear above it. The bar is
    removed at the end of the training, or by ``close()`` where a training stops on an error. Elsewhere ``LoggerHook``
    writes a line every ``interval`` iterations, and this hook adds one wherever the log would be silent for more than
    30 seconds; where a single iteration takes longer, after each.

    Args:
        console: Where to draw; None takes the standard output.
    """
    priority = 'LOWEST'  # after all that prints when the training starts, or needs the iteration's result

    def __init__(self, console: 'Console | None' = None) -> None:
        self._console = console
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}  # the bar of a training, and of a validation within it
        self._drawing = ExitStack()
        self._lines = _LineClock()
        self._last_iter = self._last_update = self._images_began = 0.
        self._images_since = 0

    def before_train(self, runner: Runner) -> None:
        """Draw the bar where there is a terminal."""
        from rich.console import Console
        from rich.file_proxy import FileProxy
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
        console = self._console or Console()
        if not is_main_process() or not console.is_terminal or console.is_dumb_terminal:
            return
        self.close()
        # No refresh thread: the bar is drawn from the training loop, and nothing is left running if that stops.
        state = TextColumn('{task.fields[state]}')
        columns = [TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), state, TimeRemainingColumn()]
        self._progress = Progress(*columns, console=console, auto_refresh=False, transient=True)
        settings = dict(total=runner.max_iters, completed=runner.iter, state='')
        self._tasks['train'] = self._progress.add_task(_epoch_text(runner), **settings)
        for handler in runner.logger.handlers:  # the console puts their lines above the bar
            if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
                self._drawing.callback(handler.setStream, handler.stream)
                handler.setStream(FileProxy(console, handler.stream))
        self._progress.start()
        self._drawing.callback(self._progress.stop)
        atexit.register(self.close)  # a terminal whose cursor stays hidden is of no use to the next command

    def _before_epoch(self, runner: Runner, mode: str = 'train') -> None:
        """Add a second bar for a validation, or watch the log for silence; count images from here."""
        if self._progress is None:
            runner.logger.addHandler(self._lines)
        elif mode == 'val':
            self._tasks['val'] = self._progress.add_task('validation', total=len(runner.val_dataloader), state='')
        self._restart_clock()

    def _after_iter(self,
                    runner: Runner,
                    batch_idx: int,
                    data_batch: Any = None,
                    outputs: Any = None,
                    mode: str = 'train') -> None:
        """Move the bar, at most ten times per second, or end the silence of the log."""
        if mode == 'train':
            self._images_since += _batch_size(data_batch) * get_world_size()
        if self._progress is None and not self._is_silent():
            return
        if mode == 'train':
            title, done, total = _epoch_text(runner), runner.iter + 1, runner.max_iters
        else:
            title, done, total = _TITLES[mode], batch_idx + 1, len(getattr(runner, f'{mode}_dataloader'))
        if self._progress is None:
            state = ', '.join(self._state(runner, outputs, mode))
            runner.logger.info(': '.join(filter(None, [f'{title}, iteration {done}/{total}', state])))
        elif monotonic() - self._last_update >= _SECONDS_BETWEEN_UPDATES or done == total:
            self._last_update = monotonic()
            state = '  '.join(self._state(runner, outputs, mode))
            self._progress.update(self._tasks[mode], completed=done, description=title, state=state, refresh=True)

    def _after_epoch(self, runner: Runner, mode: str = 'train') -> None:
        """Remove the validation's bar."""
        if mode == 'val' and self._progress is not None:
            self._progress.remove_task(self._tasks.pop('val'))
            self._progress.refresh()
        self._restart_clock()

    def after_train(self, runner: Runner) -> None:
        """Remove the bar."""
        self.close()

    def close(self) -> None:
        """Remove the bar and give the log its stream back; safe to call at any time, any number of times."""
        self._drawing.close()
        self._progress = None
        atexit.unregister(self.close)

    def _restart_clock(self) -> None:
        self._images_since = 0
        self._images_began = self._last_iter = monotonic()

    def _is_silent(self) -> bool:
        """Tell whether the log would be silent for too long if the next line came after the next iteration."""
        now = monotonic()
        duration, self._last_iter = now - self._last_iter, now
        return now - self._lines.last + duration > LONGEST_SILENCE

    def _state(self, runner: Runner, outputs: Mapping[str, Any] | None, mode: str) -> list[str]:
        if mode != 'train':
            return []
        losses = as_floats(outputs)
        state = [f'loss {losses["loss"]:.4f}'] if 'loss' in losses else []
        state.append(f'lr {lr_text(runner.optim_wrapper)}')
        if self._images_since:
            state.append(f'{self._images_since / max(monotonic() - self._images_began, 1e-9):.0f} img/s')
        return state


def _epoch_text(runner: Runner) -> str:
    if isinstance(runner.train_loop, IterBasedTrainLoop):
        return 'training'
    return f'epoch {min(runner.epoch + 1, runner.max_epochs)}/{runner.max_epochs}'


def _batch_size(data_batch: Any) -> int:
    """Return how many images a batch has, 0 where it cannot be told."""
    if isinstance(data_batch, Mapping):
        data_batch = data_batch.get('inputs')
    return len(data_batch) if hasattr(data_batch, '__len__') else 0
