"""Every block of docs/migrating.md runs, as files of one folder with a few small images; so does its command."""
import logging
import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from commands import ROOT, documented_commands

from ftcls import registry
from ftcls.registry import Registry

PAGE = ROOT / 'docs' / 'migrating.md'
BLOCKS = re.findall(r'```python\n(.*?)```', PAGE.read_text(encoding='utf-8'), flags=re.S)
FILES = {re.match(r'# (\S+\.py)\n', block)[1]: block for block in BLOCKS}
REGISTRIES = [one for one in vars(registry).values() if isinstance(one, Registry)]


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The blocks as files, and 12 images with their lists."""
    place = tmp_path_factory.mktemp('user')
    for name, block in FILES.items():
        (place / name).write_text(block)
    rng = np.random.default_rng(0)
    for split in ('train', 'val'):
        names = [f'{name}/{i}.png {label}' for label, name in enumerate(('daisy', 'rose')) for i in range(3)]
        for line in names:
            path = place / 'data' / split / line.split()[0]
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))
        (place / 'data' / f'{split}.txt').write_text('\n'.join(names))
    (place / 'tools').symlink_to(ROOT / 'tools')
    return place


@pytest.fixture
def user_code(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder as the place of a user; what the blocks register and import is forgotten afterwards."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    before = [dict(one.module_dict) for one in REGISTRIES]
    yield folder
    for one, kept in zip(REGISTRIES, before):
        one._module_dict = kept
    for name in FILES:
        sys.modules.pop(name.removesuffix('.py'), None)


def run(name: str, capsys: pytest.CaptureFixture) -> list[str]:
    """Run a block as a script; return the lines that it prints."""
    capsys.readouterr()
    runpy.run_path(name, run_name='__main__')
    return [line for line in capsys.readouterr().out.splitlines() if 'mmengine' not in line]


def test_ten_kinds() -> None:
    titles = re.findall(r'^### (\d+)\. ', PAGE.read_text(encoding='utf-8'), flags=re.M)
    assert titles == [str(i) for i in range(1, 11)] and len(FILES) == len(BLOCKS)


@pytest.mark.filterwarnings('ignore:.*instance named of:UserWarning')  # two Runners of one process in one second
def test_runner_inferencer_and_views(user_code: Path, capsys: pytest.CaptureFixture) -> None:
    """Backbone, dataset, transform, metric and hook in a config that MMEngine's Runner trains; then its checkpoint."""
    rate = float(run('run_from_cfg.py', capsys)[-1])
    assert (user_code / 'work_dirs' / 'from_cfg' / 'epoch_1.pth').is_file()
    log = next((user_code / 'work_dirs' / 'from_cfg').glob('*/*.log')).read_text()
    assert 'worst batch: loss' in log and 'there is no preflight' in log

    out = run('infer.py', capsys)
    assert 'resnet18_8xb32_in1k' in out[0]
    assert {line.split()[0] for line in out if line.startswith(('daisy', 'rose'))} <= {'daisy', 'rose'}
    assert out[-2:] == ['[torch.Size([8, 16, 16]), torch.Size([16, 8, 8])]', 'torch.Size([2, 16]) 2']
    assert sorted(path.name for path in (user_code / 'shown').iterdir()) == ['0.png', '0_2.png']

    accuracy = float(run('test_with_tta.py', capsys)[-1])
    assert 0 <= accuracy <= 100 and 0 <= rate <= 100


def test_lazy_config(user_code: Path, capsys: pytest.CaptureFixture) -> None:
    epochs, metrics = run('train_lazy.py', capsys)[-2:]
    assert epochs == '2 AdamW' and 'error/rate' in metrics and 'accuracy/top1' in metrics


def test_inheritance(user_code: Path, capsys: pytest.CaptureFixture) -> None:
    first, second = run('my_models.py', capsys)[-2:]
    assert first.startswith('tensor([') and second == "['loss', 'loss_size']"


def test_commands(user_code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, which has torch already."""
    monkeypatch.setattr(logging, 'raiseExceptions', logging.raiseExceptions)
    for command in documented_commands(PAGE):
        python, *words = shlex.split(command)
        monkeypatch.setattr(sys, 'argv', words)
        with pytest.raises(SystemExit) as stopped:
            runpy.run_path(words[0], run_name='__main__')
        assert python == 'python' and stopped.value.code == 0
    assert (user_code / 'work_dirs' / 'my_config' / 'epoch_1.pth').is_file()
