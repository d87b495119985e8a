"""A lazy config through the tools: trained, resumed, tested by its work dir, compared; the options of mm's tools."""
from pathlib import Path

import pytest

LAZY = """
from mmengine.config import read_base

with read_base():
    from .tutorial_copy import *

from torch.optim import Adam

from ftcls.models.backbones import LeNet5

model.backbone = dict(type=LeNet5, num_classes=-1)
optim_wrapper = dict(optimizer=dict(type=Adam, lr=0.002))
train_dataloader.update(dict(batch_size=40))
train_dataloader.dataset.indices = 160
default_scope = 'mmpretrain'
"""


@pytest.mark.slow
def test_a_lazy_config_through_the_tools(run_tool, tmp_path: Path) -> None:
    from ftcls.apis import load_config
    base = load_config('lenet5_pretrain_digits')
    base.dump(tmp_path / 'tutorial_copy.py')
    config = tmp_path / 'lazy.py'
    config.write_text(LAZY, encoding='utf-8')
    done = run_tool('train.py', config, '--work_dir', 'run', '--epochs', 2, '--cfg_options', 'randomness.seed=1')
    assert done.returncode == 0, done.stderr
    assert '--epochs: train_cfg.max_epochs 15 -> 2' in done.stdout
    assert "default_scope='mmpretrain' is read as 'ftcls'" in done.stdout
    written = (tmp_path / 'run' / 'lazy.py').read_text(encoding='utf-8')
    assert "type='LeNet5'" in written and "default_scope = 'ftcls'" in written
    done = run_tool('train.py', config, '--work-dir', 'run', '--epochs=2', '--resume', '--cfg-options',
                    'randomness.seed=1')
    assert 'nothing was left to do' in done.stdout, done.stdout + done.stderr
    done = run_tool('test.py', 'run', '--out', 'metrics.json')
    assert done.returncode == 0 and 'Loaded run/best_' in done.stdout, done.stdout + done.stderr
    done = run_tool('train.py', 'lenet5_pretrain_digit', '--load_from', 'run/epoch_2.pth')
    assert done.returncode == 2 and "'lenet5_pretrain_digits'" in done.stderr
    done = run_tool('train.py', 'lenet5_pretrain_digits', '--load_from', 'run/epoch_2.pth', '--dry-run')
    assert done.returncode == 0 and 'epoch_2.pth' in done.stdout, done.stdout + done.stderr
    done = run_tool('compare.py', config, '--arms', 'scratch,lazy.py', '--seeds', 1, '--budget', 1, '--out-dir', 'out')
    assert done.returncode == 0 and 'scratch' in done.stdout, done.stdout + done.stderr
