"""The figures of runs: what is read, what is drawn, what is refused."""
import json
import math
import sys
from pathlib import Path

import matplotlib.figure
import numpy as np
import pytest
from PIL import Image

from ftcls.utils import ConfigError, DataError, MissingFileError
from ftcls.visualization import curves, plot_compare, plot_curves, read_records
from ftcls.visualization.records import learning_rates, metric_names, series, steps_per_epoch


def _run(epochs: int = 4, iters: int = 3, offset: float = 0.) -> list[dict]:
    """Records as MetricsRecordHook writes them."""
    records = []
    for epoch in range(1, epochs + 1):
        for it in range(1, iters + 1):
            step = (epoch - 1) * iters + it
            rate = 0.1 if epoch < 3 else 0.01
            records.append({
                'kind': 'train', 'epoch': epoch, 'iter': it, 'step': step, 'iters': 1, 'time': 0.5 * step,
                'loss': 2 / step + offset, 'lr': rate, 'lr/head': 10 * rate, 'lr/neck': 10 * rate
            })  # yapf: disable
        records.append({
            'kind': 'val', 'epoch': epoch, 'step': epoch * iters, 'time': 1.0, 'loss': 1 / epoch + offset,
            'accuracy/top1': 50. + 10 * epoch - 4 * (epoch == 4) * 6 + offset, 'matrix': [[1, 2]],
            'higher_is_better': {'loss': False, 'accuracy/top1': True}
        })  # yapf: disable
    return records


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[matplotlib.figure.Figure]:
    """The figures that were saved."""
    figures = []
    save = curves._save
    monkeypatch.setattr(curves, '_save', lambda figure, out: (figures.append(figure), save(figure, out))[1])
    return figures


