"""The check of a whole config: all that is wrong is named with its path, and nothing that is right."""
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from base_config import ABSENT, changed, faults_of

from ftcls.apis import load_config
from ftcls.config.schema import KEYS
from ftcls.config.validation import validate_config
from ftcls.utils import ConfigError

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
FILES = sorted(path for path in CONFIGS.rglob('*.py') if '_base_' not in path.parts)


@pytest.mark.parametrize('path', FILES, ids=[str(path.relative_to(CONFIGS)) for path in FILES])
def test_every_config_of_ours_is_valid(path: Path) -> None:
    validate_config(load_config(path))


def test_there_are_configs_and_the_base_config_is_valid() -> None:
    assert len(FILES) > 10
    validate_config(changed({}))


@pytest.mark.parametrize(
    ('path', 'value', 'parts'),
    [
        # misspelt types
        ('model.type', 'ImageClasifier', ["'ImageClassifier'"]),
        ('model.backbone.type', 'ResNte', ["'ResNte' is not a registered model", "'ResNet'"]),
        ('model.backbone.type', 'BEiTViT', ["'BEiTViT' is not a registered model", 'TIMMBackbone']),
        ('model.head.loss.type', 'CrossEntropyLos', ["'CrossEntropyLoss'"]),
        ('model.backbone.init_cfg.0.type', 'Kaimin', ["'Kaiming'"]),
        ('data_preprocessor.type', 'ClsDataPreproces', ["'ClsDataPreprocessor'"]),
        ('train_dataloader.dataset.type', 'CustomDatset', ["'CustomDataset'"]),
        ('train_dataloader.dataset.pipeline.1.type', 'Resise', ["'Resize'"]),
        ('val_dataloader.sampler.type', 'DefaultSampla', ["'DefaultSampler'"]),
        ('val_dataloader.collate_fn.type', 'default_colate', ["'default_collate'"]),
        ('val_evaluator.0.type', 'Acuracy', ["'Accuracy'"]),
        ('optim_wrapper.type', 'OptimWraper', ["'OptimWrapper'"]),
        ('optim_wrapper.optimizer.type', 'SDG', ["'SGD'"]),
        ('optim_wrapper.constructor', 'LearningRateDecayConstructor', ["'LearningRateDecayOptimWrapperConstructor'"]),
        ('param_scheduler.0.type', 'MultistepLr', ["'MultiStepLR'"]),
        ('default_hooks.checkpoint.type', 'ChekpointHook', ["'CheckpointHook'"]),
        ('custom_hooks.0.type', 'EMAHok', ["'EMAHook'"]),
        ('train_cfg', dict(type='EpochTrainLoop', max_epochs=1), ["'EpochBasedTrainLoop'"]),
        ('visualizer', dict(type='Visualiser'), ["'Visualizer'"]),
        ('visualizer', dict(vis_backends=[dict(type='LocalVisBackends')]), ["'LocalVisBackend'"]),
        # misspelt arguments
        ('model.bakbone', dict(type='ResNet', depth=18), ["'backbone'"]),
        ('model.backbone.frozen_stage', 2, ["'frozen_stages'", 'ResNet takes no argument']),
        ('model.head.num_class', 3, ["'num_classes'"]),
        ('model.head.loss.loss_weigth', 1., ["'loss_weight'"]),
        ('model.backbone.init_cfg.0.layers', 'Conv2d', ["'layer'"]),
        ('data_preprocessor.to_rbg', True, ["'to_rgb'"]),
        ('data_preprocessor.batch_augments', dict(augment=[]), ["'augments'"]),
        ('model.train_cfg', dict(augments=[], prob=[]), ["'probs'"]),
        ('train_dataloader.batchsize', 4, ["'batch_size'"]),
        ('train_dataloader.dataset.data_rot', 'x', ["'data_root'"]),
        ('train_dataloader.dataset.pipeline.1.scales', 3, ["'scale'"]),
        ('train_dataloader.dataset.pipeline.1', dict(type='torchvision/ColorJitter', brightnes=1), ["'brightness'"]),
        ('train_dataloader.sampler.shufle', True, ["'shuffle'"]),
        ('val_evaluator.0.top_k', 1, ["'topk'"]),
        ('optim_wrapper.optimizer.momentun', .9, ["'momentum'"]),
        ('optim_wrapper.paramwise', dict(), ["'paramwise_cfg'"]),
        ('optim_wrapper.clip_grad', dict(max_nrm=1), ["'max_norm'"]),
        ('param_scheduler.0.milestone', [1], ["'milestones'"]),
        ('train_cfg.max_epoch', 5, ["'max_epochs'"]),
        ('val_cfg.fp61', True, ["'fp16'"]),
        ('default_hooks.checkpoint.max_keep_ckpt', 1, ["'max_keep_ckpts'"]),
        ('default_hooks.checkpoint.whatever', 1, ['CheckpointHook takes no argument']),
        ('custom_hooks.0.begin_epochs', 1, ["'begin_epoch'"]),  # EMAHook hands on what it does not know; this it knows
        ('env_cfg.cudn_benchmark', True, ["'cudnn_benchmark'"]),
        ('env_cfg.mp_cfg.opencv_threads', 0, ["'opencv_num_threads'"]),
        ('randomness.sed', 1, ["'seed'"]),
        ('auto_scale_lr.base_batchsize', 4, ["'base_batch_size'"]),
        # no type
        ('model.type', ABSENT, ['missing; for example ']),
        ('model.backbone.type', ABSENT, ['missing; for example ']),
        ('model.head.loss.type', ABSENT, ['missing; for example ']),
        ('train_dataloader.dataset.type', ABSENT, ['missing; for example ']),
        ('train_dataloader.dataset.pipeline.0.type', ABSENT, ['missing; for example ']),
        ('optim_wrapper.optimizer.type', ABSENT, ['missing; for example ']),
        ('param_scheduler.0.type', ABSENT, ['missing; for example ']),
        ('val_evaluator.0.type', ABSENT, ['missing; for example ']),
        ('default_hooks.checkpoint.type', ABSENT, ['missing; for example ']),
        ('custom_hooks.0.type', ABSENT, ['missing; for example ']),
        ('model.backbone.init_cfg.0.type', ABSENT, ['missing; for example ']),
        ('train_dataloader.dataset.pipeline.1', 'Resize', ["'Resize': must be a dict with a `type`"]),
        # missing arguments
        ('model.head.num_classes', ABSENT, ['LinearClsHead needs this argument']),
        ('train_dataloader.dataset.pipeline.1', dict(type='CenterCrop'), ['CenterCrop needs this argument']),
        ('train_dataloader.dataset', dict(type='RepeatDataset', times=2), ['RepeatDataset needs this argument']),
        ('param_scheduler.0.milestones', ABSENT, ['MultiStepLR needs this argument']),
        ('optim_wrapper.optimizer', ABSENT, ['OptimWrapper needs this argument']),
        ('train_cfg.max_epochs', ABSENT, ['EpochBasedTrainLoop needs this argument']),
        ('train_dataloader.batch_size', ABSENT, ['missing']),
        ('train_dataloader.dataset', ABSENT, ['missing']),
        # values of the wrong kind
        ('optim_wrapper.optimizer.lr', '0.01', ['must be of type float', "lr='0.01'"]),
        ('optim_wrapper.optimizer.lr', True, ['lr=True']),
        ('optim_wrapper.optimizer', 'SGD', ["'SGD'"]),
        ('optim_wrapper.accumulative_counts', 2.5, ['must be of type int', '2.5']),
        ('optim_wrapper.accumulative_counts', 0, ['at least 1']),
        ('optim_wrapper.clip_grad', 1.0, ['must be of type dict']),
        ('optim_wrapper.clip_grad', dict(max_norm='1'), ['must be of type float']),
        ('model.backbone.depth', '50', ["depth='50': must be one of 18, 34", 'did you mean 50?']),
        ('model.backbone.depth', True, ['depth=True: must be one of 18, 34']),
        ('model.backbone.depth', dict(value=50), ['must be one of 18, 34']),
        ('model.backbone.out_indices', ['3'], ["out_indices.0='3'"]),
        ('model.backbone', 'ResNet', ["'ResNet'"]),
        ('model.head.num_classes', 'ten', ['must be of type int', "'ten'"]),
        ('data_preprocessor.mean', 127, ['mean', '127']),
        ('train_dataloader.dataset.classes', 5, ['classes', '5']),
        ('train_dataloader.dataset.test_mode', 'yes', ['must be of type bool']),
        ('train_dataloader.batch_size', '16', ['must be of type int', "'16'"]),
        ('train_dataloader.batch_size', 0, ['at least 1']),
        ('train_dataloader.num_workers', -1, ['at least 0']),
        ('train_dataloader.num_workers', 1.5, ["must be one of 'auto', int"]),
        ('train_dataloader.sampler.shuffle', 'yes', ['must be of type bool']),
        ('val_evaluator.0.topk', 'one', ['topk', "'one'"]),
        ('param_scheduler.0.milestones', ['15'], ['milestones', "'15'"]),
        ('param_scheduler.0.gamma', '0.1', ['must be of type float']),
        ('train_cfg.max_epochs', 5., ['must be of type int']),
        ('train_cfg.max_epochs', 0, ['at least 1']),
        ('default_hooks.checkpoint.interval', '1', ['must be of type int']),
        ('env_cfg.cudnn_benchmark', 'yes', ['must be of type bool']),
        ('env_cfg', 3, ['must be of type dict']),
        ('env_cfg.mp_cfg.mp_start_method', 'forks', ["'fork'"]),
        ('randomness.seed', '0', ['must be of type int | None']),
        ('auto_scale_lr.base_batch_size', '128', ["'128'"]),
        ('auto_scale_lr.base_batch_size', 0, ['at least 1']),
        ('log_level', 'INF', ["'INFO'"]),
        ('load_from', 3, ['must be of type str | None']),
        ('batch_policy', 'acumulate', ["'accumulate'"]),
        ('model', 'resnet18', ["'resnet18'"]),
        ('train_dataloader', 'cifar', ['must be of type dict']),
        # top level
        ('optim_wraper', dict(optimizer=dict(type='Adam')), ["did you mean"]),
        ('modle', dict(type='ImageClassifier', init_cfg=None), []),
        ('visualiser', dict(type='Visualizer'), ["'visualizer'"]),
        ('load_form', 'a.pth', ["'load_from'"]),
        ('param_schedulers', [dict(type='ConstantLR')], []),
    ])
