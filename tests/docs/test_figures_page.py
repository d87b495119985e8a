"""Every command of the page on figures runs; they run in this process, for each takes seconds to import torch."""
import json
import runpy
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from commands import ROOT, documented_commands

from ftcls import apis

PAGE = ROOT / 'docs' / 'figures.md'


@pytest.fixture
def place(small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the runs and the image that the page names."""
    monkeypatch.chdir(tmp_path)
    for name in ('trashnet', 'scratch'):
        shutil.copytree(small_run, tmp_path / 'work_dirs' / name)
        rows = [
            dict(kind='train', epoch=1, step=1, iters=1, time=1.5, loss=1., lr=.1), {
                'kind': 'val',
                'epoch': 1,
                'step': 1,
                'time': 2.,
                'accuracy/top1': 50.
            }
        ]
        (tmp_path / 'work_dirs' / name / 'metrics.jsonl').write_text('\n'.join(map(json.dumps, rows)))
    shutil.copy(small_run.parent / 'data' / 'dark' / '0.png', tmp_path / 'glass.jpg')
    return tmp_path


def test_commands_of_the_page(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    commands = documented_commands(PAGE)
    assert {Path(command.split()[1]).stem
            for command in commands
            } >= {'confusion_matrix', 'analyze_results', 'analyze_logs', 'vis_cam', 'vis_tsne', 'get_flops'}
    for command in commands:
        _, tool, *arguments = shlex.split(command)
        monkeypatch.setattr(sys, 'argv', [tool, *arguments])
        runpy.run_path(str(ROOT / tool))['main']()
    numbers = sum(one.numel() for one in apis.get_model('work_dirs/trashnet', False, 'cpu').parameters())
    text = capsys.readouterr().out
    for part in ('of 18 images are right', 'mean: 1.5000 s per iteration', f'Params:      {numbers / 1e6:.3f} M',
                 'images/s on'):
        assert part in text
    for name in ('confusion_matrix.png', 'result.pkl', 'matrix.json', 'results/success.json', 'cam.png', 'curves.png'):
        assert (place / name).is_file()
    assert sum(map(sum, json.loads((place / 'matrix.json').read_text()))) == 18
    assert len(list((place / 'results').glob('*/*.png'))) == 18
    assert len(list(place.glob('work_dirs/trashnet/tsne_*/feat.*'))) == 2


def test_what_the_page_shows_is_small_and_there() -> None:
    for name in ('confusion_matrix.png', 'cam.jpg'):
        assert f'images/{name}' in PAGE.read_text(encoding='utf-8')
        assert (PAGE.parent / 'images' / name).stat().st_size < 100_000
    assert callable(apis.class_activation)
