"""One fold of a dataset, or all but one."""
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mmengine.dataset import ClassBalancedDataset
from PIL import Image

from ftcls.datasets import BinarySegDataset, CustomDataset, Digits, KFoldDataset
from ftcls.registry import DATASETS
from ftcls.utils import ConfigError


@pytest.fixture
def folder(class_folders: Callable[..., Path]) -> Path:
    return class_folders(cat=13, dog=7)


def paths(dataset: KFoldDataset) -> list[str]:
    return [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]


@pytest.mark.parametrize('seed', [0, 7, None])
def test_each_image_is_held_out_once(folder: Path, seed: int | None) -> None:
    dataset = CustomDataset(data_root=str(folder))
    held_out: list[str] = []
    for fold in range(4):
        train, val = (
            KFoldDataset(dataset, fold=fold, num_splits=4, seed=seed, test_mode=mode) for mode in (False, True))
        assert not set(paths(train)) & set(paths(val)) and len(train) + len(val) == 20
        counts = Counter(val.get_cat_ids(i)[0] for i in range(len(val)))
        assert counts[0] in (3, 4) and counts[1] in (1, 2) and len(val) == 5
        held_out += paths(val)
    assert sorted(held_out) == sorted(paths(dataset))


def test_it_is_a_dataset_like_its_own(folder: Path) -> None:
    pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
    part = KFoldDataset(
        dict(type='CustomDataset', data_root=str(folder), pipeline=pipeline), fold=1, num_splits=5, seed=0)
    assert part.metainfo['classes'] == ('cat', 'dog') and part.fold == 1
    assert part[3]['data_samples'].img_path == part.get_data_info(3)['img_path']
    assert part.drawn == 'all but fold 1 of 5 (0 to 4), assigned with seed 0'
    assert len(ClassBalancedDataset(dict(type='ftcls.KFoldDataset', dataset=dict(type='ftcls.CustomDataset', data_root=str(folder))),
                                    oversample_thr=0.5)) > 16  # yapf: disable


def test_images_in_memory_and_masks(tmp_path: Path) -> None:
    part = KFoldDataset(Digits(split='train', indices=50), fold=0, num_splits=5, test_mode=True, seed=0)
    assert 8 <= len(part) <= 12
    for name in ('images', 'masks'):
        (tmp_path / name).mkdir()
        for i in range(6):
            Image.fromarray(np.full((4, 4), 255,
                                    np.uint8)).save(tmp_path / name / f'{i}{"_mask" if name == "masks" else ""}.png')
    dataset = BinarySegDataset(str(tmp_path))
    assert [len(KFoldDataset(dataset, fold, 3, test_mode=True, seed=0)) for fold in range(3)] == [2, 2, 2]


@pytest.mark.parametrize('kwargs', [dict(fold=5), dict(fold=-1), dict(num_splits=1)], ids=str)
def test_folds_that_are_not_there(kwargs: dict, folder: Path) -> None:
    with pytest.raises(ConfigError, match=f'{next(iter(kwargs))}={next(iter(kwargs.values()))}'):
        DATASETS.build(dict(type='KFoldDataset', dataset=dict(type='CustomDataset', data_root=str(folder)), **kwargs))