def test_what_is_wrong_is_named(path: str, value: Any, parts: list[str]) -> None:
    if path in ('optim_wraper', 'modle', 'param_schedulers'):  # the right name is free, as it is where one mistypes it
        right = {'optim_wraper': 'optim_wrapper', 'modle': 'model', 'param_schedulers': 'param_scheduler'}[path]
        faults = faults_of(changed({path: value, right: ABSENT}))
        fault = next(fault for fault in faults if fault.startswith(f'{path}:'))
        parts = [*parts, repr(right)]
    else:
        faults = faults_of(changed({path: value}))
        assert len(faults) == 1, faults
        fault = faults[0]
        assert fault.startswith(path)
    for part in parts:
        assert part in fault


def test_all_faults_come_in_one_message() -> None:
    cfg = changed({
        'model.backbone.type': 'ResNte',
        'model.head.num_clases': 3,
        'train_dataloader.dataset.pipeline.2.type': 'PackInput',
        'optim_wrapper.optimizer.lr': '0.1',
        'param_scheduler.0.gama': 0.1,
        'env_cfg.mp_cfg.opencv_threads': 0,
        'custom_hooks.1': dict(type='EarlyStopHook'),
        'val_evaluator': ABSENT,
    })
    faults = faults_of(cfg)
    assert len(faults) == 8
    assert faults[0].startswith('model.backbone.type')
    assert [f for f in faults if f.startswith('val_evaluator: missing, while val_dataloader, val_cfg is given')]
    with pytest.raises(ConfigError, match='8 faults:'):
        validate_config(cfg)


