"""A config with a little of everything, and what the check of a changed one says."""
import copy
from typing import Any

import pytest
from mmengine.config import Config

from ftcls.config.validation import validate_config
from ftcls.utils import ConfigError

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
