"""Transforms of whole batches: the same images as torchvision's, a draw for each image, what is done outside of training."""
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torchvision.transforms.v2 import functional as F  # noqa: N812

from ftcls.config.loading import load_config
from ftcls.config.validation import validate_config
from ftcls.models import ClsDataPreprocessor
from ftcls.models import batch_transforms as module
from ftcls.models.batch_transforms import BatchTransforms
from ftcls.structures import DataSample
from ftcls.utils import ConfigError, DataError

RGB = DataSample(metainfo=dict(channel_order='rgb'))


def noise(count: int, height: int = 32, width: int = 32, channels: int = 3) -> torch.Tensor:
    gen = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, channels, height, width), generator=gen, dtype=torch.uint8)


def transformed(images: Any, *transforms: dict, training: bool = True, bgr: bool = False) -> Any:
    torch.manual_seed(1)
    return BatchTransforms(transforms)(images, [bgr] * len(images), training)


def test_every_crop_and_flip_is_equally_likely() -> None:
    """81 crops of a padded image, half of them flipped, each image on its own."""
    coded = (torch.arange(32)[:, None] * 8 + torch.arange(32)[None] + 1).clamp(max=255).byte()
    image = torch.stack(
        [coded, torch.arange(1, 33).byte().expand(32, 32),
         torch.arange(1, 33).byte()[:, None].expand(32, 32)])
    got = transformed(
        image.expand(8100, 3, 32, 32), dict(type='RandomCrop', crop_size=32, padding=4), dict(type='RandomFlip'))
    padded = F.pad(image, [4] * 4)
    found = Counter()
    for one in got:
        # channel 1 holds columns, channel 2 rows, both from 1; 0 is padding
        columns, rows = one[1, 16].int(), one[2, :, 16].int()
        flipped = bool(columns[15] > columns[16])
        columns = columns.flip(0) if flipped else columns
        left, top = int(columns[16]) - 1 - 16 + 4, int(rows[16]) - 1 - 16 + 4
        crop = padded[:, top:top + 32, left:left + 32]
        assert torch.equal(one, crop.flip(2) if flipped else crop)
        found[top, left, flipped] += 1
    assert len(found) == 162 and chisquare(list(found.values())).pvalue > 0.01
    draws = [key for key, _ in found.items()]
    assert len(set(draws[:20])) > 10  # not one draw for the batch


@pytest.mark.parametrize('size', [(224, 224), (20, 48), (16, 16)])
@pytest.mark.parametrize('channels', [1, 3])
def test_resize_is_torchvisions(size: tuple[int, int], channels: int) -> None:
    images = noise(4, 40, 32, channels)
    got = transformed(images, dict(type='Resize', scale=size[::-1]))
    assert torch.equal(got, F.resize(images, list(size), antialias=True))


def test_resized_crop_is_torchvisions(monkeypatch: pytest.MonkeyPatch) -> None:
    from ftcls.datasets.transforms.batch import RandomResizedCrop

    boxes, draw = [], RandomResizedCrop.rand_crop_params
    monkeypatch.setattr(RandomResizedCrop, 'rand_crop_params', lambda *args: boxes.append(draw(*args)) or boxes[-1])
    images = noise(6, 50, 70)
    got = transformed(images, dict(type='RandomResizedCrop', scale=24))
    expected = [F.resized_crop(one, *box, [24, 24], antialias=True) for one, box in zip(images, boxes)]
    assert len(set(boxes)) == 6 and (got.int() - torch.stack(expected).int()).abs().max() <= 1


@pytest.mark.parametrize('name', ['brightness', 'contrast', 'saturation', 'hue'])
@pytest.mark.parametrize('bgr', [False, True])
def test_jitter_is_torchvisions(name: str, bgr: bool) -> None:
    """A factor of its own for each image, which one of a fine grid of factors explains."""
    images = noise(3, 8, 8) // 2 + 64
    low, high = {'hue': (-0.4, 0.4)}.get(name, (0.5, 1.5))
    got = transformed(images, dict(type='ColorJitter', **{name: (low, high)}), bgr=bgr)
    if bgr:
        images, got = images.flip(1), got.flip(1)
    nearest = []
    for one, result in zip(images, got):
        grid = torch.linspace(low, high, 801).tolist()
        errors = [(getattr(F, f'adjust_{name}')(one, f).int() - result.int()).abs().max() for f in grid]
        nearest.append(int(np.argmin(errors)))
        assert min(errors) <= 1 + (name == 'hue')
    assert len(set(nearest)) == 3


def test_erasing() -> None:
    images = noise(400) // 2
    got = transformed(images, dict(type='RandomErasing', fill_color=(200, 210, 220)))
    changed = (got != images).all(dim=1)
    assert 160 < changed.flatten(1).any(dim=1).sum() < 240
    assert (got.permute(0, 2, 3, 1)[changed] == torch.tensor([200, 210, 220])).all()
    shares = changed.flatten(1).float().mean(dim=1)
    shares = shares[shares > 0]
    assert shares.min() < 0.05 and 0.3 < shares.max() < 0.45 and len(shares.unique()) > 50


