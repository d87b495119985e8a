"""The figure of a search: two rows, any number and kind of parameters."""
import random
from pathlib import Path

import matplotlib.figure
import pytest

from ftcls.visualization import plot_search, search

LR, LONG = 'optim_wrapper.optimizer.lr', 'train_dataloader.dataset.pipeline.{}.a_rather_long_name_of_an_argument'


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[matplotlib.figure.Figure]:
    """The figures that were saved."""
    figures = []
    save = search._save
    monkeypatch.setattr(search, '_save', lambda figure, out: (figures.append(figure), save(figure, out))[1])
    return figures


@pytest.mark.parametrize('count', [1, 2, 4, 8])
def test_two_rows_for_any_number_of_parameters(tmp_path: Path, drawn: list, count: int) -> None:
    names = [LR, 'train_dataloader.batch_size & val_dataloader.batch_size', *map(LONG.format, range(6))][:count]
    draw = random.Random(0)
    values = [{
        name: draw.choice(['128', '16', '32'])
        for name in names
    } | {
        LR: 10**draw.uniform(-4, 0)
    } for _ in range(9)]
    trials = [dict(number=i, score=draw.uniform(50, 90), pruned=i == 3, values=one) for i, one in enumerate(values)]
    importance = {name: 2.**-i for i, name in enumerate(names)} if count > 1 else {}
    plot_search(trials, importance, [LR], 'accuracy/top1', False, tmp_path / 'search.png')
    width, height = drawn[0].get_size_inches()
    assert width < 10 and 0.6 < height / width < 1
    history, *rest = drawn[0].axes
    panels = rest[bool(importance):]
    assert len(panels) == min(count, 3) and len(history.lines) == 3
    assert panels[0].get_xscale() == 'log' and panels[0].get_xlabel() == 'optim_wrapper.optimizer.\nlr'
    assert len(panels[0].lines[0].get_xdata()) == 8  # not the pruned one
    if importance:
        assert [label.get_text() for label in rest[0].get_yticklabels()][:2][-1] == 'train_dataloader.\nbatch_size'
        assert len(rest[0].patches) == count
        assert [label.get_text() for label in panels[1].get_xticklabels()] == ['16', '32', '128']
