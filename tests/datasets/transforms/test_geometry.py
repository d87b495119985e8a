"""Resizing, crops, flips and padding against Pillow, OpenCV and torchvision."""
from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional as F

from ftcls.datasets.transforms import CenterCrop, Pad, RandomCrop, RandomFlip, RandomResizedCrop, Resize, ResizeEdge
from ftcls.registry import TRANSFORMS
from ftcls.utils import ConfigError, DataError

RNG = np.random.RandomState(0)
IMG = RNG.randint(0, 256, (40, 60, 3), dtype=np.uint8)


def sample(height: int = 40, width: int = 60, channels: int = 3) -> dict:
    """A sample whose mask marks where each pixel's first channel is above the middle."""
    img = RNG.randint(0, 256, (height, width, channels), dtype=np.uint8)
    return {'img': img, 'gt_mask': (img[..., 0] > 127).astype(np.uint8), 'img_path': 'a/b.png', 'gt_label': 1}


def test_resize_is_cv2s_and_pillows() -> None:
    cv = Resize(scale=(20, 10))({'img': IMG})
    assert (cv['img'] == cv2.resize(IMG, (20, 10))).all()
    assert cv['img_shape'] == (10, 20) and cv['scale_factor'] == (20 / 60, 10 / 40)
    pil = Resize(scale=(20, 10), backend='pillow', interpolation='bicubic')({'img': IMG})['img']
    assert (pil == np.asarray(Image.fromarray(IMG).resize((20, 10), Image.Resampling.BICUBIC))).all()
    # Antialiased as torchvision does, up to rounding.
    tensor = F.resize(torch.tensor(IMG.transpose(2, 0, 1)), [10, 20], antialias=True).numpy().transpose(1, 2, 0)
    assert np.abs(Resize(scale=(20, 10), backend='pillow')({'img': IMG})['img'].astype(int) - tensor).max() <= 1


@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
@pytest.mark.parametrize('channels', [1, 3, 4])
@pytest.mark.parametrize('dtype', [np.uint8, np.float32])
def test_resize_keeps_channels_and_dtype(backend: str, channels: int, dtype: type) -> None:
    img = RNG.randint(0, 256, (9, 8, channels)).astype(dtype)
    out = Resize(scale=32, backend=backend)({'img': img})['img']
    assert out.shape == (32, 32, channels) and out.dtype == dtype


def test_resize_int_factor_and_ratio() -> None:
    assert Resize(scale=224)(sample())['img_shape'] == (224, 224)
    assert Resize(scale_factor=0.5)(sample())['img_shape'] == (20, 30)
    assert Resize(scale_factor=(2, 0.5))(sample())['img_shape'] == (20, 120)
    kept = Resize(scale=(30, 30), keep_ratio=True)(sample())
    assert kept['img_shape'] == (20, 30) and kept['keep_ratio'] is True
    for wrong in (dict(), dict(scale=3, scale_factor=2.), dict(scale=0), dict(scale=(1, 2, 3)), dict(scale=2.5),
                  dict(scale_factor=-1.), dict(scale=8, backend='PIL'), dict(scale=8, interpolation='linear'),
                  dict(scale=8, backend='pillow', interpolation='area')):  # yapf: disable
        with pytest.raises(ConfigError):
            TRANSFORMS.build(dict(type='Resize', **wrong))


def test_resize_edge_is_torchvisions() -> None:
    for height, width in ((40, 60), (60, 40), (33, 77), (50, 50)):
        tensor = torch.zeros(3, height, width, dtype=torch.uint8)
        assert ResizeEdge(scale=25)(sample(height, width))['img_shape'] == tuple(F.resize(tensor, 25).shape[1:])
    assert ResizeEdge(scale=30, edge='long')(sample())['img_shape'] == (20, 30)
    assert ResizeEdge(scale=30, edge='width')(sample(60, 40))['img_shape'] == (45, 30)
    assert ResizeEdge(scale=30, edge='height')(sample(60, 40))['img_shape'] == (30, 20)
    with pytest.raises(ConfigError, match="did you mean 'short'"):
        TRANSFORMS.build(dict(type='ResizeEdge', scale=30, edge='shortest'))


