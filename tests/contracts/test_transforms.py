"""What every registered transform promises; a new one is found in the registry."""
import inspect
import re

import numpy as np
import pytest
import torch

import ftcls.datasets  # noqa: F401 (registers them)
from ftcls.datasets.transforms import BaseTransform
from ftcls.registry import TRANSFORMS
from ftcls.utils import ConfigError

NAMES = sorted(TRANSFORMS.module_dict)
# Arguments of those that cannot be built without any.
ARGUMENTS = {
    'CenterCrop': dict(crop_size=8), 'CornerCrop': dict(crop_size=8),
    'TestTimeAug': dict(transforms=[[dict(type='PackInputs')]]), 'Normalize': dict(mean=[1.] * 3, std=[2.] * 3), 'Pad': dict(size=40),
    'RandomCrop': dict(crop_size=8), 'RandomResizedCrop': dict(scale=8), 'Resize': dict(scale=8),
    'ResizeEdge': dict(scale=8), 'torchvision/CenterCrop': dict(size=8),
    'torchvision/Compose': dict(transforms=[dict(type='RandomInvert', p=1.)]),
    'torchvision/GaussianBlur': dict(kernel_size=3), 'torchvision/Normalize': dict(mean=[1.] * 3, std=[2.] * 3),
    'torchvision/Pad': dict(padding=2), 'torchvision/RandomAdjustSharpness': dict(sharpness_factor=2.),
    'torchvision/RandomAffine': dict(degrees=20), 'torchvision/RandomApply': dict(transforms=[dict(type='RandomInvert')]),
    'torchvision/RandomChoice': dict(transforms=[dict(type='RandomInvert')]), 'torchvision/RandomCrop': dict(size=8),
    'torchvision/RandomOrder': dict(transforms=[dict(type='RandomInvert')]),
    'torchvision/RandomPosterize': dict(bits=3), 'torchvision/RandomResize': dict(min_size=8, max_size=16),
    'torchvision/RandomResizedCrop': dict(size=8), 'torchvision/RandomRotation': dict(degrees=20),
    'torchvision/RandomShortestSize': dict(min_size=8), 'torchvision/RandomSolarize': dict(threshold=128),
    'torchvision/Resize': dict(size=8), 'torchvision/ScaleJitter': dict(target_size=[8, 8]),
    'torchvision/JPEG': dict(quality=50), 'torchvision/ToDtype': dict(dtype='float32', scale=True),
}  # yapf: disable
# These read other keys than an image, or take images of floats only.
FLOATS = ('torchvision/Normalize', 'torchvision/GaussianNoise')
OTHER_INPUT = ('LoadImageFromFile', 'TestTimeAug')  # the latter gives several samples
# torchvision refuses to move a mask along with these.
NO_MASK = ('torchvision/AugMix', 'torchvision/AutoAugment', 'torchvision/RandAugment', 'torchvision/TrivialAugmentWide')


def build(name: str) -> BaseTransform:
    return TRANSFORMS.build({'type': name, **ARGUMENTS.get(name, {})})


def sample(name: str, order: str) -> dict:
    rng = np.random.RandomState(0)
    img = rng.randint(0, 256, (24, 32, 3), dtype=np.uint8)
    if name in FLOATS:
        img = img.astype(np.float32) / 255
    mask = rng.randint(0, 2, (24, 32), dtype=np.uint8)
    return {'img': img, 'gt_mask': mask, 'channel_order': order, 'gt_label': 1, 'img_shape': (24, 32), 'sample_idx': 0}


@pytest.mark.parametrize('name', NAMES)
def test_lists_its_keys(name: str) -> None:
    cls = TRANSFORMS.get(name)
    assert issubclass(cls, BaseTransform)
    doc = inspect.getdoc(cls)
    for word in ('reads', 'adds', 'removes'):
        assert re.search(rf'^- .*{word}.*:', doc, flags=re.MULTILINE), f'{name} does not say which keys it {word}'


@pytest.mark.parametrize('order', ['bgr', 'rgb'])
@pytest.mark.parametrize('name', [name for name in NAMES if name not in OTHER_INPUT])
def test_sample_in_sample_out(name: str, order: str) -> None:
    transform = build(name)
    data = sample(name, order)
    if name in NO_MASK:
        with pytest.raises(ConfigError, match='Mask'):
            transform(data)
        del data['gt_mask']
    before = {key: np.copy(value) for key, value in data.items()}
    torch.manual_seed(0)
    np.random.seed(0)
    out = transform(data)
    assert repr(transform)
    assert set(data) == set(before)
    for key, value in before.items():
        assert np.array_equal(data[key], value), f'{name} changed {key!r} of the sample that it was given'
    if 'inputs' in out:
        assert out['inputs'].shape == (3, 24, 32)
        return
    assert isinstance(out['img'], np.ndarray) and out['img'].ndim == 3
    assert out['img_shape'] == out['img'].shape[:2]
    if name not in NO_MASK:
        assert out['gt_mask'].shape == out['img_shape'] and out['gt_mask'].dtype == np.uint8
        assert set(np.unique(out['gt_mask'])) <= {0, 1, 255}
    assert out['gt_label'] == 1 and out['channel_order'] in ('bgr', 'rgb')
    torch.manual_seed(0)
    np.random.seed(0)
    assert np.array_equal(transform(data)['img'], out['img']), f'{name} does not heed the seeds'


@pytest.mark.parametrize('name', NAMES)
def test_says_what_is_missing(name: str) -> None:
    with pytest.raises(ConfigError, match='img'):
        build(name)({'gt_label': 0})