def test_what_is_done_outside_of_training() -> None:
    """Random ones are left out, RandomResizedCrop resizes all of the image, the others are applied; nothing is drawn."""
    images = noise(2)
    steps = [
        dict(type='RandomCrop', crop_size=16),
        dict(type='RandomFlip'),
        dict(type='ColorJitter', hue=0.1),
        dict(type='RandomErasing'),
        dict(type='RandomResizedCrop', scale=(24, 20)),
        dict(type='CenterCrop', crop_size=16)
    ]
    torch.manual_seed(5)
    state = torch.get_rng_state()
    got = BatchTransforms(steps)(images, [False] * 2, False)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(got, F.center_crop(F.resize(images, [24, 20], antialias=True), [16, 16]))
    lines = BatchTransforms(steps).describe()
    assert 'RandomFlip' in lines[0] and 'RandomFlip' not in lines[1] and 'Resize(scale=(20, 24))' in lines[1]


def test_draws_follow_torch_and_differ_between_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    flip = dict(type='RandomFlip')
    before = np.random.get_state()[1].copy()
    first, again = transformed(noise(64), flip), transformed(noise(64), flip)
    assert torch.equal(first, again) and (np.random.get_state()[1] == before).all()
    assert not torch.equal(first, BatchTransforms([flip])(noise(64), [False] * 64, True))
    monkeypatch.setattr(module, 'get_rank', lambda: 1)
    assert not torch.equal(first, transformed(noise(64), flip))


def test_normalize_and_mixing_in_the_list() -> None:
    """Normalize is the data preprocessor's; labels become scores."""
    images = noise(4)
    pre = ClsDataPreprocessor(
        num_classes=3,
        batch_transforms=[
            dict(type='Resize', scale=8),
            dict(type='Normalize', mean=[1., 2, 3], std=[4., 5, 6]),
            dict(type='Mixup', alpha=1.)
        ])
    alike = ClsDataPreprocessor(
        mean=[1., 2, 3], std=[4., 5, 6], to_rgb=True, batch_transforms=[dict(type='Resize', scale=8)])
    samples = [DataSample().set_gt_label(i % 3) for i in range(4)]
    plain = alike(dict(inputs=images))['inputs']
    assert torch.equal(pre(dict(inputs=images, data_samples=samples))['inputs'], plain)
    mixed = pre(dict(inputs=images, data_samples=samples), training=True)
    assert not torch.equal(mixed['inputs'], plain) and all(abs(s.gt_score.sum() - 1) < 1e-6 for s in samples)


@pytest.mark.parametrize('arguments, key, remedy', [
    (dict(batch_transforms=[dict(type='Mixup', alpha=1.), dict(type='Resize', scale=8)]), 'batch_transforms', 'order'),
    (dict(batch_transforms=[dict(type='Mixup', alpha=1.), dict(type='CutMix', alpha=1.)]), 'batch_transforms', 'batch_augments'),
    (dict(batch_transforms=[dict(type='Normalize', mean=[1.], std=[1.])], mean=[1.], std=[1.]), 'Normalize', 'twice'),
    (dict(batch_transforms=[dict(type='RandomCrop', crop_size=8, paddin=4)]), 'paddin', "'padding'"),
    (dict(batch_transforms=[dict(type='RandomFlip', prob=1.5)]), 'prob=1.5', 'from 0 to 1'),
])  # yapf: disable
def test_refused_when_built(arguments: dict, key: str, remedy: str) -> None:
    with pytest.raises(ConfigError) as err:
        ClsDataPreprocessor(**arguments)
    assert key in str(err.value) and remedy in str(err.value)


def test_refused_in_a_config() -> None:
    cfg = load_config('ftcls::tutorial/resnet50_finetune_cifar_fast.py')
    cfg.data_preprocessor.batch_transforms[1].type = 'RandomFlop'
    cfg.data_preprocessor.batch_transforms[0].crop_sise = 4
    with pytest.raises(ConfigError) as err:
        validate_config(cfg)
    assert "'RandomFlip'" in str(err.value) and "'crop_size'" in str(err.value) and 'batch_transforms.1' in str(
        err.value)


def test_refused_on_a_batch() -> None:
    with pytest.raises(DataError, match='pad_if_needed=True'):
        transformed(noise(2), dict(type='RandomCrop', crop_size=40))
    with pytest.raises(DataError, match='uint8'):
        transformed(noise(2).float(), dict(type='Resize', scale=8))
    with pytest.raises(ConfigError, match='bilinear'):
        transformed(noise(2), dict(type='Resize', scale=8, interpolation='lanczos', backend='pillow'))
    masked = [DataSample(gt_mask=torch.zeros(32, 32, dtype=torch.uint8))]
    with pytest.raises(ConfigError, match='RandomFlip.*masks'):
        ClsDataPreprocessor(batch_transforms=[dict(type='RandomFlip')])(dict(inputs=noise(1), data_samples=masked))


def test_images_of_several_sizes() -> None:
    """They are transformed one by one, until they have one size."""
    images = [noise(1, 30, 40)[0], noise(1, 50, 20)[0]]
    pre = ClsDataPreprocessor(batch_transforms=[dict(type='RandomResizedCrop', scale=16), dict(type='RandomFlip')])
    assert pre(dict(inputs=images), training=True)['inputs'].shape == (2, 3, 16, 16)
    whole = [F.resize(image, [16, 16], antialias=True).float() for image in images]
    assert torch.equal(pre(dict(inputs=images, data_samples=[RGB, RGB]))['inputs'], torch.stack(whole))
