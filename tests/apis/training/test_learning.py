"""A run in which nothing can learn stops before its first step, and names what to change; others are left alone."""
from collections.abc import Callable
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ftcls.apis import TrainOptions, load_config, train
from ftcls.registry import FUNCTIONS
from ftcls.utils import ConfigError

TUTORIAL = Path(__file__).resolve().parents[3] / 'configs' / 'tutorial'
FEW = {
    'train_cfg.max_epochs': 2,
    'train_dataloader.dataset.indices': 80,
    'train_dataloader.batch_size': 40,
    'val_dataloader': None,
    'val_cfg': None,
    'val_evaluator': None
}
RESNET = dict(
    _delete_=True,
    type='ImageClassifier',
    backbone=dict(type='ResNet', depth=18, in_channels=1),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=512))


@FUNCTIONS.register_module()
def late(step: int, total: int, first: int) -> float:
    """0 before the first step that has a rate; a run here has 4 steps."""
    return float(step >= first)


class Freezing(Hook):
    """Freezes the whole model at one point."""

    def __init__(self, point: str) -> None:
        setattr(self, point, self.freeze)

    def freeze(self, runner: Runner, **kwargs: object) -> None:
        runner.model.requires_grad_(False)


def run(folder: Path, changes: dict, hooks: list[Hook] = []) -> Runner:
    cfg = load_config(TUTORIAL / 'lenet5_pretrain_digits.py', {**FEW, **changes})
    return train(cfg, TrainOptions(work_dir=str(folder)), hooks)


@pytest.mark.parametrize(('changes', 'said'), [
    ({
        'optim_wrapper.optimizer.lr': 0
    }, 'every learning rate is 0; set optim_wrapper.optimizer.lr'),
    ({
        'optim_wrapper.paramwise_cfg': dict(custom_keys=dict(backbone=dict(lr_mult=0), head=dict(lr_mult=0)))
    }, 'lr_mult in optim_wrapper.paramwise_cfg'),
    ({
        'param_scheduler': [dict(type='ConstantLR', factor=0, end=9)]
    }, 'param_scheduler makes every learning rate 0'),
    ({
        'param_scheduler': [dict(type='FunctionLR', function='late', by_epoch=False, args=dict(first=4))]
    }, 'param_scheduler makes every learning rate 0'),
    ({
        'param_scheduler': [dict(type='MultiStepLR', gamma=0, milestones=[0])]
    }, 'param_scheduler makes every learning rate 0'),
])
def test_rates_of_0(tmp_path: Path, changes: dict, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        run(tmp_path, changes)
    assert said in str(caught.value)


@pytest.mark.parametrize('point', ['before_train', 'before_train_epoch', 'before_train_iter'])
def test_frozen_by_a_hook(tmp_path: Path, point: str) -> None:
    with pytest.raises(ConfigError, match='every parameter is frozen; change model.freeze'):
        run(tmp_path, {}, [Freezing(point)])


@pytest.mark.parametrize('changes', [
    {
        'optim_wrapper.paramwise_cfg': dict(custom_keys=dict(backbone=dict(lr_mult=0)))
    },
    {
        'param_scheduler': [dict(type='FunctionLR', function='late', by_epoch=False, args=dict(first=3))]
    },
    {
        'param_scheduler': [dict(type='CosineAnnealingLR', T_max=1, end=1)]
    },
])
def test_a_rate_of_0_for_a_part_or_a_time_is_fine(tmp_path: Path, changes: dict) -> None:
    assert run(tmp_path, changes).epoch == 2


def _resnet(**loader: object) -> dict:
    small = {'model': RESNET, 'allow_missing_classes': True, 'train_cfg.max_epochs': 1}
    return {**small, **{f'train_dataloader.{key}': value for key, value in loader.items()}}


def test_a_rate_of_what_a_hook_has_frozen_does_not_count(tmp_path: Path) -> None:

    class FreezeBackbone(Hook):

        def before_train(self, runner: Runner) -> None:
            runner.model.backbone.requires_grad_(False)

    changes = {'optim_wrapper.paramwise_cfg': dict(custom_keys=dict(head=dict(lr_mult=0)))}
    with pytest.raises(ConfigError, match='nothing learns: every learning rate is 0'):
        run(tmp_path, changes, [FreezeBackbone()])


@pytest.mark.parametrize(('loader', 'said'), [
    ({
        'batch_size': 4,
        'dataset.indices': 5
    }, ['batch_size=4: 5 images leave a last batch of 1 image', 'drop_last=True', 'backbone.layer4']),
    ({
        'batch_size': 1,
        'dataset.indices': 2
    }, ['batch_size=1: set another batch_size', 'backbone.layer4']),
])
def test_a_batch_of_one_image_before_batch_norm(tmp_path: Path, loader: dict, said: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        run(tmp_path, _resnet(**loader))
    assert all(part in str(caught.value) for part in said)


@pytest.mark.parametrize('changes', [
    _resnet(batch_size=4, **{'dataset.indices': 5}, drop_last=True),
    {
        **_resnet(batch_size=4, **{'dataset.indices': 5}), 'model': {
            **RESNET, 'norm_policy': 'eval'
        }
    },
    {
        'train_dataloader.batch_size': 40,
        'train_dataloader.dataset.indices': 81
    },
])
def test_other_last_batches_are_fine(tmp_path: Path, changes: dict) -> None:
    assert run(tmp_path, changes).iter >= 1


def _without_source(cfg: Config) -> None:
    return None


@pytest.mark.parametrize(('change', 'said'), [
    (_without_source, 'lenet5_pretrain_digits'),
    (lambda cfg: cfg.merge_from_dict({'load_from': 'work_dirs/resnet50_finetune_cifar/best.pth'}),
     'resnet50_finetune_cifar'),
])
def test_a_missing_source_names_the_command_that_makes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                          change: Callable, said: str) -> None:
    monkeypatch.chdir(tmp_path)
    cfg = load_config(TUTORIAL / 'lenet5_finetune_digits.py')
    change(cfg)
    with pytest.raises(ConfigError, match=f'Make it first: ftcls train {said}$'):
        train(cfg, TrainOptions(work_dir=str(tmp_path / 'x')))


def test_a_missing_source_of_no_config_names_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cfg = load_config(TUTORIAL / 'lenet5_pretrain_digits.py', {'load_from': 'weights/mine.pth'})
    with pytest.raises(ConfigError) as caught:
        train(cfg, TrainOptions(work_dir=str(tmp_path / 'x')))
    assert 'Make it first' not in str(caught.value)
