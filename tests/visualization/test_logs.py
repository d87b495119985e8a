"""Logs of three programs, read alike, and drawn together."""
import json
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

from ftcls.utils import ConfigError, DataError, MissingFileError
from ftcls.visualization import curves, iteration_times, plot_logs, read_log
from ftcls.visualization.records import series, steps_per_epoch


def _ours(path: Path) -> Path:
    """Two epochs of two iterations of a second each; a validation takes ten, and the run is resumed after the first."""
    rows, clock = [], 0.
    for epoch in (1, 2):
        for it in (1, 2):
            clock += 1
            rows.append(
                dict(
                    kind='train',
                    epoch=epoch,
                    iter=it,
                    step=2 * epoch + it - 2,
                    time=clock,
                    iters=1,
                    lr=.1,
                    loss=1 / clock))
        rows.append({
            'kind': 'val',
            'epoch': epoch,
            'iter': 2,
            'step': 2 * epoch,
            'time': clock + 10,
            'accuracy/top1': 50. + epoch
        })
        clock = 0.
    return _write(path, rows)


def _mmengine(path: Path) -> Path:
    rows = []
    for epoch in (1, 2):
        rows += [
            dict(lr=.1, loss=1. / epoch, time=.5 * it, epoch=epoch, iter=2 * epoch + it - 2, step=2 * epoch + it - 2)
            for it in (1, 2)
        ]
        rows.append({'accuracy/top1': 60. + epoch, 'time': .1, 'step': epoch})
    return _write(path, rows)


def _mmcls(path: Path) -> Path:
    rows = [dict(env_info='Python 3.8', seed=1)]
    for epoch in (1, 2):
        rows += [dict(mode='train', epoch=epoch, iter=it, lr=.1, loss=1. / epoch, time=.5 * it) for it in (1, 2)]
        rows.append({'mode': 'val', 'epoch': epoch, 'iter': 1, 'lr': .1, 'accuracy_top-1': 60. + epoch})
    return _write(path, rows)


def _write(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
    return path


def test_three_logs_are_read_alike(tmp_path: Path) -> None:
    paths = [
        _ours(tmp_path / 'ours' / 'metrics.jsonl'),
        _mmengine(tmp_path / 'mmengine' / '20260101_000000' / 'vis_data' / 'scalars.json'),
        _mmcls(tmp_path / 'mmcls' / '20200101_000000.log.json')
    ]
    for path, key in zip(paths, ('accuracy/top1', 'accuracy/top1', 'accuracy_top-1')):
        records = read_log(path)
        assert records == read_log(tmp_path / path.relative_to(tmp_path).parts[0])  # from its work dir
        assert steps_per_epoch(records) == 2
        assert [step for step, _ in series(records, 'train', 'loss')] == [1, 2, 3, 4]
        assert [step for step, _ in series(records, 'val', key)] == [2, 4]
    assert [record['time'] for record in read_log(paths[0]) if record['kind'] == 'train'] == [1, 1, 1, 1]
    assert iteration_times(read_log(paths[1])) == iteration_times(read_log(paths[2])) == {1: 1., 2: 1.}
    assert iteration_times(read_log(paths[1]), include_outliers=True) == {1: .75, 2: .75}


def test_what_is_no_log(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match='metrics.jsonl does not exist'):
        read_log(tmp_path)
    with pytest.raises(DataError, match='no record of a training'):
        read_log(_write(tmp_path / 'scalars.json', [{'accuracy/top1': 3, 'step': 1}]))


def test_a_panel_for_each_key_and_a_line_for_each_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Figure] = []
    save = curves._save
    monkeypatch.setattr('ftcls.visualization.logs._save',
                        lambda figure, out: figures.append(figure) or save(figure, out))
    runs = dict(a=read_log(_ours(tmp_path / 'a.jsonl')), b=read_log(_mmengine(tmp_path / 'b.json')))
    keys = ['loss', 'accuracy/top1']
    plot_logs(runs, keys, tmp_path / 'new' / 'a.jpg', title='Both', size=(8, 3))
    with Image.open(tmp_path / 'new' / 'a.jpg') as image:
        assert (image.format, image.size) == ('JPEG', (960, 360))
    panels = figures[0].axes
    assert [axes.get_title() for axes in panels] == keys
    assert [line.get_label() for axes in panels for line in axes.lines] == ['a', 'b'] * 2
    assert panels[1].lines[1].get_xydata().tolist() == [[1, 61], [2, 62]]
    assert panels[0].lines[0].get_xdata().tolist() == [.5, 1, 1.5, 2]
    plot_logs(runs, keys, tmp_path / 'a.png', legend=['a loss', 'a score', 'b loss', 'b score'])
    assert [line.get_label() for axes in figures[1].axes
            for line in axes.lines] == ['a loss', 'b loss', 'a score', 'b score']
    with pytest.raises(ConfigError, match="--keys accuracy/top5: a has .*loss.*; did you mean 'accuracy/top1'"):
        plot_logs(runs, ['accuracy/top5'], tmp_path / 'a.png')
