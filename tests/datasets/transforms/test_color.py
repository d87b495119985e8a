"""Colour transforms against torchvision and plain arithmetic."""
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional as F

from ftcls.datasets.transforms import ColorJitter, Normalize, RandomGrayscale
from ftcls.registry import TRANSFORMS
from ftcls.utils import ConfigError, DataError

RNG = np.random.RandomState(0)
RGB = RNG.randint(0, 256, (20, 30, 3), dtype=np.uint8)


@pytest.mark.parametrize('name', ['brightness', 'contrast', 'saturation', 'hue'])
def test_jitter_is_torchvisions_in_both_orders(name: str) -> None:
    factor = 0.25 if name == 'hue' else 1.5
    expected = np.asarray(getattr(F, f'adjust_{name}')(Image.fromarray(RGB), factor))
    jitter = ColorJitter(**{name: (factor, factor)})
    assert (jitter({'img': RGB, 'channel_order': 'rgb'})['img'] == expected).all()
    assert (jitter({'img': RGB[..., ::-1], 'channel_order': 'bgr'})['img'] == expected[..., ::-1]).all()
    assert (jitter({'img': RGB[..., ::-1]})['img'] == expected[..., ::-1]).all()


def test_jitter_ranges_and_grey() -> None:
    jitter = ColorJitter(brightness=0.4, contrast=2., hue=0.1)
    assert jitter.brightness == (0.6, 1.4) and jitter.contrast == (0., 3.) and jitter.hue == (-0.1, 0.1)
    assert ColorJitter(0.5, 0.5, 0.5, 0.1)({'img': RGB[..., :1]})['img'].shape == (20, 30, 1)
    assert (ColorJitter()({'img': RGB})['img'] == RGB).all()
    for wrong in (dict(brightness=-1.), dict(hue=0.6), dict(saturation=(2., 1.)), dict(backend='cv3')):
        with pytest.raises(ConfigError):
            TRANSFORMS.build(dict(type='ColorJitter', **wrong))
    with pytest.raises(DataError, match='before Normalize'):
        ColorJitter(0.5)({'img': RGB.astype(np.float32)})


def test_grayscale() -> None:
    weights = (0.114, 0.587, 0.299)  # blue, green, red
    grey = RandomGrayscale(prob=1., keep_channels=True, channel_weights=weights)
    expected = np.asarray(Image.fromarray(RGB).convert('L')).astype(int)
    for data in ({'img': RGB, 'channel_order': 'rgb'}, {'img': RGB[..., ::-1]}):
        out = grey(data)['img']
        assert out.dtype == np.uint8 and out.shape == RGB.shape
        assert np.abs(out - expected[..., None]).max() <= 1
    assert RandomGrayscale(prob=1.)({'img': RGB})['img'].shape == (20, 30, 1)
    assert RandomGrayscale(prob=0.)({'img': RGB})['img'] is RGB
    for wrong in (dict(prob=2), dict(color_format='hsv'), dict(channel_weights=(1, 2))):
        with pytest.raises(ConfigError):
            TRANSFORMS.build(dict(type='RandomGrayscale', **wrong))


def test_normalize_is_torchvisions_and_refused_twice() -> None:
    mean, std = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
    expected = F.normalize(torch.tensor(RGB.transpose(2, 0, 1)).float(), mean, std).numpy().transpose(1, 2, 0)
    normalize = Normalize(mean=mean, std=std)
    for data in ({'img': RGB, 'channel_order': 'rgb'}, {'img': RGB[..., ::-1], 'channel_order': 'bgr'}):
        out = normalize(data)
        np.testing.assert_allclose(out['img'], expected, atol=1e-5)
        assert out['channel_order'] == 'rgb' and out['img_norm_cfg']['to_rgb'] is True
        assert out['img'].dtype == np.float32
        with pytest.raises(ConfigError, match='twice'):
            normalize(out)
    kept = Normalize(mean=[0.] * 3, std=[1.] * 3, to_rgb=False)({'img': RGB, 'channel_order': 'bgr'})
    assert (kept['img'] == RGB).all() and kept['channel_order'] == 'bgr'
    with pytest.raises(ConfigError, match='3 means, the image has 1'):
        normalize({'img': RGB[..., :1]})
    for wrong in (dict(mean=[0.], std=[0.]), dict(mean=[0., 0.], std=[1.])):
        with pytest.raises(ConfigError, match='std'):
            TRANSFORMS.build(dict(type='Normalize', **wrong))