def _picture(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == 'PNG'
        return np.asarray(image.convert('RGB'))


def test_records_are_read_and_a_cut_last_line_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / 'metrics.jsonl'
    lines = [json.dumps(record) for record in _run()]
    path.write_text('\n'.join(lines) + '\n\n{"kind": "tra')
    assert read_records(path) == _run()
    path.write_text('\n'.join([lines[0], 'oops', lines[1]]))
    with pytest.raises(DataError, match='metrics.jsonl, line 2 is not a JSON object'):
        read_records(path)
    path.write_text('[1]\n' + lines[0])
    with pytest.raises(DataError, match='line 1 is not a JSON object'):
        read_records(path)
    with pytest.raises(MissingFileError, match='nowhere.jsonl does not exist'):
        read_records(tmp_path / 'nowhere.jsonl')


def test_series_of_a_resumed_run_count_the_second_time() -> None:
    values = [(1, 9.), (2, 8.), (3, 7.), (4, None), (2, 5.), (3, 4.)]
    records = [dict(kind='train', step=step, loss=loss) for step, loss in values]
    assert series(records, 'train', 'loss') == [(1, 9.), (2, 5.), (3, 4.)]


def test_series_helpers() -> None:
    records = _run()
    assert metric_names(records) == ['accuracy/top1']
    assert steps_per_epoch(records) == 3
    assert steps_per_epoch([dict(kind='val', epoch=1, step=10), dict(kind='val', epoch=1, step=20)]) is None
    rates = learning_rates(records)
    assert list(rates) == ['the others', 'head, neck']
    # the rate of the first iteration is at 0, that of the last holds to its end; epoch 3 begins at 6
    assert rates['the others'][0] == (0, 0.1) and rates['head, neck'][-2:] == [(11, 0.1), (12, 0.1)]
    assert rates['the others'][5:7] == [(5, 0.1), (6, 0.01)]
    assert list(learning_rates([dict(kind='train', step=1, lr=0.1)])) == ['all parameters']


def test_curves_show_losses_metrics_and_rates(tmp_path: Path, drawn: list) -> None:
    out = tmp_path / 'new' / 'folder' / 'curves.png'
    before = [record.copy() for record in _run()]
    assert plot_curves(before, out, title='a run') == out and before == _run()
    assert [f.name for f in out.parent.iterdir()] == ['curves.png']
    picture = _picture(out)
    assert picture.shape[1] > 1200 and picture.std() > 10
    left, middle, right = drawn[0].axes
    labels = [[text.get_text() for text in axes.get_legend().get_texts()] for axes in (left, middle, right)]
    # The best accuracy is that of epoch 3, the best loss that of epoch 4.
    assert labels == [['training', 'validation (best 0.2500)'], ['accuracy/top1 (best 80.00)'],
                      ['the others', 'head, neck']]
    assert [axes.get_xlabel() for axes in (left, middle, right)] == ['epoch'] * 3
    assert middle.get_ylabel() == 'accuracy/top1 (%)'
    assert right.get_yscale() == 'log' and left.get_yscale() == 'linear'
    training = next(line for line in left.lines if line.get_label() == 'training')
    assert np.allclose(training.get_xdata(), np.arange(1, 13) / 3)
    assert np.allclose(training.get_ydata(), 2 / np.arange(1, 13))
    star = next(line for line in middle.lines if line.get_marker() == '*')
    assert (star.get_xdata()[0], star.get_ydata()[0]) == (3, 80)
    assert 'matplotlib.pyplot' not in sys.modules or not sys.modules['matplotlib.pyplot'].get_fignums()


def test_curves_from_a_file_without_validation(tmp_path: Path, drawn: list) -> None:
    source = tmp_path / 'metrics.jsonl'
    source.write_text('\n'.join(json.dumps(record) for record in _run(epochs=40) if record['kind'] == 'train'))
    plot_curves(read_records(source), tmp_path / 'curves.png')
    left, middle, _ = drawn[0].axes
    assert left.get_xlabel() == 'iteration'
    assert [text.get_text() for text in left.get_legend().get_texts()] == ['training (smoothed)']
    assert [text.get_text() for text in middle.texts] == ['not recorded']


def test_a_record_of_several_iterations_has_the_rate_of_each() -> None:
    constant = dict(kind='train', step=4, iters=4, lr=0.1)
    assert learning_rates([constant]) == {'all parameters': [(0, 0.1), (3, 0.1), (4, 0.1)]}
    growing = dict(constant, step=8, lr=0.4, lr_course=dict(lr=[0.1, 0.2, 0.3, 0.4]))
    points = [(4, 0.1), (5, 0.2), (6, 0.3), (7, 0.4), (8, 0.4)]
    assert learning_rates([growing]) == {'all parameters': points}
    # of a long record each fifth, of a run that was resumed the second time
    thinned = dict(constant, step=1008, iters=1000, lr=0.4, lr_course=dict(lr=[0.1, 0.2] * 50))
    course = learning_rates([growing, thinned, dict(growing, step=12)])['all parameters']
    assert course == points[:-1] + [(at + 4, rate) for at, rate in points]
    assert learning_rates([thinned])['all parameters'][:3] == [(8, 0.1), (18, 0.2), (28, 0.1)]


def test_curves_of_one_epoch_and_of_a_diverged_run(tmp_path: Path) -> None:
    assert _picture(plot_curves(_run(epochs=1, iters=1), tmp_path / 'one.png')).std() > 5
    records = _run()
    for record in records:
        record['loss'] = math.nan
    assert _picture(plot_curves(records, tmp_path / 'nan.png')).std() > 5
    with pytest.raises(DataError, match='nothing to draw'):
        plot_curves([dict(kind='train', step=1, lr=0.1)], tmp_path / 'nothing.png')


def test_compare_draws_mean_and_band(tmp_path: Path, drawn: list) -> None:
    runs = {'fine-tuned': [_run(offset=o) for o in (0., 2., 4.)], 'from scratch': [_run(offset=9.)]}
    out = plot_compare(runs, tmp_path / 'compare.png', title='two arms')
    assert _picture(out).std() > 10
    left, right = drawn[0].axes
    expected = 2 / np.arange(1, 13)[None] + np.array([[0.], [2.], [4.]])
    assert np.allclose(left.lines[0].get_ydata(), expected.mean(0))
    band = left.collections[0].get_paths()[0].vertices[:, 1]
    assert np.isclose(band.max(), expected[:, 0].mean() + expected[:, 0].std(ddof=1))
    assert len(left.collections) == 1  # one seed has no spread
    assert [text.get_text() for text in right.get_legend().get_texts()] == [
        'fine-tuned (68.00 ± 2.00)', 'from scratch (best 89.00)'
    ]  # yapf: disable
    assert right.get_title() == 'Validation accuracy/top1'
    assert drawn[0].get_supxlabel() == 'mean ± standard deviation over 1–3 seeds'


def test_compare_refuses_what_it_cannot_draw(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'accuracy/top2'; did you mean 'accuracy/top1'"):
        plot_compare({'a': [_run()]}, tmp_path / 'x.png', metric='accuracy/top2')
    with pytest.raises(DataError, match='nothing to draw'):
        plot_compare({'a': [[]]}, tmp_path / 'x.png')
    # Seeds of different lengths are compared over what they have in common.
    assert plot_compare({'a': [_run(4), _run(3)]}, tmp_path / 'x.png').is_file()