def test_center_crop_is_torchvisions() -> None:
    img = sample(41, 60)['img']
    expected = F.center_crop(torch.tensor(img.transpose(2, 0, 1)), [20, 31]).numpy().transpose(1, 2, 0)
    assert (CenterCrop(crop_size=(31, 20))({'img': img})['img'] == expected).all()


def test_crops_larger_than_the_image() -> None:
    with pytest.raises(DataError, match=r'crop_size=50x50 \(H x W\) is larger than the image of 40x60: a/b.png'):
        CenterCrop(crop_size=50)(sample())
    with pytest.raises(DataError, match='crop_size=64x64.*40x60.*pad_if_needed'):
        RandomCrop(crop_size=64)(sample())
    padded = CenterCrop(crop_size=50, auto_pad=True, pad_cfg=dict(pad_val=7))(sample())
    assert padded['img_shape'] == (50, 50) and (padded['img'][40:] == 7).all() and (padded['gt_mask'][40:] == 255).all()
    padded = RandomCrop(crop_size=64, pad_if_needed=True, pad_val=(1, 2, 3))(sample())
    assert padded['img_shape'] == (64, 64) and (padded['img'][0, 0] == (1, 2, 3)).all()
    with pytest.raises(ConfigError, match='pad_val=.*the image has shape .40, 60, 3.'):
        RandomCrop(crop_size=64, pad_if_needed=True, pad_val=(1, 2))(sample())


@pytest.mark.parametrize('mode', ['constant', 'edge', 'reflect', 'symmetric'])
def test_random_crop_cuts_out_of_the_padded_picture(mode: str) -> None:
    data = sample(32, 32)
    padded = F.pad(
        torch.tensor(data['img'].transpose(2, 0, 1)), [4, 4, 4, 4], padding_mode=mode).numpy().transpose(1, 2, 0)
    crop = RandomCrop(crop_size=32, padding=4, padding_mode=mode)
    places = set()
    for _ in range(60):
        out = crop(data)
        found = [(y, x) for y in range(9) for x in range(9) if (padded[y:y + 32, x:x + 32] == out['img']).all()]
        assert len(found) == 1
        places.update(found)
        inside = out['gt_mask'] != 255
        assert ((out['img'][..., 0] > 127) == out['gt_mask'])[inside].all()
    assert {y for y, _ in places} == {x for _, x in places} == set(range(9))


def test_random_crop_arguments() -> None:
    assert RandomCrop(crop_size=(10, 20), padding=(1, 2))(sample())['img_shape'] == (10, 20)
    for wrong in (dict(crop_size=0), dict(crop_size=8, padding=(1, 2, 3)), dict(crop_size=8, padding=-1),
                  dict(crop_size=8, padding_mode='zeros')):  # yapf: disable
        with pytest.raises(ConfigError):
            TRANSFORMS.build(dict(type='RandomCrop', **wrong))


def test_random_resized_crop_draws_what_it_says() -> None:
    crop = RandomResizedCrop(scale=(16, 24), crop_ratio_range=(0.2, 0.5))
    areas, ratios = [], []
    for _ in range(300):
        top, left, height, width = crop.rand_crop_params(IMG)
        assert 0 <= top <= 40 - height and 0 <= left <= 60 - width
        areas.append(height * width / 2400)
        ratios.append(width / height)
    assert 0.17 < min(areas) < 0.25 and 0.45 < max(areas) < 0.53
    assert 0.7 < min(ratios) < 0.8 and 1.25 < max(ratios) < 1.4
    assert crop(sample())['img_shape'] == (16, 24)


def test_random_resized_crop_without_luck_takes_the_middle() -> None:
    crop = RandomResizedCrop(scale=8, max_attempts=0)
    assert crop.rand_crop_params(IMG) == (0, 3, 40, 53)  # 53 = round(40 x 4/3), as torchvision
    assert crop.rand_crop_params(IMG.transpose(1, 0, 2)) == (3, 0, 53, 40)
    assert crop.rand_crop_params(IMG[:, :40]) == (0, 0, 40, 40)
    assert RandomResizedCrop(scale=8)({'img': IMG[:1, :1]})['img_shape'] == (8, 8)
    for wrong in (dict(crop_ratio_range=(1., 0.5)), dict(aspect_ratio_range=(0., 1.)), dict(max_attempts=-1),
                  dict(interpolation='hamming')):  # yapf: disable
        with pytest.raises(ConfigError):
            TRANSFORMS.build(dict(type='RandomResizedCrop', scale=8, **wrong))


