"""Bits and channels of all files are checked before the first step."""
from pathlib import Path

import cv2
import numpy as np
import pytest

from ftcls.apis.training.data_checks import check_images
from ftcls.apis.training.file_scan import scan_files
from ftcls.datasets import CustomDataset
from ftcls.utils import DataError

RNG = np.random.RandomState(0)


def make_folder(root: Path, deep: tuple[int, ...] = ()) -> None:
    for label in ('a', 'b'):
        (root / label).mkdir(parents=True)
        for i in range(20):
            pixels = RNG.randint(0, 256, (8, 8, 3)) * (16 if i in deep else 1)
            cv2.imwrite(str(root / label / f'{i:02}.png'), pixels.astype(np.uint16 if i in deep else np.uint8))


def dataset(root: Path, **options: object) -> CustomDataset:
    return CustomDataset(data_root=str(root), pipeline=[dict(type='LoadImageFromFile', **options)])


def test_one_deep_image_among_many_is_found_by_its_header(tmp_path: Path) -> None:
    make_folder(tmp_path / 'data', deep=(18, ))
    train = dataset(tmp_path / 'data')
    headers = scan_files({'train': train}, str(tmp_path))[0]
    message = r'train_dataloader.dataset: 38 images have 8 bits .*00.png.* 2 have more .*18.png'
    for options in ({}, dict(value_range=(0, 4095))):
        with pytest.raises(DataError, match=message):
            check_images({'train': dataset(tmp_path / 'data', **options)}, headers)
    check_images({'train': dataset(tmp_path / 'data', color_type='unchanged')}, headers)


def test_images_of_one_kind_pass_and_the_range_is_named(tmp_path: Path) -> None:
    make_folder(tmp_path / 'plain')
    make_folder(tmp_path / 'deep', deep=tuple(range(20)))
    for name, options in (('plain', {}), ('plain', dict(value_range=(20, 200))), ('deep', dict(value_range=(0, 4095)))):
        one = dataset(tmp_path / name, **options)
        lines = check_images({'train': one}, scan_files({'train': one}, str(tmp_path))[0])['train']
    assert lines[0].startswith('8x8 RGB, 16 bit, ') and lines[0].endswith('scaled by value_range=(0, 4095)')
    with pytest.raises(DataError, match=r'train_dataloader.dataset.*RGB, 16 bit.*value_range=\(0, 4095\)'):
        check_images({'train': dataset(tmp_path / 'deep')}, {})


def test_arrays_are_scanned(tmp_path: Path) -> None:
    (tmp_path / 'a').mkdir()
    np.save(tmp_path / 'a' / '0.npy', RNG.randint(0, 9, (8, 9, 6)).astype(np.uint8))
    train = CustomDataset(data_root=str(tmp_path), extensions=['.npy'])
    (header, ) = scan_files({'train': train}, str(tmp_path))[0].values()
    assert (header.width, header.height, header.channels, header.bits, header.fault) == (9, 8, 6, 8, None)
    (tmp_path / 'a' / '0.npy').write_bytes((tmp_path / 'a' / '0.npy').read_bytes()[:-50])
    with pytest.raises(DataError, match='0.npy is broken or cut off'):
        scan_files({'train': train}, str(tmp_path))
