"""ImageNet's layout with empty images."""
from pathlib import Path

import pytest
from torchvision.models import ResNet50_Weights

from ftcls.datasets import ImageNet
from ftcls.registry import DATASETS
from ftcls.utils import ConfigError, DataError


@pytest.fixture(scope='module')
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1,000 folders in train with one file each; val as one folder with a list."""
    root = tmp_path_factory.mktemp('imagenet')
    for index in range(1000):
        folder = root / 'train' / f'n{index:08d}'
        folder.mkdir(parents=True)
        (folder / 'a.JPEG').touch()
    (root / 'val').mkdir()
    (root / 'meta').mkdir()
    (root / 'val' / 'x.JPEG').touch()
    (root / 'meta' / 'val.txt').write_text('x.JPEG 65\n')
    return root


def test_names_are_torchvisions(root: Path) -> None:
    names = tuple(ResNet50_Weights.DEFAULT.meta['categories'])
    train = ImageNet(data_root=str(root), split='train')
    assert train.CLASSES == names and len(set(names)) == 1000
    assert train.get_gt_labels().tolist() == list(range(1000))
    val = ImageNet(data_root=str(root), split='val', classes=names)
    assert val.get_gt_labels().tolist() == [65] and val.CLASSES == names


def test_given_names_pick_folders(root: Path) -> None:
    dataset = ImageNet(data_root=str(root), split='train', classes=['goldfish', 'tench'])
    assert dataset.get_gt_labels().tolist() == [1, 0] and len(dataset.ignored_classes) == 998
    ids = ImageNet(data_root=str(root), split='train', classes=['n00000007', 'n00000003'])
    assert ids.get_gt_labels().tolist() == [1, 0]


def test_part_of_the_folders(root: Path, tmp_path: Path) -> None:
    for name in ('n00000003', 'n00000007'):
        (tmp_path / 'train' / name).mkdir(parents=True)
        (tmp_path / 'train' / name / 'a.JPEG').touch()
    with pytest.raises(DataError, match='2 folders named by WordNet ids.*needs all 1000'):
        ImageNet(data_root=str(tmp_path), split='train')
    assert len(ImageNet(data_root=str(tmp_path), split='train', classes=['n00000007'])) == 1


def test_test_split_has_no_labels(root: Path) -> None:
    (root / 'test').mkdir()
    (root / 'test' / 'y.JPEG').touch()
    assert 'gt_label' not in ImageNet(data_root=str(root), split='test').get_data_info(0)
    with pytest.raises(ConfigError, match="did you mean 'train'"):
        DATASETS.build(dict(type='ImageNet', data_root=str(root), split='trian'))
