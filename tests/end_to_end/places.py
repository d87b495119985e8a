"""A place where a small training would run, for cases to spoil; `test_wrong_inputs.py` runs them.

A case is a function that takes a place in which all is well, makes something wrong, and returns the arguments to add to
``tools/train.py CONFIG``, or, beginning with ``train`` or ``test``, a whole command line.
"""
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from ftcls.registry import MODELS

__all__ = ['CASES', 'Case', 'Place', 'make_place', 'wrong']

_CONFIG = '''
train_pipeline = [dict(type='LoadImageFromFile'), dict(type='RandomFlip', prob=0.5), dict(type='PackInputs')]
test_pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
model = dict(
    type='ImageClassifier',
    backbone=dict(type='CifarResNet', depth=20),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=2, in_channels=64, loss=dict(type='CrossEntropyLoss')))
data_preprocessor = dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5], to_rgb=True)
loader = dict(batch_size=2, num_workers=0, collate_fn=dict(type='default_collate'))
train_dataloader = dict(
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='CustomDataset', data_root='data', data_prefix='train', pipeline=train_pipeline), **loader)
val_dataloader = dict(
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='CustomDataset', data_root='data', data_prefix='val', pipeline=test_pipeline), **loader)
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=(1, ))
test_evaluator = val_evaluator
train_cfg = dict(by_epoch=True, max_epochs=1)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9))
param_scheduler = dict(type='MultiStepLR', milestones=[1], gamma=0.1)
auto_scale_lr = dict(base_batch_size=2)
default_hooks = dict(checkpoint=dict(type='CheckpointHook', interval=1, save_best='auto'))
randomness = dict(seed=0)
'''
_LENET = "backbone=dict(type='LeNet5', num_classes=2, in_channels=3)"


@dataclass
class Place:
    """A folder with a config, pictures of ants and bees, and weights; all of it right."""
    folder: Path

    @property
    def config(self) -> Path:
        """The config file."""
        return self.folder / 'config.py'

    def edit(self, old: str, new: str) -> None:
        """Exchange a piece of the config, which must be there."""
        text = self.config.read_text()
        assert old in text, old
        self.config.write_text(text.replace(old, new))

    def add(self, line: str) -> None:
        """Add a line at the end of the config."""
        self.config.write_text(self.config.read_text() + line + '\n')

    def pretrained(self, name: str, content: bytes | dict | None = None, prefix: str = 'backbone') -> None:
        """Let the backbone start from a file, which is written where content is given."""
        if isinstance(content, bytes):
            (self.folder / name).write_bytes(content)
        elif content is not None:
            torch.save(content, self.folder / name)
        self.edit('depth=20', f'depth=20, init_cfg=dict(type="Pretrained", checkpoint="{name}", prefix="{prefix}")')

    def lenet(self) -> None:
        """Take LeNet-5, which wants 32x32 pixels, for the model."""
        self.edit("backbone=dict(type='CifarResNet', depth=20)", _LENET)
        self.edit("neck=dict(type='GlobalAveragePooling')", 'neck=None')
        self.edit("head=dict(type='LinearClsHead', num_classes=2, in_channels=64,", "head=dict(type='ClsHead',")
        self.edit("dict(type='LoadImageFromFile')", "dict(type='LoadImageFromFile'), dict(type='Resize', scale=32)")

    def weights(self) -> dict:
        """The whole model's weights, by name."""
        return torch.load(self.folder / 'good.pth', weights_only=True)


@dataclass(frozen=True)
class Case:
    """One wrong input: ``spoil`` prepares it, ``parts`` are what the message must contain."""
    name: str
    parts: tuple[str, ...]
    spoil: Callable[[Place], list[str] | None]


CASES: list[Case] = []


def wrong(*parts: str) -> Callable:
    """Add a function to the cases."""

    def add(spoil: Callable[[Place], list[str] | None]) -> Callable:
        CASES.append(Case(spoil.__name__, parts, spoil))
        return spoil

    return add


def make_place(folder: Path) -> Place:
    """Make the place that cases spoil copies of."""
    rng = np.random.RandomState(0)
    for split, count in (('train', 3), ('val', 2)):
        for name, level in (('ant', 60), ('bee', 190)):
            (folder / 'data' / split / name).mkdir(parents=True)
            for i in range(count):
                picture = np.clip(rng.normal(level, 20, (12, 12, 3)), 0, 255).astype(np.uint8)
                cv2.imwrite(str(folder / 'data' / split / name / f'{i}.png'), picture)
    place = Place(folder)
    place.config.write_text(_CONFIG)
    torch.manual_seed(0)
    parts = dict(
        backbone=dict(type='CifarResNet', depth=20), neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=2, in_channels=64))  # yapf: disable
    torch.save(MODELS.build(dict(type='ImageClassifier', **parts)).state_dict(), folder / 'good.pth')
    return place
