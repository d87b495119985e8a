"""Validation pictures that are training pictures, and settings that contradict each other."""
import logging
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from ftcls.apis.training.loaders import build_datasets
from ftcls.utils import ConfigError


def config(root: Path, **val: object) -> Config:
    """A training and a validation set of eight pictures with masks."""
    for folder, ending in (('images', ''), ('masks', '_mask')):
        (root / folder).mkdir(exist_ok=True)
        for i in range(8):
            Image.fromarray(np.uint8([[0, 255], [255, 0]])).save(root / folder / f'{i}{ending}.png')
    dataset = dict(type='BinarySegDataset', data_root=str(root), split='train', val_fraction=0.5)
    loader = dict(batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False))
    return Config(
        dict(train_dataloader=dict(**loader, dataset=dataset),
             val_dataloader=dict(**loader, dataset={**dataset, 'split': 'val', **val})))  # yapf: disable


def test_parts_that_share_nothing(tmp_path: Path, log_records: list) -> None:
    _, report = build_datasets(config(tmp_path), ['train', 'val'])
    assert report.shared == {'val': 0} and not [r for r in log_records if r[0] >= logging.WARNING]
    assert not [line for line in report.describe() if 'TOO' in line]


def test_pictures_in_both_are_counted_and_warned_of(tmp_path: Path, log_records: list) -> None:
    _, report = build_datasets(config(tmp_path, split=None), ['train', 'val'])
    assert report.shared == {'val': 4}
    assert 'val: 8 samples' in report.describe()[-1] and '4 OF THEM ARE TRAINING IMAGES TOO' in report.describe()[-1]
    warning, = [text for level, text in log_records if level == logging.WARNING]
    assert '4 of its 8 images are in the training set too' in warning


@pytest.mark.parametrize('setting', [dict(split_seed=1), dict(val_fraction=0.25), dict(foreground=255)], ids=str)
def test_contradictions_stop(tmp_path: Path, setting: dict) -> None:
    name, = setting
    with pytest.raises(ConfigError, match=rf'val_dataloader.dataset.{name}: .* but train_dataloader.dataset.{name} is'):
        build_datasets(config(tmp_path, **setting), ['train', 'val'])


def test_class_folders_are_split_alike(tmp_path: Path) -> None:
    for name in ('cat', 'dog'):
        (tmp_path / name).mkdir()
        for i in range(10):
            Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(tmp_path / name / f'{i}.png')
    loader = dict(batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False))
    dataset = dict(type='CustomDataset', data_root=str(tmp_path), val_fraction=0.3)
    cfg = Config(
        {f'{split}_dataloader': dict(**loader, dataset=dict(dataset, split=split))
         for split in ('train', 'val')})
    _, report = build_datasets(cfg, ['train', 'val'])
    assert report.counts == dict(train=dict(cat=7, dog=7), val=dict(cat=3, dog=3)) and report.shared == dict(val=0)
    assert report.describe()[-1] == 'val: 6 samples (cat 3, dog 3); 30 % for val, drawn with split_seed 0'
    cfg.val_dataloader.dataset.val_fraction = 0.2
    with pytest.raises(ConfigError, match='val_dataloader.dataset.val_fraction: 0.2, but'):
        build_datasets(cfg, ['train', 'val'])
