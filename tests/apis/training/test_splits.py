"""Validation images that are training images, and settings that contradict each other."""
import logging
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from ftcls.apis.training.data_checks import check_contents
from ftcls.apis.training.loaders import DataReport, build_datasets
from ftcls.apis.training.train import _build_test_set
from ftcls.utils import ConfigError, DataError


def config(root: Path, **val: object) -> Config:
    """A training and a validation set of eight images with masks."""
    for folder, ending in (('images', ''), ('masks', '_mask')):
        (root / folder).mkdir(exist_ok=True)
        for i in range(8):
            Image.fromarray(np.uint8([[i, 255], [255, 0]])).save(root / folder / f'{i}{ending}.png')
    dataset = dict(type='BinarySegDataset', data_root=str(root), split='train', val_fraction=0.5)
    loader = dict(batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False))
    return Config(
        dict(train_dataloader=dict(**loader, dataset=dataset),
             val_dataloader=dict(**loader, dataset={**dataset, 'split': 'val', **val})))  # yapf: disable


def compare(cfg: Config) -> DataReport:
    datasets, report = build_datasets(cfg, ['train', 'val'])
    check_contents(cfg, datasets, report)
    return report


def test_parts_that_share_nothing(tmp_path: Path, log_records: list) -> None:
    report = compare(config(tmp_path))
    assert not report.notes and not [r for r in log_records if r[0] >= logging.WARNING]
    assert not [line for line in report.describe() if 'TOO' in line]


def test_images_in_both_are_counted_and_warned_of(tmp_path: Path, log_records: list) -> None:
    report = compare(config(tmp_path, split=None))
    assert report.notes == ['val: TRAINING IMAGES TOO: 4 OF 8 IMAGES'] == report.describe()[-1:]
    warning, = [text for level, text in log_records if level == logging.WARNING]
    assert 'val_dataloader.dataset: training images too: 4 of 8 images' in warning and '.png = ' in warning
    assert "if both read one folder, set split='train' and 'val'" in warning


def test_copies_under_other_names_are_counted(tmp_path: Path, log_records: list) -> None:
    cfg = config(tmp_path)
    for path in (tmp_path / 'images').glob('*.png'):
        path.write_bytes((tmp_path / 'images' / '0.png').read_bytes())
    cfg.allow_shared_images = True
    assert 'val: TRAINING IMAGES TOO: 4 OF 4 IMAGES' in compare(cfg).notes
    warning, = [text for level, text in log_records if level == logging.WARNING and 'training images too' in text]
    assert 'each is there twice, in two files; leave one out with exclude=' in warning and 'set split' not in warning


def test_a_validation_set_inside_the_training_set_is_refused(tmp_path: Path) -> None:
    cfg = config(tmp_path, split='train')
    with pytest.raises(DataError, match='val_dataloader.dataset: .* 4 of 4 .*allow_shared_images=True'):
        compare(cfg)
    cfg.allow_shared_images = True
    assert compare(cfg).notes == ['val: TRAINING IMAGES TOO: 4 OF 4 IMAGES']


def test_one_image_with_two_labels(tmp_path: Path, log_records: list) -> None:
    cfg = classes_of(tmp_path)
    for split in ('train', 'val'):
        cfg[f'{split}_dataloader'].dataset.update(split='train')
    (tmp_path / 'dog' / '0.png').write_bytes((tmp_path / 'cat' / '0.png').read_bytes())
    del cfg.train_dataloader.dataset['split'], cfg.train_dataloader.dataset['val_fraction']
    datasets, report = build_datasets(cfg, ['train'])
    check_contents(cfg, datasets, report)
    assert report.notes == ['train: THERE AGAIN WITH ANOTHER LABEL OR MASK: 1 OF 20 IMAGES']
    warning, = [text for level, text in log_records if level == logging.WARNING]
    assert 'another label or mask: 1 of 20' in warning and 'cat/0.png' in warning and 'dog/0.png' in warning


def test_a_test_set_is_compared_too(tmp_path: Path, log_records: list) -> None:
    cfg = classes_of(tmp_path)
    cfg.test_dataloader = cfg.val_dataloader
    datasets, report = build_datasets(cfg, ['train', 'val'])
    assert _build_test_set(cfg, report) == {}
    cfg.test_dataloader = dict(cfg.val_dataloader, dataset=dict(cfg.val_dataloader.dataset, split=None))
    del cfg.test_dataloader.dataset['val_fraction']
    check_contents(cfg, {**datasets, **_build_test_set(cfg, report)}, report)
    assert report.notes == ['test: TRAINING IMAGES TOO: 14 OF 20 IMAGES']
    assert 'test_dataloader.dataset: training images too: 14 of 20' in log_records[-1][1]
    cfg.test_dataloader.dataset.data_root = str(tmp_path / 'nowhere')
    assert _build_test_set(cfg, report) == {} and 'nowhere' in report.notes[-1]


def test_a_foreign_dataset_is_said_not_to_be_compared(tmp_path: Path) -> None:
    cfg = classes_of(tmp_path)
    datasets, report = build_datasets(cfg, ['train'])
    check_contents(cfg, dict(datasets, val=[(0, 0)]), report)
    assert report.notes == ['val: images not compared, since the dataset has no get_data_info']


def test_too_many_images_are_not_compared_and_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('ftcls.apis.training.data_checks.MOST_COMPARED', 7)
    assert 'not compared' in compare(config(tmp_path, split=None)).describe()[-1]


@pytest.mark.parametrize('setting', [dict(split_seed=1), dict(val_fraction=0.25)], ids=str)
def test_contradictions_stop(tmp_path: Path, setting: dict) -> None:
    name, = setting
    with pytest.raises(ConfigError, match=rf'val_dataloader.dataset.{name}: .* but train_dataloader.dataset.{name} is'):
        build_datasets(config(tmp_path, **setting), ['train', 'val'])


def classes_of(tmp_path: Path) -> Config:
    """Two classes of ten images, of which three validate."""
    for number, name in enumerate(('cat', 'dog')):
        (tmp_path / name).mkdir()
        for i in range(10):
            Image.fromarray(np.full((2, 2, 3), 10 * number + i, np.uint8)).save(tmp_path / name / f'{i}.png')
    loader = dict(batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False))
    dataset = dict(type='CustomDataset', data_root=str(tmp_path), val_fraction=0.3)
    return Config(
        {f'{split}_dataloader': dict(**loader, dataset=dict(dataset, split=split))
         for split in ('train', 'val')})


def test_class_folders_are_split_alike(tmp_path: Path) -> None:
    cfg = classes_of(tmp_path)
    report = compare(cfg)
    assert report.counts == dict(train=dict(cat=7, dog=7), val=dict(cat=3, dog=3)) and not report.notes
    assert report.describe()[-1] == 'val: 6 samples (cat 3, dog 3); 30 % for val, drawn with split_seed 0'
    cfg.val_dataloader.dataset.val_fraction = 0.2
    with pytest.raises(ConfigError, match='val_dataloader.dataset.val_fraction: 0.2, but'):
        build_datasets(cfg, ['train', 'val'])
