"""Configs that the check must let through."""
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from base_config import base, changed
from mmengine.hooks import Hook
from mmengine.model import BaseModule

from ftcls.config.validation import validate_config
from ftcls.registry import BATCH_AUGMENTS, HOOKS, MODELS, TRANSFORMS


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


@pytest.mark.parametrize(
    'changes',
    [
        {
            'custom_hooks':
            [dict(type='QuietHook', every=2, options=dict(a=1), priority='LOW'),
             dict(type='AnythingHook', some=3)]
        },
        {
            'custom_hooks':
            [dict(type='EarlyStoppingHook', monitor='accuracy/top1', patience=3),
             dict(type='EMAHook', momentum=1e-4)]
        },
        {
            'custom_hooks': [dict(type='ProfilerHook', schedule=dict(wait=1), on_trace_ready=dict(type='log_trace'))]
        },
        {
            'custom_hooks': None,
            'default_hooks.logger': None
        },
        {
            'default_hooks.checkpoint.save_best': ['accuracy/top1', 'loss'],
            'default_hooks.checkpoint.rule': ['greater', 'less']
        },
        {
            'default_hooks.checkpoint.backend_args': dict(backend='local'),
            'default_hooks.checkpoint.priority': 'LOW'
        },
        {
            'default_hooks.checkpoint.type': 'mmengine.CheckpointHook',
            'model.backbone.type': 'ftcls.ResNet'
        },
        {
            'train_dataloader.dataset':
            dict(
                type='ConcatDataset',
                datasets=[
                    dict(type='RepeatDataset', times=3, dataset=dict(type='Digits')),
                    dict(type='CIFAR10', data_root='c', classes=['cat']),
                    dict(
                        type='ClassBalancedDataset',
                        oversample_thr=0.1,
                        dataset=dict(type='MNIST', data_root='m', split='test'))
                ])
        },
        {
            'train_dataloader.dataset.metainfo': dict(classes=['a', 'b']),
            'train_dataloader.dataset.data_prefix': dict(img_path='x')
        },
        {
            'train_dataloader.dataset.indices': [1, 2],
            'train_dataloader.dataset.classes': ('a', 'b')
        },
        {
            'train_dataloader.dataset.classes': 'classes.txt',
            'train_dataloader.dataset.indices': 10
        },
        {
            'train_dataloader.dataset.pipeline.1': dict(type='FromTable', table=dict(a=dict(b=1)))
        },
        {
            'train_dataloader.dataset.pipeline.1':
            dict(
                type='torchvision/RandomChoice',
                transforms=[
                    dict(type='RandomRotation', degrees=5),
                    dict(type='torchvision/Compose', transforms=[dict(type='Grayscale')])
                ])
        },
        {
            'train_dataloader.dataset.pipeline.1': dict(
                type='torchvision/Resize', size=[8, 8], interpolation='bilinear')
        },
        {
            'train_dataloader.dataset.pipeline.1.scale': [32, 32]
        },
        {
            'train_dataloader.sampler': dict(type='InfiniteSampler'),
            'train_dataloader.worker_init_fn': dict(type='os.getpid')
        },
        {
            'train_dataloader.collate_fn': dict(type='pseudo_collate'),
            'train_dataloader.drop_last': True
        },
        {
            'model.backbone.init_cfg': [
                dict(type='Kaiming', layer=['Conv2d'], override=dict(type='Normal', name='fc', std=0.1)),
                dict(type='Constant', val=1, layer=['_BatchNorm', 'GroupNorm']),
                dict(type='Pretrained', checkpoint='a.pth', prefix='backbone')
            ]
        },
        {
            'model.backbone.norm_cfg': dict(type='BN', requires_grad=True),
            'model.backbone.frozen_stages': 1
        },
        {
            'model.backbone':
            dict(type='TIMMBackbone', model_name='resnet18', drop_rate=0.1, drop_path_rate=0.1, norm_layer='BN')
        },
        {
            'model.backbone':
            dict(type='TorchvisionBackbone', model_name='vit_b_16', model_args=dict(image_size=32, dropout=0.1))
        },
        {
            'model.backbone':
            dict(
                type='TwinBackbone',
                branches=[dict(type='ResNet', depth=18),
                          dict(type='CifarResNet', depth=20)],
                fusion=dict(mode='sum'))
        },
        {
            'model.head':
            dict(
                type='StackedLinearClsHead',
                num_classes=3,
                in_channels=5,
                mid_channels=[4],
                norm_cfg=dict(type='BN1d'),
                act_cfg=dict(type='ReLU'))
        },
        {
            'model.head.topk': [1, 5],
            'model.head.loss': dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original')
        },
        {
            'model.neck': None,
            'data_preprocessor.to_rgb': False
        },
        {
            'model.train_cfg': dict(augments=[dict(type='Blend', alpha=1.)], probs=[0.5])
        },
        {
            'data_preprocessor.batch_augments': dict(augments=dict(type='Blend', alpha=1))
        },
        {
            'model.data_preprocessor': dict(type='ClsDataPreprocessor', mean=None, std=None)
        },
        {
            'optim_wrapper.optimizer': dict(type='AdamW', lr=1, betas=[0.9, 0.99], weight_decay=0, fused=None)
        },
        {
            'optim_wrapper.optimizer': dict(type='SGD', lr=1e-2, foreach=True)
        },
        {
            'optim_wrapper.optimizer.type': torch.optim.SGD
        },
        {
            'optim_wrapper': dict(
                type='AmpOptimWrapper', loss_scale=512., dtype='bfloat16', optimizer=dict(type='SGD'))
        },
        {
            'optim_wrapper.clip_grad': dict(max_norm=5, norm_type=2),
            'optim_wrapper.accumulative_counts': 4
        },
        {
            'optim_wrapper.clip_grad': dict(type='value', clip_value=0.5)
        },
        {
            'optim_wrapper.paramwise_cfg': dict(custom_keys={'backbone.layer1': dict(lr_mult=0.1)}, norm_decay_mult=0.)
        },
        {
            'optim_wrapper.constructor': 'DefaultOptimWrapperConstructor'
        },
        {
            'param_scheduler': [
                dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=5),
                dict(type='CosineAnnealingLR', T_max=10, eta_min=0, convert_to_iter_based=True)
            ]
        },
        {
            'param_scheduler': dict(type='PolyLR', power=1.0, end=10)
        },
        {
            'param_scheduler': dict(head=[dict(type='ConstantLR')])
        },
        {
            'param_scheduler': None,
            'auto_scale_lr': None
        },
        {
            'param_scheduler': dict(type='OneCycleLR', eta_max=0.1, total_steps=10)
        },
        {
            'train_cfg': dict(by_epoch=False, max_iters=10, val_interval=5)
        },
        {
            'train_cfg': dict(type='IterBasedTrainLoop', max_iters=10, dynamic_intervals=[[4, 2]])
        },
        {
            'val_evaluator': dict(type='Accuracy')
        },
        {
            'val_evaluator': dict(type='Evaluator', metrics=[dict(type='Accuracy'),
                                                             dict(type='ConfusionMatrix')])
        },
        {
            'val_evaluator': dict(metrics=dict(type='SingleLabelMetric', items=['precision', 'recall']))
        },
        {
            'visualizer':
            dict(
                type='Visualizer',
                name='v',
                vis_backends=[
                    dict(type='LocalVisBackend'),
                    dict(type='WandbVisBackend', init_kwargs=dict(project='p'))
                ])
        },
        {
            'log_processor': dict(by_epoch=True, window_size=5, custom_cfg=[dict(data_src='loss', method_name='mean')])
        },
        {
            'model_wrapper_cfg': dict(type='MMDistributedDataParallel', find_unused_parameters=True, device_ids=None)
        },
        # variables of the file, some of them named like keys
        {
            'dataset_type': 'Digits',
            'data_root': 'data',
            'train_pipeline': [dict(type='Resize', scale=9)],
            'num_classes': 10
        },
        {
            'test_pipeline': [dict(type='Resize', scale=9)],
            'val_pipeline': [dict(type='CenterCrop', crop_size=1)]
        },
        {
            'train_loader': base()['train_dataloader'],
            'base_model': dict(type='ResNet'),
            'img_norm_cfg': dict(mean=[1])
        },
        {
            'launcher': 'none',
            'load_from': None,
            'resume': True,
            'work_dir': 'w',
            'compile': dict(mode='default')
        },
        {
            'arms': dict(scratch={'optim_wrapper.optimizer.lr': 1})
        },
    ])
def test_what_is_legal_is_let_through(registered: None, changes: dict[str, Any]) -> None:
    validate_config(changed(changes))
