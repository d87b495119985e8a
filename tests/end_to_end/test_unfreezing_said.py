"""What a run says of unfreezing and freezing: the plan as it will be, what never learns, what a resume may not change."""
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from mmengine.config import Config

from ftcls.apis import TrainOptions, train
from ftcls.utils import ConfigError

Digits = Callable[..., Config]

COUNT = itertools.count()


def gradual(digits: Digits, **overrides: object) -> Config:
    """Four epochs of 4 steps on LeNet-5, whose stages are its three convolutions."""
    return digits(**{
        'train_cfg.max_epochs': 4,
        'train_dataloader.dataset.indices': 160,
        'randomness.seed': 0,
        'experiment_name': f'said{next(COUNT)}',  # two runs of one name and second would share a log
        'custom_hooks': [dict(type='GradualUnfreezingHook')],
        **overrides
    })  # yapf: disable


def preflight(folder: Path) -> str:
    return (folder / 'preflight.txt').read_text()


def test_nothing_left_of_what_the_plan_trains_first(digits: Digits, tmp_path: Path) -> None:
    said = r'nothing to train in epoch 1: head.fc.\* \(2\) frozen by model.freeze, .* by GradualUnfreezingHook.*\.start'
    hook = dict(type='GradualUnfreezingHook', every=2)
    with pytest.raises(ConfigError, match=said):
        train(gradual(digits, custom_hooks=[hook], **{'model.freeze': ['head']}), TrainOptions(work_dir=str(tmp_path)))


def test_the_plan_leaves_out_what_the_config_freezes(digits: Digits, tmp_path: Path) -> None:
    cfg = gradual(digits, **{'model.freeze': [r'features\.6', r'features\.3\.bias', 'head.fc.bias']})
    train(cfg, TrainOptions(work_dir=str(tmp_path)))
    text = preflight(tmp_path)
    log = next(tmp_path.glob('*/*.log')).read_text()
    stays = 'stage 2 (backbone.features.6) stays frozen by model.freeze'
    part = 'stage 1 (backbone.features.3: 1 of 2 parameters, the others stay frozen by model.freeze)'
    assert 'from epoch 1 all but the backbone; head.fc.bias stays frozen by model.freeze\n' in text
    assert f'from epoch 2 nothing more; {stays}\n' in text and f'from epoch 3 + {part}\n' in text
    assert f'from epoch 2 nothing more; {stays}; 1,200 parameters are trained' in log
    assert f'from epoch 3 + {part};' in log


def test_random_layers_that_never_learn_are_warned_of(digits: Digits, tmp_path: Path) -> None:
    """Not those that a file gave, nor those that are thawed later, but for a run that ends before."""
    warning = 'frozen at random values, NEVER TO LEARN: backbone.features.0'
    frozen = {'model.backbone.frozen_stages': 1, 'train_cfg.max_epochs': 1, 'custom_hooks': []}
    train(gradual(digits, **frozen), TrainOptions(work_dir=str(tmp_path / 'random')))
    assert f'WARNING   {warning}, backbone.features.3; no weights' in preflight(tmp_path / 'random')
    assert f'WARNING - {warning}' in next((tmp_path / 'random').glob('*/*.log')).read_text()
    loaded = gradual(digits, **frozen, load_from=str(tmp_path / 'random' / 'epoch_1.pth'))
    train(loaded, TrainOptions(work_dir=str(tmp_path / 'loaded')))
    longer = gradual(digits, **{**frozen, 'train_cfg.max_epochs': 2})
    train(longer, TrainOptions(work_dir=str(tmp_path / 'random'), resume=True))
    train(gradual(digits), TrainOptions(work_dir=str(tmp_path / 'thawed')))
    assert not [run for run in ('loaded', 'random', 'thawed') if warning in preflight(tmp_path / run)]
    train(gradual(digits, **{'train_cfg.max_epochs': 3}), TrainOptions(work_dir=str(tmp_path / 'late')))
    assert f'{warning}; no weights' in preflight(tmp_path / 'late')


def test_another_plan_is_refused_on_resuming(digits: Digits, tmp_path: Path) -> None:
    train(gradual(digits), TrainOptions(work_dir=str(tmp_path)))
    slower = gradual(digits, custom_hooks=[dict(type='GradualUnfreezingHook', every=2)])
    with pytest.raises(
            ConfigError, match='custom_hooks.GradualUnfreezingHook.every: 1 in the checkpoint, 2 in the config'):
        train(slower, TrainOptions(work_dir=str(tmp_path), resume=True))


def test_a_share_stays_what_it_was_in_a_longer_run(digits: Digits, tmp_path: Path) -> None:
    """Half of 4 epochs is over after the 2nd; of the 12 that are wanted then, the probe shall not take 4 more."""
    hooks = [dict(type='LinearProbeFineTuneHook', probe=0.5)]
    train(gradual(digits, custom_hooks=hooks), TrainOptions(work_dir=str(tmp_path)))
    longer = gradual(digits, custom_hooks=hooks, **{'train_cfg.max_epochs': 12})
    options = TrainOptions(work_dir=str(tmp_path), resume=True, dry_run=True)
    train(longer, options)
    assert 'FROZEN' not in preflight(tmp_path)
    assert 'from epoch 3 + stage 2' in preflight(tmp_path)
