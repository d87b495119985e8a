"""torchvision's v2 transforms by name."""
import inspect

import numpy as np
import pytest
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from ftcls.datasets.transforms import PackInputs
from ftcls.registry import TRANSFORMS
from ftcls.utils import ConfigError

RNG = np.random.RandomState(0)
RGB = RNG.randint(0, 256, (24, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize('config, direct', [
    (dict(type='torchvision/ColorJitter', brightness=0.5, hue=0.2), v2.ColorJitter(brightness=0.5, hue=0.2)),
    (dict(type='torchvision/Resize', size=[12, 16], interpolation='bicubic'),
     v2.Resize([12, 16], interpolation=v2.InterpolationMode.BICUBIC)),
    (dict(type='torchvision/RandomApply', transforms=[dict(type='GaussianBlur', kernel_size=3)], p=1.),
     v2.RandomApply([v2.GaussianBlur(3)], p=1.)),
    (dict(type='torchvision/ToDtype', dtype='float32', scale=True), v2.ToDtype(torch.float32, scale=True)),
    (dict(type='torchvision/RandAugment'), v2.RandAugment()),
])  # yapf: disable
def test_is_the_transform_itself_whatever_the_order(config: dict, direct: v2.Transform) -> None:
    transform = TRANSFORMS.build(config)
    for order in ('rgb', 'bgr'):
        img = RGB if order == 'rgb' else np.ascontiguousarray(RGB[..., ::-1])
        torch.manual_seed(1)
        out = transform({'img': img, 'channel_order': order})
        torch.manual_seed(1)
        expected = direct(tv_tensors.Image(torch.tensor(RGB.transpose(2, 0, 1)))).numpy().transpose(1, 2, 0)
        assert out['img'].dtype == expected.dtype and out['img_shape'] == expected.shape[:2]
        assert (out['img'] == (expected if order == 'rgb' else expected[..., ::-1])).all()
        assert PackInputs()(out)['inputs'].shape == (3, *expected.shape[:2])


def test_mask_moves_along() -> None:
    mask = (RGB[..., 2] > 127).astype(np.uint8)
    out = TRANSFORMS.build(dict(type='torchvision/RandomAffine', degrees=0, translate=(0.3, 0.3)))({
        'img': RGB, 'gt_mask': mask, 'channel_order': 'rgb'
    })  # yapf: disable
    assert out['gt_mask'].dtype == np.uint8 and out['gt_mask'].shape == (24, 32)
    known = out['gt_mask'] != 255  # where there is no picture, nothing is known
    assert known.any() and ((out['img'][..., 2] > 127) == out['gt_mask'])[known].all()


def test_normalize_says_so() -> None:
    steps = [dict(type='torchvision/ToDtype', dtype='float32', scale=True),
             dict(type='torchvision/Normalize', mean=[0.5] * 3, std=[0.5] * 3)]  # yapf: disable
    data = {'img': RGB}
    for step in steps:
        data = TRANSFORMS.build(step)(data)
    assert 'img_norm_cfg' in PackInputs()(data)['data_samples'].metainfo


def test_wrong_arguments_are_named() -> None:
    for config, message in (
        (dict(type='torchvision/Resize', sise=3), r'torchvision/Resize.*size'),
        (dict(type='torchvision/Resize', size=3, interpolation='cubic'), "did you mean 'bicubic'"),
        (dict(type='torchvision/ToDtype', dtype='float33'), 'must be a torch dtype'),
        (dict(type='torchvision/RandomApply', transforms=[dict(type='GausianBlur')]), "did you mean 'GaussianBlur'"),
    ):
        with pytest.raises(ConfigError, match=message):
            TRANSFORMS.build(config)


def test_signature_is_torchvisions() -> None:
    assert inspect.signature(TRANSFORMS.get('torchvision/Resize')) == inspect.signature(v2.Resize)
