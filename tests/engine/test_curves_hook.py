"""The picture of the curves appears, costs little, and never stops a run."""
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mmengine.runner import Runner

from ftcls.engine.hooks import curves

pytestmark = pytest.mark.usefixtures('drawn_curves')
HOOKS = [dict(type='MetricsRecordHook'), dict(type='CurvesHook')]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many records each drawing was made from."""
    calls: list[int] = []

    def draw(records: list[dict], out: Path, title: str | None = None) -> None:
        assert (out.name, title) == ('curves.png', 'run')
        calls.append(len(records))

    monkeypatch.setattr(curves, 'plot_curves', draw)
    return calls


def test_the_real_picture(make_runner: Callable[..., Runner]) -> None:
    runner = make_runner(HOOKS)
    runner.train()
    assert (Path(runner.work_dir) / 'curves.png').read_bytes().startswith(b'\x89PNG')
    assert 'cannot be drawn' not in Path(runner.logger.log_file).read_text()


def test_it_is_drawn_after_each_validation_and_no_record_twice(make_runner: Callable[..., Runner],
                                                               drawn: list[int]) -> None:
    make_runner([HOOKS[0], dict(type='CurvesHook', max_share=1e9)]).train()
    assert drawn == [3, 6, 9]


@pytest.mark.parametrize('step, expected', [(1, [9]), (50, [3, 9])])
def test_drawing_waits_for_its_share(step: int, expected: list[int], make_runner: Callable, drawn: list[int],
                                     monkeypatch: pytest.MonkeyPatch) -> None:
    now = itertools.count(0, step)
    # Each look at the clock is a step later. The first drawing, of a second, is due after 50; then one of 50 after 5,000.
    monkeypatch.setattr(curves.time, 'monotonic', lambda: next(now))
    make_runner(HOOKS).train()
    assert drawn == expected


def test_a_failure_is_said_once_and_stops_nothing(make_runner: Callable[..., Runner],
                                                  monkeypatch: pytest.MonkeyPatch) -> None:

    def fail(*args: Any, **kwargs: Any) -> None:
        raise OSError('no space left')

    monkeypatch.setattr(curves, 'plot_curves', fail)
    runner = make_runner(HOOKS)
    runner.train()
    assert runner.iter == 9
    assert Path(runner.logger.log_file).read_text().count('curves.png cannot be drawn') == 1


def test_a_validation_alone_draws_nothing(make_runner: Callable[..., Runner], drawn: list[int]) -> None:
    make_runner(HOOKS).val()
    assert drawn == []
