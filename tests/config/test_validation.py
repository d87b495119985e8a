"""The check of a whole config: all that is wrong is named with its path, and nothing that is right."""
import copy
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import BaseModule

from ftcls.apis import load_config
from ftcls.config.schema import KEYS
from ftcls.config.validation import validate_config
from ftcls.registry import BATCH_AUGMENTS, HOOKS, MODELS, TRANSFORMS
from ftcls.utils import ConfigError

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
FILES = sorted(path for path in CONFIGS.rglob('*.py') if '_base_' not in path.parts)
ABSENT = object()


def base() -> dict:
    """A config with a little of everything."""
    pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=32), dict(type='PackInputs')]
    loader = dict(
        batch_size=4,
        num_workers=0,
        dataset=dict(type='CustomDataset', data_root='data', pipeline=pipeline),
        sampler=dict(type='DefaultSampler', shuffle=True),
        collate_fn=dict(type='default_collate'))
    return dict(
        model=dict(
            type='ImageClassifier',
            backbone=dict(type='ResNet', depth=18, init_cfg=[dict(type='Kaiming', layer='Conv2d')]),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=10, in_channels=512, loss=dict(type='CrossEntropyLoss'))),
        data_preprocessor=dict(mean=[1., 2., 3.], std=[1., 1., 1.], to_rgb=True),
        train_dataloader=loader,
        val_dataloader=copy.deepcopy(loader),
        train_cfg=dict(by_epoch=True, max_epochs=2),
        val_cfg=dict(),
        val_evaluator=[dict(type='Accuracy', topk=(1, 5))],
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9)),
        param_scheduler=[dict(type='MultiStepLR', milestones=[15], gamma=0.1)],
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1), logger=dict(type='LoggerHook')),
        custom_hooks=[dict(type='EMAHook', momentum=0.0002)],
        env_cfg=dict(mp_cfg=dict(opencv_num_threads=0), dist_cfg=dict(backend='gloo')),
        randomness=dict(seed=0),
        auto_scale_lr=dict(base_batch_size=4),
        log_level='INFO')


def changed(changes: dict[str, Any]) -> Config:
    """The base config with values set, or taken out, at dotted paths."""
    cfg = base()
    for path, value in changes.items():
        *parents, last = [int(key) if key.isdigit() else key for key in path.split('.')]
        node = cfg
        for key in parents:
            node = node[key]
        if value is ABSENT:
            del node[last]
        elif isinstance(node, list) and last == len(node):
            node.append(value)
        else:
            node[last] = value
    return Config(cfg)


def faults_of(cfg: Config) -> list[str]:
    """The lines of the message, without the heading."""
    with pytest.raises(ConfigError) as caught:
        validate_config(cfg)
    return [line.strip() for line in str(caught.value).splitlines()[1:]]


@pytest.mark.parametrize('path', FILES, ids=[str(path.relative_to(CONFIGS)) for path in FILES])
def test_every_config_of_ours_is_valid(path: Path) -> None:
    validate_config(load_config(path))


def test_there_are_configs_and_the_base_config_is_valid() -> None:
    assert len(FILES) > 10
    validate_config(changed({}))


@pytest.mark.parametrize(('path', 'value', 'parts'), [
    # misspelt types
    ('model.type', 'ImageClasifier', ["'ImageClassifier'"]),
    ('model.backbone.type', 'ResNte', ["'ResNte' is not a registered model", "'ResNet'"]),
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
    ('train_dataloader.num_workers', 1.5, ['must be of type int']),
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
])  # yapf: disable
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


