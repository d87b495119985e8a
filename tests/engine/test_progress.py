"""The bar on a terminal, nothing elsewhere, and a log that stays whole."""
import io
import itertools
import logging
import re
import sys
from collections.abc import Callable, Iterator

import pytest
from mmengine.hooks import Hook
from mmengine.runner import Runner
from rich.console import Console
from torch.utils.data import DataLoader

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
    assert re.search(r'9/9 loss \d\.\d{4}  lr 1\.0000e-01  \d+ img/s \d:\d\d:\d\d', text)
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


class Slow(Hook):
    """Takes so many seconds of a fake clock for each iteration, and notes when the log has a line."""

    def __init__(self, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds, self.now, self.lines = seconds, 0., []
        monkeypatch.setattr(progress, 'monotonic', lambda: self.now)

    def before_train(self, runner: Runner) -> None:
        handler = logging.Handler()
        handler.emit = lambda record: self.lines.append((self.now, record.getMessage()))
        runner.logger.addHandler(handler)
        runner.logger.info('the training begins')

    def after_train_iter(self, runner: Runner, *args: object, **kwargs: object) -> None:
        self.now += self.seconds

    after_val_iter = after_test_iter = after_train_iter


@pytest.mark.parametrize('seconds, silence', [(7., 30.), (29., 30.), (100., 100.), (0.1, 30.)])
def test_a_log_that_is_not_on_a_terminal_is_never_silent(make_runner: MakeRunner, monkeypatch: pytest.MonkeyPatch,
                                                         seconds: float, silence: float) -> None:
    """Whatever the interval: with a slow training and validation, and with a fast one, which adds no line."""
    slow = Slow(seconds, monkeypatch)
    logger = dict(logger=dict(type='LoggerHook', interval=1000, ignore_last=True), checkpoint=None)
    console = Console(file=io.StringIO(), force_terminal=False)
    loader = DataLoader(make_runner().train_dataloader.dataset, batch_size=1)  # 12 iterations per epoch
    runner = make_runner([slow, ProgressHook(console)], default_hooks=logger, train_dataloader=loader)
    runner.train()
    times = [at for at, _ in slow.lines]
    assert max(after - before for before, after in itertools.pairwise([*times, slow.now])) <= silence
    added = [text for _, text in slow.lines if ', iteration ' in text]
    if seconds < 1:
        assert not added
    else:
        assert re.fullmatch(r'epoch 1/3, iteration \d+/36: loss \d\.\d{4}, lr 1\.0000e-01, \d+ img/s', added[0])
        assert len(added) <= len(times) and console.file.getvalue() == ''


def test_a_slow_validation_and_a_slow_test_are_not_silent(make_runner: MakeRunner,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(20., monkeypatch)
    other = make_runner()
    runner = make_runner([slow, ProgressHook()],
                         test_dataloader=other.val_dataloader,
                         test_cfg=dict(),
                         test_evaluator=other.val_evaluator,
                         default_hooks=dict(logger=dict(type='LoggerHook', interval=1000)))
    slow.before_train(runner)
    runner.val()
    runner.test()
    added = [text for _, text in slow.lines if ', iteration ' in text]
    assert added == [f'{split}, iteration {i}/3' for split in ('validation', 'test') for i in (1, 2, 3)]
