"""The bar on a terminal, nothing elsewhere, and a log that stays whole."""
import io
import re
import sys
from collections.abc import Callable, Iterator

import pytest
from mmengine.runner import Runner
from rich.console import Console

from ftcls.engine.hooks import ProgressHook, progress
from ftcls.engine.recording import MetricsRecordHook

MakeRunner = Callable[..., Runner]


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Console]:
    """A terminal of 160 columns that keeps what it is sent."""
    monkeypatch.setattr(progress, '_SECONDS_BETWEEN_UPDATES', 0.)
    monkeypatch.setenv('TERM', 'xterm')
    yield Console(file=io.StringIO(), force_terminal=True, width=160, legacy_windows=False)


def plain(console: Console) -> str:
    """Return what was sent to the terminal, without its control sequences."""
    return re.sub(r'\x1b\[[?\d;]*[A-Za-z]', '', console.file.getvalue())


def test_the_bar_shows_where_the_run_is(make_runner: MakeRunner, screen: Console) -> None:
    runner = make_runner([ProgressHook(screen)])
    runner.train()
    text = plain(screen)
    for epoch in (1, 2, 3):
        assert f'epoch {epoch}/3' in text
    assert re.search(r'9/9 loss \d\.\d{4}  lr 1\.00e-01  \d+ img/s \d:\d\d:\d\d', text)
    assert 'validation' in text
    # The log passed through the console, and every line of it is whole.
    assert len(re.findall(r'Epoch\(train\) +\[\d\]\[2/3\].* loss: \d\.\d{4}', text)) == 3


def test_everything_is_put_back(make_runner: MakeRunner, screen: Console) -> None:
    stdout, stderr = sys.stdout, sys.stderr
    runner = make_runner([ProgressHook(screen)])
    streams = [handler.stream for handler in runner.logger.handlers]
    runner.train()
    assert [handler.stream for handler in runner.logger.handlers] == streams
    assert (sys.stdout, sys.stderr) == (stdout, stderr)
    assert screen.file.getvalue().rstrip().endswith('\x1b[?25h') or '\x1b[?25h' in screen.file.getvalue()


def test_close_takes_the_bar_down_after_an_error(make_runner: MakeRunner, screen: Console) -> None:
    hook = ProgressHook(screen)
    stdout = sys.stdout
    runner = make_runner([MetricsRecordHook(stop_after=1), hook], losses={4: float('nan')})
    with pytest.raises(ArithmeticError):
        runner.train()
    hook.close()
    hook.close()
    assert sys.stdout is stdout
    assert '\x1b[?25h' in screen.file.getvalue()


def test_a_run_by_iterations(make_runner: MakeRunner, screen: Console) -> None:
    runner = make_runner([ProgressHook(screen)],
                         train_cfg=dict(by_epoch=False, max_iters=3, val_interval=3),
                         log_processor=dict(by_epoch=False))
    runner.train()
    assert re.search(r'training .* 3/3 loss', plain(screen))


def test_nothing_is_drawn_without_a_terminal(make_runner: MakeRunner) -> None:
    console = Console(file=io.StringIO(), force_terminal=False)
    make_runner([ProgressHook(console)]).train()
    assert console.file.getvalue() == ''


def test_by_name(make_runner: MakeRunner) -> None:
    make_runner([dict(type='ProgressHook')], epochs=1).train()