@pytest.fixture
def registered() -> Iterator[None]:
    """Components as a user would register them, for the time of a test."""

    @HOOKS.register_module()
    class QuietHook(Hook):

        def __init__(self, every: int = 1, options: dict | None = None) -> None:
            pass

    @HOOKS.register_module()
    class AnythingHook(Hook):

        def __init__(self, interval: int = 1, **kwargs: Any) -> None:
            pass

    @MODELS.register_module()
    class TwinBackbone(BaseModule):

        def __init__(self, branches: list, fusion: dict, init_cfg: dict | None = None) -> None:
            super().__init__(init_cfg)

    @BATCH_AUGMENTS.register_module()
    class Blend:

        def __init__(self, alpha: float) -> None:
            pass

    @TRANSFORMS.register_module()
    class FromTable:

        def __init__(self, table: dict, then: Callable | None = None) -> None:
            pass

    yield
    for registry, name in ((HOOKS, 'QuietHook'), (HOOKS, 'AnythingHook'), (MODELS, 'TwinBackbone'),
                           (BATCH_AUGMENTS, 'Blend'), (TRANSFORMS, 'FromTable')):
        registry.module_dict.pop(name)


@pytest.mark.parametrize('changes', [
    {'custom_hooks': [dict(type='QuietHook', every=2, options=dict(a=1), priority='LOW'), dict(type='AnythingHook', some=3)]},
    {'custom_hooks': [dict(type='EarlyStoppingHook', monitor='accuracy/top1', patience=3), dict(type='EMAHook', momentum=1e-4)]},
    {'custom_hooks': [dict(type='ProfilerHook', schedule=dict(wait=1), on_trace_ready=dict(type='log_trace'))]},
    {'custom_hooks': None, 'default_hooks.logger': None},
    {'default_hooks.checkpoint.save_best': ['accuracy/top1', 'loss'], 'default_hooks.checkpoint.rule': ['greater', 'less']},
    {'default_hooks.checkpoint.backend_args': dict(backend='local'), 'default_hooks.checkpoint.priority': 'LOW'},
    {'default_hooks.checkpoint.type': 'mmengine.CheckpointHook', 'model.backbone.type': 'ftcls.ResNet'},
    {'train_dataloader.dataset': dict(type='ConcatDataset', datasets=[
        dict(type='RepeatDataset', times=3, dataset=dict(type='Digits')), dict(type='CIFAR10', data_root='c', classes=['cat']),
        dict(type='ClassBalancedDataset', oversample_thr=0.1, dataset=dict(type='MNIST', data_root='m', split='test'))])},
    {'train_dataloader.dataset.metainfo': dict(classes=['a', 'b']), 'train_dataloader.dataset.data_prefix': dict(img_path='x')},
    {'train_dataloader.dataset.indices': [1, 2], 'train_dataloader.dataset.classes': ('a', 'b')},
    {'train_dataloader.dataset.classes': 'classes.txt', 'train_dataloader.dataset.indices': 10},
    {'train_dataloader.dataset.pipeline.1': dict(type='FromTable', table=dict(a=dict(b=1)))},
    {'train_dataloader.dataset.pipeline.1': dict(type='torchvision/RandomChoice', transforms=[
        dict(type='RandomRotation', degrees=5), dict(type='torchvision/Compose', transforms=[dict(type='Grayscale')])])},
    {'train_dataloader.dataset.pipeline.1': dict(type='torchvision/Resize', size=[8, 8], interpolation='bilinear')},
    {'train_dataloader.dataset.pipeline.1.scale': [32, 32]},
    {'train_dataloader.sampler': dict(type='InfiniteSampler'), 'train_dataloader.worker_init_fn': dict(type='os.getpid')},
    {'train_dataloader.collate_fn': dict(type='pseudo_collate'), 'train_dataloader.drop_last': True},
    {'model.backbone.init_cfg': [dict(type='Kaiming', layer=['Conv2d'], override=dict(type='Normal', name='fc', std=0.1)),
                                 dict(type='Constant', val=1, layer=['_BatchNorm', 'GroupNorm']),
                                 dict(type='Pretrained', checkpoint='a.pth', prefix='backbone')]},
    {'model.backbone.norm_cfg': dict(type='BN', requires_grad=True), 'model.backbone.frozen_stages': 1},
    {'model.backbone': dict(type='TIMMBackbone', model_name='resnet18', drop_rate=0.1, drop_path_rate=0.1, norm_layer='BN')},
    {'model.backbone': dict(type='TorchvisionBackbone', model_name='vit_b_16', model_args=dict(image_size=32, dropout=0.1))},
    {'model.backbone': dict(type='TwinBackbone', branches=[dict(type='ResNet', depth=18), dict(type='CifarResNet', depth=20)],
                            fusion=dict(mode='sum'))},
    {'model.head': dict(type='StackedLinearClsHead', num_classes=3, in_channels=5, mid_channels=[4],
                        norm_cfg=dict(type='BN1d'), act_cfg=dict(type='ReLU'))},
    {'model.head.topk': [1, 5], 'model.head.loss': dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original')},
    {'model.neck': None, 'data_preprocessor.to_rgb': False},
    {'model.train_cfg': dict(augments=[dict(type='Blend', alpha=1.)], probs=[0.5])},
    {'data_preprocessor.batch_augments': dict(augments=dict(type='Blend', alpha=1))},
    {'model.data_preprocessor': dict(type='ClsDataPreprocessor', mean=None, std=None)},
    {'optim_wrapper.optimizer': dict(type='AdamW', lr=1, betas=[0.9, 0.99], weight_decay=0, fused=None)},
    {'optim_wrapper.optimizer': dict(type='SGD', lr=1e-2, foreach=True)},
    {'optim_wrapper.optimizer.type': torch.optim.SGD},
    {'optim_wrapper': dict(type='AmpOptimWrapper', loss_scale=512., dtype='bfloat16', optimizer=dict(type='SGD'))},
    {'optim_wrapper.clip_grad': dict(max_norm=5, norm_type=2), 'optim_wrapper.accumulative_counts': 4},
    {'optim_wrapper.clip_grad': dict(type='value', clip_value=0.5)},
    {'optim_wrapper.paramwise_cfg': dict(custom_keys={'backbone.layer1': dict(lr_mult=0.1)}, norm_decay_mult=0.)},
    {'optim_wrapper.constructor': 'DefaultOptimWrapperConstructor'},
    {'param_scheduler': [dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=5),
                         dict(type='CosineAnnealingLR', T_max=10, eta_min=0, convert_to_iter_based=True)]},
    {'param_scheduler': dict(type='PolyLR', power=1.0, end=10)},
    {'param_scheduler': dict(head=[dict(type='ConstantLR')])},
    {'param_scheduler': None, 'auto_scale_lr': None},
    {'param_scheduler': dict(type='OneCycleLR', eta_max=0.1, total_steps=10)},
    {'train_cfg': dict(by_epoch=False, max_iters=10, val_interval=5)},
    {'train_cfg': dict(type='IterBasedTrainLoop', max_iters=10, dynamic_intervals=[[4, 2]])},
    {'val_evaluator': dict(type='Accuracy')},
    {'val_evaluator': dict(type='Evaluator', metrics=[dict(type='Accuracy'), dict(type='ConfusionMatrix')])},
    {'val_evaluator': dict(metrics=dict(type='SingleLabelMetric', items=['precision', 'recall']))},
    {'visualizer': dict(type='Visualizer', name='v', vis_backends=[
        dict(type='LocalVisBackend'), dict(type='WandbVisBackend', init_kwargs=dict(project='p'))])},
    {'log_processor': dict(by_epoch=True, window_size=5, custom_cfg=[dict(data_src='loss', method_name='mean')])},
    {'model_wrapper_cfg': dict(type='MMDistributedDataParallel', find_unused_parameters=True, device_ids=None)},
    # variables of the file, some of them named like keys
    {'dataset_type': 'Digits', 'data_root': 'data', 'train_pipeline': [dict(type='Resize', scale=9)], 'num_classes': 10},
    {'test_pipeline': [dict(type='Resize', scale=9)], 'val_pipeline': [dict(type='CenterCrop', crop_size=1)]},
    {'train_loader': base()['train_dataloader'], 'base_model': dict(type='ResNet'), 'img_norm_cfg': dict(mean=[1])},
    {'launcher': 'none', 'load_from': None, 'resume': True, 'work_dir': 'w', 'compile': dict(mode='default')},
    {'arms': dict(scratch={'optim_wrapper.optimizer.lr': 1})},
])  # yapf: disable
def test_what_is_legal_is_let_through(registered: None, changes: dict[str, Any]) -> None:
    validate_config(changed(changes))


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
