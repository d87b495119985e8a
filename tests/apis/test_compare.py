"""Arms, seeds, and the statistics of their difference."""
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from ftcls.apis import compare, load_config, standard_arms
from ftcls.apis.compare import Comparison, RunResult
from ftcls.utils import ConfigError

CONFIG = Path(__file__).resolve().parents[2] / 'configs' / 'tutorial' / 'lenet5_finetune_digits.py'


def small_config():
    """The digits fine-tuning without a source checkpoint, two epochs."""
    cfg = load_config(CONFIG, ['model.backbone.init_cfg=None', 'train_cfg.max_epochs=2', 'train_cfg.val_interval=1'])
    cfg.default_hooks.checkpoint.interval = 2
    return cfg


def test_summary_is_the_paired_t_interval():
    scores = dict(scratch=[70., 72., 75.], finetune=[80., 81., 88.])
    results = [RunResult(arm, i, '', {'acc': s}) for arm, values in scores.items() for i, s in enumerate(values)]
    first, second = Comparison('acc', 'test', results).summary()
    assert first['interval'] is None and first['difference'] == 0
    assert second['mean'] == pytest.approx(83)
    assert second['std'] == pytest.approx(np.std(scores['finetune'], ddof=1))
    differences = np.subtract(scores['finetune'], scores['scratch'])
    low, high = stats.t.interval(0.95, 2, differences.mean(), differences.std(ddof=1) / math.sqrt(3))
    assert second['interval'] == pytest.approx((low, high))


def test_arms_freeze_what_they_say(tmp_path):
    cfg = small_config()
    arms = standard_arms(cfg)
    assert arms['probe']['model.backbone.frozen_stages'] == 2
    assert arms['scratch']['optim_wrapper.optimizer.lr'] == 0.001
    said: list[str] = []
    result = compare(cfg, ['scratch', 'probe'], [0, 1], tmp_path, say=said.append)
    assert len(said) == 4
    assert [r.arm for r in result.results] == ['scratch', 'probe'] * 2
    assert json.loads((tmp_path / 'results.json').read_text())['metric'] == 'accuracy/top1'
    assert (tmp_path / 'compare.png').stat().st_size > 5000
    assert 'against scratch' in (tmp_path / 'table.txt').read_text()
    assert 'FROZEN' in (tmp_path / 'probe' / 'seed0' / 'preflight.txt').read_text()
    states = {
        arm: torch.load(tmp_path / arm / 'seed0' / 'epoch_2.pth', weights_only=True)['state_dict']
        for arm in arms if arm != 'finetune'
    }
    # the same seed builds the same net: where the backbone is frozen it still stands as it was built
    moved = {
        arm: not torch.equal(state['backbone.features.0.weight'], states['probe']['backbone.features.0.weight'])
        for arm, state in states.items()
    }
    assert moved == dict(scratch=True, probe=False)


def test_unknown_arms_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="finetun.*did you mean 'finetune'"):
        compare(small_config(), ['finetun'], [0], tmp_path)
