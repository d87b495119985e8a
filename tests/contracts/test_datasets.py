"""What every registered dataset promises; a new one is found in the registry and needs a recipe for tiny data."""
import inspect
import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from published_folders import FOLDERS, write_cub, write_voc

import ftcls.datasets  # noqa: F401 (registers them)
from ftcls.datasets import BaseDataset
from ftcls.registry import DATASETS
from ftcls.structures import DataSample

# These have masks for labels.
MASKED = ('BinarySegDataset', 'CarvanaDataset')
# These have any number of labels per image.
MULTI_LABEL = ('DigitPairs', 'MultiLabelDataset', 'VOC')
NAMES = sorted(name for name, cls in DATASETS.module_dict.items() if issubclass(cls, BaseDataset))
RNG = np.random.RandomState(0)


def _images(root: Path) -> None:
    for index, name in enumerate(('ant/1.png', 'ant/2.png', 'bee/1.png')):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((12, 10, 3), 40 * index, np.uint8)).save(root / name)


def _custom(root: Path) -> dict:
    _images(root)
    return {'data_root': str(root)}


def _imagenet(root: Path) -> dict:
    _images(root / 'train')
    return {'data_root': str(root), 'split': 'train', 'classes': ['ant', 'bee']}


def _annotated(root: Path) -> dict:
    _images(root)
    samples = [{'img_path': 'ant/1.png', 'gt_label': 0}, {'img_path': 'bee/1.png', 'gt_label': 1}]
    (root / 'ann.json').write_text(json.dumps({'metainfo': {'classes': ['ant', 'bee']}, 'data_list': samples}))
    return {'data_root': str(root), 'ann_file': 'ann.json'}


def _labelled(root: Path) -> dict:
    _images(root)
    (root / 'ann.csv').write_text('path,labels\nant/1.png,ant;six legs\nant/2.png,\nbee/1.png,bee;six legs\n')
    return {'data_root': str(root), 'ann_file': 'ann.csv', 'other_labels': 'ignore'}


def _cifar(key: str, *names: str) -> Callable[[Path], dict]:

    def write(root: Path) -> dict:
        for name in names:
            batch = {'data': RNG.randint(0, 256, (2, 3072), dtype=np.uint8), key: [3, 1]}
            (root / name).write_bytes(pickle.dumps(batch))
        return {'data_root': str(root), 'verify': False}

    return write


def _mnist(root: Path) -> dict:
    for name, array in (('images-idx3', np.zeros((2, 28, 28))), ('labels-idx1', np.array([1, 4]))):
        head = struct.pack(f'>I{array.ndim}I', 0x800 + array.ndim, *array.shape)
        (root / f'train-{name}-ubyte').write_bytes(head + array.astype(np.uint8).tobytes())
    return {'data_root': str(root), 'verify': False}


def _masks(ending: str) -> Callable[[Path], dict]:

    def write(root: Path) -> dict:
        for folder, suffix in (('imgs', '.png'), ('masks', f'_mask{ending}')):
            (root / folder).mkdir()
            for stem in 'abcd':
                Image.fromarray(np.full((12, 10), 255, np.uint8)).save(root / folder / f'{stem}{suffix}')
        return {'data_root': str(root), 'img_dir': 'imgs', 'pipeline': [dict(type='LoadImageFromFile')]}

    return write


def _published(write: Callable[[Path], None]) -> Callable[[Path], dict]:

    def recipe(root: Path) -> dict:
        write(root)
        return {'data_root': str(root)}

    return recipe


RECIPES: dict[str, Callable[[Path], dict]] = {
    'BaseDataset': _annotated,
    'BinarySegDataset': _masks('.png'),
    'CUB': _published(write_cub),
    'CIFAR10': _cifar('labels', *(f'data_batch_{number}' for number in range(1, 6))),
    'CIFAR100': _cifar('fine_labels', 'train'),
    'CarvanaDataset': _masks('.gif'),
    'CustomDataset': _custom,
    'DigitPairs': lambda root: {
        'pairs': 200
    },
    'Digits': lambda root: {},
    'FashionMNIST': _mnist,
    'ImageNet': _imagenet,
    'ImageNet21k': _imagenet,
    'MNIST': _mnist,
    'MultiLabelDataset': _labelled,
    'VOC': _published(write_voc),
    **{
        name: _published(write)
        for name, write in FOLDERS.items()
    },
}