def test_the_three_keys_of_a_split_go_together() -> None:
    assert faults_of(changed({'val_evaluator': ABSENT}))[0].startswith('val_evaluator: missing')
    assert faults_of(changed({'optim_wrapper': None}))[0].startswith('optim_wrapper: missing')
    assert faults_of(changed({'model': ABSENT})) == ['model: missing; a config needs a model']
    validate_config(changed({'val_dataloader': None, 'val_cfg': None, 'val_evaluator': ABSENT}))


def test_faults_are_found_at_any_depth() -> None:
    inner = dict(type='CustomDataset', data_root='a', pipeline=[dict(type='Resize', scale=3, bakend='cv2')])
    wrapped = dict(type='RepeatDataset', times=2, dataset=dict(type='ConcatDataset', datasets=[inner, dict(inner)]))
    nested = [dict(type='torchvision/RandomApply', transforms=[dict(type='RandomRotation', degree=5)])]
    faults = faults_of(changed({'train_dataloader.dataset': wrapped, 'val_dataloader.dataset.pipeline': nested}))
    place = 'train_dataloader.dataset.dataset.datasets'
    assert [fault.partition(':')[0] for fault in faults] == [
        f'{place}.0.pipeline.0.bakend', f'{place}.1.pipeline.0.bakend',
        'val_dataloader.dataset.pipeline.0.transforms.0.degree',
        'val_dataloader.dataset.pipeline.0.transforms.0.degrees'
    ]


def test_a_config_is_left_as_it_was() -> None:
    cfg = changed({'model.head.loss.type': 'Wrong'})
    before = cfg.pretty_text
    faults_of(cfg)
    assert cfg.pretty_text == before


def test_an_open_class_still_knows_its_own_arguments() -> None:
    backbone = dict(type='TIMMBackbone', model_name='resnet18', drop_rate=0.1)
    validate_config(changed({'model.backbone': backbone}))
    assert "'frozen_stages'" in faults_of(changed({'model.backbone': {**backbone, 'frozen_stage': 1}}))[0]
    assert 'must be of type int' in faults_of(changed({'model.backbone': {**backbone, 'frozen_stages': '1'}}))[0]
    both = changed({'model.backbone': {**backbone, 'frozen_stages': 1, 'frozen_stage': 2}})
    assert faults_of(both) == [
        "model.backbone.frozen_stage: TIMMBackbone takes no argument 'frozen_stage'; did you mean 'frozen_stages'?"
    ]


def test_a_missing_backbone_is_answered_with_backbones() -> None:
    fault, = faults_of(changed({'model.backbone.type': ABSENT}))
    assert 'CifarResNet' in fault and 'Loss' not in fault


@pytest.mark.parametrize(('key', 'function', 'given'), [
    ('train_dataloader', torch.utils.data.DataLoader.__init__, 'self'),
    ('clip_grad', torch.nn.utils.clip_grad_norm_, 'parameters'),
    ('clip_grad', torch.nn.utils.clip_grad_value_, 'parameters'),
])
def test_the_schema_has_all_arguments_of_torch(key: str, function: Callable, given: str) -> None:
    assert set(inspect.signature(function).parameters) - {given} <= set(KEYS[key].items)
