"""`tools/compare.py`: two processes at once, a failing run, shots, arms that are files."""
import json
import runpy
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from ftcls.registry import HOOKS

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'configs' / 'tutorial' / 'lenet5_finetune_digits.py'
SHORT = [
    '--cfg-options', 'model.backbone.init_cfg=None', 'default_hooks.checkpoint.interval=1', 'train_cfg.val_interval=1',
    'val_dataloader.dataset.indices=40', 'test_dataloader.dataset.indices=40'
]
_FAILING = '''
from mmengine.hooks import Hook
from ftcls.registry import HOOKS

@HOOKS.register_module()
class OutOfPaperHook(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        raise RuntimeError('out of paper')
'''


def test_two_processes_work_on_each_run(run_tool: Callable, tmp_path: Path) -> None:
    with socket.socket() as one:
        one.bind(('127.0.0.1', 0))
        port = str(one.getsockname()[1])
    done = run_tool(
        'dist_run.sh',
        2,
        ROOT / 'tools' / 'compare.py',
        CONFIG,
        '--arms=scratch,lpft',
        '--seeds=1',
        '--budget=2',
        '--launcher=pytorch',
        *SHORT,
        PORT=port,
        CUDA_VISIBLE_DEVICES='')
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('scratch, seed 0: test accuracy/top1') == 1 and done.stdout.count('95 % interval') == 1
    out = tmp_path / 'work_dirs' / 'compare'
    results = json.loads((out / 'results.json').read_text())
    assert [(r['arm'], r['seed']) for r in results['runs']] == [('scratch', 0), ('lpft', 0)]
    for arm in ('scratch', 'lpft'):
        assert '2 processes' in (out / arm / 'seed0' / 'preflight.txt').read_text()
        vals = [line for line in (out / arm / 'seed0' / 'metrics.jsonl').read_text().splitlines() if '"val"' in line]
        assert len(vals) == 2  # one a validation, not one a process


def test_failing_run_shots_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                     capsys: pytest.CaptureFixture) -> None:
    config = tmp_path / 'config.py'
    config.write_text(f'_base_ = [{str(CONFIG)!r}]\ncustom_imports = dict(imports=["failing"])\n')
    (tmp_path / 'mine.py').write_text('_base_ = ["config.py"]\noptim_wrapper = dict(optimizer=dict(lr=0.01))\n')
    (tmp_path / 'failing.py').write_text(_FAILING)
    broken = "arms={'broken': {'custom_hooks': [{'type': 'OutOfPaperHook'}]}}"
    arguments = ('--arms=scratch,broken,mine.py', '--seeds=1', '--budget=1', '--shots=2,4', *SHORT, broken)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(HOOKS, '_module_dict', dict(HOOKS.module_dict))
    monkeypatch.setattr('sys.argv', ['compare.py', str(config), *arguments])
    assert runpy.run_path(str(ROOT / 'tools' / 'compare.py'))['main']() == 1
    printed = capsys.readouterr().out
    assert printed.count('broken, seed 0: FAILED: ') == 2 and '4 labelled samples per class' in printed
    for shots in (2, 4):
        out = tmp_path / 'work_dirs' / 'compare' / f'shots{shots}'
        assert [r['arm'] for r in json.loads((out / 'results.json').read_text())['runs']] == ['scratch', 'mine']
        text = (out / 'mine' / 'seed0' / 'preflight.txt').read_text()
        assert f'train: {10 * shots} samples' in text and f'{shots} per class, drawn with seed 0' in text
