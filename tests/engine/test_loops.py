"""A run that is resumed within an epoch equals the one that was not stopped, bit by bit."""
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from torch import nn

from ftcls.apis.training.train import TrainOptions, train
from ftcls.models.backbones import LeNet5
from ftcls.registry import MODELS
from ftcls.utils.checkpoint.loading import read_checkpoint


@MODELS.register_module(force=True)
class DropoutLeNet(LeNet5):
    """LeNet-5 whose training draws random numbers in the main process."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(nn.functional.dropout(feature, 0.3, self.training) for feature in super().forward(x))


def recipe(work_dir: Path,
           workers: int = 0,
           checkpoint: dict | None = None,
           hooks: list = (),
           **changes: Any) -> Config:
    """Return a training of 3 epochs with 8 batches of 4 images, or what ``changes`` makes of it."""
    augmenting = [
        dict(type='RandomResizedCrop', scale=32, crop_ratio_range=(0.5, 1.0)),
        dict(type='RandomErasing', erase_prob=0.5, mode='rand'),
        dict(type='PackInputs')
    ]
    resizing = [dict(type='Resize', scale=32), dict(type='PackInputs')]
    loader = dict(num_workers=workers, collate_fn=dict(type='default_collate'))
    images = dict(type='Digits', subset='target', shots_per_class=3)
    cfg = dict(
        model=dict(
            type='ImageClassifier',
            backbone=dict(type='DropoutLeNet', num_classes=-1),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=10, in_channels=120),
            train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8)])),
        data_preprocessor=dict(num_classes=10, mean=[78.], std=[82.], to_rgb=False),
        train_dataloader=dict(
            batch_size=4,
            dataset=dict(split='train', pipeline=augmenting, **images),
            sampler=dict(type='DefaultSampler', shuffle=True),
            **loader),
        val_dataloader=dict(
            batch_size=50,
            dataset=dict(split='val', pipeline=resizing, **images),
            sampler=dict(type='DefaultSampler', shuffle=False),
            **loader),
        val_evaluator=dict(type='Accuracy', topk=(1, )),
        val_cfg=dict(),
        train_cfg=dict(by_epoch=True, max_epochs=3, val_interval=1),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.01)),
        param_scheduler=[
            dict(type='LinearLR', start_factor=0.1, begin=0, end=9, by_epoch=False),
            dict(type='MultiStepLR', milestones=[1, 2], by_epoch=True)
        ],
        default_hooks=dict(
            logger=dict(type='LoggerHook', interval=3),
            checkpoint=dict(
                dict(type='CheckpointHook', by_epoch=False, interval=1, save_best='accuracy/top1'), **checkpoint
                or {})),
        custom_hooks=list(hooks),
        default_scope='ftcls',
        randomness=dict(seed=0),
        work_dir=str(work_dir))
    return Config({**cfg, **changes})


def last_state(folder: Path) -> dict[str, Any]:
    """Return the last checkpoint's weights and optimizer."""
    checkpoint = read_checkpoint((folder / 'last_checkpoint').read_text())
    return {key: checkpoint[key] for key in ('state_dict', 'optimizer', 'param_schedulers') if key in checkpoint}


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other


def resumed_equals(tmp_path: Path, at: int, **settings: Any) -> bool:
    """Tell whether the run that continues from iteration ``at`` of ``whole`` ends as ``whole`` did."""
    folder = tmp_path / f'from_{at}'
    shutil.copytree(tmp_path / 'whole', folder)
    train(recipe(folder, **settings), TrainOptions(resume=str(folder / f'iter_{at}.pth')))
    return equal(last_state(tmp_path / 'whole'), last_state(folder))


@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize('kind', ['plain', 'accumulated'])
def test_resumed_within_an_epoch(tmp_path: Path, workers: int, kind: str) -> None:
    settings = dict(workers=workers)
    if kind == 'accumulated':
        settings |= dict(
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.05, momentum=0.9), accumulative_counts=3),
            hooks=[dict(type='EMAHook')])
    train(recipe(tmp_path / 'whole', **settings))
    for at in (3, 8, 13):
        assert resumed_equals(tmp_path, at, **settings), at