@pytest.mark.parametrize('direction, flip', [('horizontal', np.fliplr), ('vertical', np.flipud),
                                             ('diagonal', lambda a: a[::-1, ::-1])])
def test_flip(direction: str, flip: Callable) -> None:
    data = sample()
    out = RandomFlip(prob=1., direction=direction)(data)
    assert (out['img'] == flip(data['img'])).all() and (out['gt_mask'] == flip(data['gt_mask'])).all()
    assert out['flip'] is True and out['flip_direction'] == direction
    still = RandomFlip(prob=0., direction=direction)(data)
    assert still['img'] is data['img'] and still['flip'] is False and still['flip_direction'] is None


def test_flip_shares_its_probability() -> None:
    flip = RandomFlip(prob=[0.2, 0.5], direction=['horizontal', 'vertical'])
    drawn = [flip({'img': IMG})['flip_direction'] for _ in range(1000)]
    assert abs(drawn.count('horizontal') - 200) < 60 and abs(drawn.count('vertical') - 500) < 70
    for wrong in (dict(prob=1.5), dict(direction='left'), dict(prob=[0.5, 0.5]),
                  dict(prob=[0.9, 0.9], direction=['horizontal', 'vertical'])):  # yapf: disable
        with pytest.raises(ConfigError):
            TRANSFORMS.build(dict(type='RandomFlip', **wrong))


def test_pad() -> None:
    data = sample()
    out = Pad(size=(70, 50), pad_val=9)(data)
    assert out['img_shape'] == out['pad_shape'] == (50, 70) and (out['img'][:40, :60] == data['img']).all()
    assert (out['img'][40:] == 9).all() and (out['gt_mask'][:, 60:] == 255).all()
    assert Pad(size_divisor=32)(data)['img_shape'] == (64, 64)
    assert Pad(pad_to_square=True)(data)['img_shape'] == (60, 60)
    assert Pad(size=10)(data)['img_shape'] == (40, 60)
    assert (Pad(size=70, pad_val=dict(img=1, seg=0))(data)['gt_mask'][:, 60:] == 0).all()
    for wrong in (dict(), dict(size=3, size_divisor=2), dict(size=3, pad_val=dict(image=2))):
        with pytest.raises(ConfigError):
            TRANSFORMS.build(dict(type='Pad', **wrong))


@pytest.mark.parametrize('transform', [
    Resize(scale=(120, 80)), ResizeEdge(scale=80), RandomResizedCrop(scale=64), RandomCrop(crop_size=20, padding=3),
    CenterCrop(crop_size=20), RandomFlip(prob=1.), Pad(size=90)
], ids=lambda transform: type(transform).__name__)  # yapf: disable
def test_mask_moves_with_the_image(transform: Callable) -> None:
    """An image of large patches, whose mask marks the bright ones, stays so away from the patches' edges."""
    patches = np.kron(RNG.randint(0, 2, (4, 6)), np.ones((10, 10), int)).astype(np.uint8)
    data = {'img': np.repeat(patches[..., None] * 255, 3, axis=2), 'gt_mask': patches}
    before = data['img'].copy()
    out = transform(data)
    assert out['gt_mask'].shape == out['img_shape'] == out['img'].shape[:2]
    clear = (np.abs(out['img'][..., 0].astype(int) - 127) > 120) & (out['gt_mask'] != 255)
    assert clear.mean() > 0.25
    assert ((out['img'][..., 0] > 127) == out['gt_mask'])[clear].mean() > 0.995
    assert set(np.unique(out['gt_mask'])) <= {0, 1, 255}
    assert (data['img'] == before).all() and set(data) == {'img', 'gt_mask'}


def test_seed_decides() -> None:
    crop = RandomResizedCrop(scale=8)
    drawn = []
    for _ in range(2):
        np.random.seed(3)
        drawn.append([crop.rand_crop_params(IMG) for _ in range(5)])
    assert drawn[0] == drawn[1] and len(set(drawn[0])) > 1
