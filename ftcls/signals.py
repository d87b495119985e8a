"""Signals that end a program: a training first finishes its step and saves, everything else ends at once."""
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from types import FrameType

__all__ = ['RunStopped', 'SIGNALS', 'StopSignals', 'kill_workers', 'stop_signals']

# SIGUSR1 is what Slurm can send some time before a job's time limit (`sbatch --signal=USR1@120`).
SIGNALS = tuple(getattr(signal, name) for name in ('SIGINT', 'SIGTERM', 'SIGUSR1') if hasattr(signal, name))


class RunStopped(KeyboardInterrupt):
    """A signal asked the program to end, and it has ended in good order.

    Like Ctrl-C, it passes what handles the failure of one of several runs.

    Attributes:
        signum: The signal; the exit code is 128 + this.
        text: What was done, and where the run is; ``''`` where another process says it.
        remedy: What continues it.
    """

    def __init__(self, signum: int, text: str = '', remedy: str = '') -> None:
        self.signum, self.text, self.remedy = signum, text, remedy

    def __str__(self) -> str:
        return '; '.join(filter(None, (self.text, self.remedy)))


class StopSignals:
    """Receives the signals of the process.

    Attributes:
        signum: The first signal that came, None before.
        is_deferred: Whether somebody asks for ``signum`` at times; otherwise a signal raises :class:`RunStopped`.
        is_ending: Whether all processes have agreed to end; the launcher's further signals are ignored from then on.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self.is_deferred = self.is_ending = False
        self._since, self._process = 0., os.getpid()
        self._before: dict[int, object] = {}

    def install(self) -> None:
        """Receive the signals from now on."""
        if not self._before and threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._handle) for number in SIGNALS}

    def restore(self) -> None:
        """Hand the signals back to who received them before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Note a signal that comes inside, for who asks for it; raise :class:`RunStopped` at the end if nobody did."""
        self.install()
        self.is_deferred = True
        try:
            yield
        finally:
            self.is_deferred = False
        if self.signum is not None:
            raise RunStopped(self.signum, f'stopped by {signal.Signals(self.signum).name}, after the training ended')

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a child by fork, which is nobody's run
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
        elif self.signum is None:
            self.signum, self._since = signum, monotonic()
            if not self.is_deferred:
                raise RunStopped(signum, f'stopped by {signal.Signals(signum).name}')
            text = f'{signal.Signals(signum).name}: stopping at the next step; a second signal stops at once\n'
            if int(os.environ.get('RANK', 0)) == 0:
                os.write(2, text.encode())
        elif not self.is_ending and monotonic() - self._since > _same_within():
            kill_workers()
            os._exit(128 + signum)


def _same_within() -> float:
    """Return for how many seconds a further signal is the same request: torchrun passes on what its processes got."""
    return 2. if int(os.environ.get('WORLD_SIZE', 1)) > 1 else .3


_installed: list[StopSignals] = []


@contextmanager
def stop_signals() -> Iterator[StopSignals]:
    """Receive SIGINT, SIGTERM and SIGUSR1 inside; who did before gets them back. One inside another is that other."""
    signals = _installed[0] if _installed else StopSignals()
    if _installed or threading.current_thread() is not threading.main_thread():  # where Python cannot receive them
        yield signals
        return
    _installed.append(signals)
    try:
        if int(os.environ.get('RANK', 0)) == 0:  # the others wait where Python cannot act on a signal: they just end
            signals.install()
        yield signals
    finally:
        _installed.clear()
        if not signals.is_ending:
            signals.restore()


def kill_workers() -> None:
    """End the daemons that this process has started, above all workers of dataloaders, which ignore other signals."""
    import multiprocessing
    if hasattr(signal, 'SIGCHLD') and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch would raise an error on the death of a worker
    for child in multiprocessing.active_children():
        if child.daemon:
            with suppress(OSError):
                child.kill()
