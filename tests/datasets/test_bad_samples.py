"""Samples whose files cannot be used: found at the start, skipped on request up to a limit, replaced within the fold."""
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import ConcatDataset, RepeatDataset
from PIL import Image
from torch.utils.data import DataLoader, Subset

from ftcls.datasets import BinarySegDataset, CustomDataset, KFoldDataset
from ftcls.datasets.bad_samples import IS_BAD, IS_DAMAGED
from ftcls.datasets.transforms.decoder_errors import DAMAGED, noted_errors
from ftcls.datasets.wrappers import iter_samples
from ftcls.utils import DataError

RNG = np.random.default_rng(0)
PIPELINE = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]


def image(size: int = 24) -> Image.Image:
    return Image.fromarray(RNG.integers(0, 256, (size, size, 3), dtype=np.uint8))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ('ant', 'bee'):
        (tmp_path / name).mkdir()
        for number in range(6):
            image().save(tmp_path / name / f'{number}.png')
    return tmp_path


def broken_inside(path: Path) -> None:
    """Spoil the compressed data; header and end stay."""
    data = path.read_bytes()
    path.write_bytes(data[:300] + bytes(100) + data[400:])


def build(folder: Path, **settings) -> CustomDataset:
    return CustomDataset(data_root=str(folder), pipeline=PIPELINE, **settings)


def test_samples_are_left_out_at_the_start(folder):
    (folder / 'ant' / '2.png').write_bytes(b'')
    dataset = build(folder, on_bad_sample='skip')
    assert len(dataset) == 11 and dataset.class_counts() == dict(ant=5, bee=6)
    assert dataset.left_out == {str(folder / 'ant' / '2.png'): 'is empty (0 bytes)'}
    assert len(build(folder)) == 12 and len(build(folder, on_bad_sample='skip', check=False)) == 12


@pytest.mark.parametrize(('limit', 'stops'), [(1, True), (0.1, True), (2, False), (0.2, False)])
def test_limit(folder, limit, stops):
    for number in (1, 2):
        (folder / 'ant' / f'{number}.png').write_bytes(b'')
    if not stops:
        assert len(build(folder, on_bad_sample='skip', bad_sample_limit=limit)) == 10
        return
    with pytest.raises(DataError, match=rf'2 of 12 samples.*bad_sample_limit={limit}.*1\.png is empty'):
        build(folder, on_bad_sample='skip', bad_sample_limit=limit)


def test_all_samples_are_bad(folder):
    for path in folder.glob('*/*.png'):
        path.write_bytes(b'')
    with pytest.raises(DataError, match='12 of 12 samples cannot be used'):
        build(folder, on_bad_sample='skip', bad_sample_limit=100)


def test_validation_leaves_out_what_cannot_be_decoded(folder):
    broken_inside(folder / 'bee' / '0.png')
    dataset = build(folder, on_bad_sample='skip', test_mode=True)
    assert len(dataset) == 11 and 'cannot be decoded' in dataset.left_out[str(folder / 'bee' / '0.png')]
    with pytest.raises(DataError, match=r'bee.0\.png'):
        list(build(folder, test_mode=True))


def test_a_split_is_the_same_with_and_without_bad_files(folder):
    before = {split: build(folder, split=split).get_gt_labels().size for split in ('train', 'val')}
    names = {info['img_path'] for info in iter_samples(build(folder, split='val'))}
    bad = folder / 'ant' / '3.png'
    bad.write_bytes(b'')
    after = {split: build(folder, split=split, on_bad_sample='skip') for split in ('train', 'val')}
    assert sum(map(len, after.values())) == sum(before.values()) - 1
    assert {info['img_path'] for info in iter_samples(after['val'])} == names - {str(bad)}


@pytest.mark.parametrize('pipeline', [PIPELINE, [dict(type='LoadImageFromFile', ignore_empty=True), PIPELINE[1]]])
@pytest.mark.parametrize('workers', [0, 2])
def test_training_replaces_what_cannot_be_read(folder, workers, pipeline):
    """Also by MMClassification's ``ignore_empty``; workers count together, and over the epochs."""
    broken_inside(folder / 'bee' / '0.png')
    settings = {} if 'ignore_empty' in pipeline[0] else dict(on_bad_sample='skip')
    dataset = CustomDataset(data_root=str(folder), pipeline=pipeline, **settings)
    for _ in range(2):
        assert len(list(DataLoader(dataset, batch_size=None, num_workers=workers))) == 12
    assert torch.nonzero(dataset.marks == IS_BAD).flatten().tolist() == [6]
    broken_inside(folder / 'bee' / '1.png')
    with pytest.raises(DataError, match='2 of 12 samples cannot be used .bad_sample_limit=0.01'):
        list(DataLoader(dataset, batch_size=None, num_workers=workers))


def test_another_sample_is_drawn_within_the_folds(folder):
    part = KFoldDataset(build(folder, on_bad_sample='skip'), fold=0, num_splits=2, seed=0)
    broken_inside(Path(part.get_data_info(0)['img_path']))
    allowed = {part.get_data_info(index)['img_path'] for index in range(len(part))}
    drawn = {part[0]['data_samples'].img_path for _ in range(30)}
    assert drawn < allowed


def damage(path: Path) -> None:
    image(96).save(path, quality=90)
    data = path.read_bytes()
    path.write_bytes(data[:len(data) // 2] + b'\xff\xd9')


@pytest.mark.parametrize('workers', [0, 2])
def test_a_damaged_image_that_decodes_is_marked(folder, workers):
    damage(folder / 'bee' / '9.jpg')
    dataset = build(folder)
    list(DataLoader(dataset, batch_size=None, num_workers=workers))
    assert torch.nonzero(dataset.marks == IS_DAMAGED).flatten().tolist() == [12]


def test_what_decoders_say_is_noted_once_and_other_lines_pass(folder, capfd):
    damage(folder / 'a.jpg')
    data = np.frombuffer((folder / 'a.jpg').read_bytes(), np.uint8)
    DAMAGED.clear()
    with noted_errors('a.jpg'):
        assert cv2.imdecode(data, cv2.IMREAD_COLOR) is not None
    assert 'premature end' in DAMAGED.pop('a.jpg') and capfd.readouterr().err == ''
    with noted_errors('b.jpg'):
        os.write(2, b'of another thread')
    assert not DAMAGED and 'of another thread' in capfd.readouterr().err


def test_files_of_wrappers(folder):
    dataset = build(folder)
    paths = [info['img_path'] for info in iter_samples(dataset)]
    assert [info['img_path'] for info in iter_samples(Subset(dataset, [3, 1]))] == [paths[3], paths[1]]
    assert len(list(iter_samples(ConcatDataset([dataset, dataset])))) == 24
    assert len(list(iter_samples(RepeatDataset(dataset, 2)))) == 12
    folds = [KFoldDataset(dataset, fold=0, num_splits=3, test_mode=mode) for mode in (True, False)]
    assert sorted(info['img_path'] for part in folds for info in iter_samples(part)) == sorted(paths)


def test_masks_are_files_too(tmp_path):
    for name in ('images/0.png', 'images/1.png', 'masks/0_mask.png', 'masks/1_mask.png'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        image().convert('1' if 'mask' in name else 'RGB').save(tmp_path / name)
    (tmp_path / 'masks' / '1_mask.png').write_bytes(b'')
    dataset = BinarySegDataset(data_root=str(tmp_path), on_bad_sample='skip')
    assert len(dataset) == 1 and list(dataset.left_out) == [str(tmp_path / 'masks' / '1_mask.png')]