@pytest.fixture(params=[name for name in NAMES if name not in MASKED])
def build(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., BaseDataset]:
    """Builds the dataset from its recipe, with arguments changed."""
    if request.param not in RECIPES:
        pytest.fail(f'{request.param} is registered but has no recipe for tiny data in this file')
    arguments = RECIPES[request.param](tmp_path)
    return lambda **kwargs: DATASETS.build({'type': request.param, **arguments, **kwargs})


@pytest.mark.parametrize('name', NAMES)
def test_is_documented(name: str) -> None:
    cls = DATASETS.get(name)
    doc = inspect.getdoc(cls)
    assert doc and doc != inspect.getdoc(BaseDataset) or cls is BaseDataset
    for parameter in inspect.signature(cls).parameters.values():
        assert parameter.annotation is not inspect.Parameter.empty, parameter


def test_labels_and_counts_agree(build: Callable[..., BaseDataset]) -> None:
    dataset = build()
    classes = dataset.metainfo['classes']
    assert isinstance(classes, tuple) and classes == dataset.CLASSES and len(set(classes)) == len(classes)
    assert dataset.ignored_classes == [] and type(dataset).__name__ in repr(dataset)
    counts = dataset.class_counts()
    assert tuple(counts) == classes
    of_sample = [dataset.get_cat_ids(index) for index in range(len(dataset))]
    assert list(counts.values()) == np.bincount(sum(of_sample, []), minlength=len(classes)).tolist()
    assert dataset.multi_label == (type(dataset).__name__ in MULTI_LABEL)
    if dataset.multi_label:
        assert {0, 2} <= {len(labels) for labels in of_sample}
        return
    labels = dataset.get_gt_labels()
    assert labels.dtype == np.int64 and labels.shape == (len(dataset), )
    assert labels.min() >= 0 and labels.max() < len(classes)
    assert of_sample == [[label] for label in labels]


def test_samples_and_packed_samples(build: Callable[..., BaseDataset]) -> None:
    dataset = build()
    load = [] if 'img' in dataset.get_data_info(0) else [dict(type='LoadImageFromFile')]
    sample = build(pipeline=load)[0]
    img = sample['img']
    assert img.dtype == np.uint8 and img.ndim == 3 and sample['channel_order'] in ('bgr', 'rgb')
    assert sample['img_shape'] == sample['ori_shape'] == img.shape[:2] and sample['sample_idx'] == 0
    packed = build(pipeline=[*load, dict(type='PackInputs')])[0]
    assert set(packed) == {'inputs', 'data_samples'} and isinstance(packed['data_samples'], DataSample)
    assert packed['inputs'].dtype == torch.uint8 and (packed['inputs'].numpy() == img.transpose(2, 0, 1)).all()
    assert packed['data_samples'].gt_label.tolist() == dataset.get_cat_ids(0)
    assert packed['data_samples'].channel_order == sample['channel_order']


def test_classes_are_matched_by_name(build: Callable[..., BaseDataset]) -> None:
    whole = build()
    present = [name for name, count in whole.class_counts().items() if count]
    given = [*present[:0:-1], 'never seen']  # in another order, the first one left out, one that the data has not
    dataset = build(classes=given)
    assert dataset.CLASSES == tuple(given)
    assert present[0] in dataset.ignored_classes and 'never seen' not in dataset.ignored_classes
    assert dataset.class_counts() == {name: whole.class_counts().get(name, 0) for name in given}


def test_lazy_init_reads_nothing(build: Callable[..., BaseDataset]) -> None:
    assert not build(lazy_init=True)._fully_initialized


@pytest.mark.parametrize('name', MASKED)
def test_masks_in_place_of_labels(name: str, tmp_path: Path) -> None:
    arguments = {**RECIPES[name](tmp_path), 'pipeline': [
        dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]}  # yapf: disable
    dataset = DATASETS.build({'type': name, **arguments})
    assert dataset.metainfo['classes'] == ('background', 'foreground') and dataset.class_counts() is None
    packed = dataset[0]
    assert packed['inputs'].dtype == packed['data_samples'].gt_mask.dtype == torch.uint8
    assert packed['data_samples'].gt_mask.shape == packed['inputs'].shape[1:]
    assert not DATASETS.build({'type': name, **arguments, 'lazy_init': True})._fully_initialized
