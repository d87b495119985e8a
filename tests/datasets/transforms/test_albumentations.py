"""The wrapper of albumentations, against albumentations itself; what it says where the package is not there."""
import os
import random
import sys

import numpy as np
import pytest

from ftcls.datasets.transforms import Albumentations, PackInputs
from ftcls.registry import TRANSFORMS
from ftcls.utils import ConfigError

os.environ['NO_ALBUMENTATIONS_UPDATE'] = '1'  # the tests go to no network
RGB = np.random.RandomState(0).randint(0, 256, (24, 32, 3), dtype=np.uint8)
CONFIG = [
    dict(type='HueSaturationValue', p=0.8),
    dict(type='OneOf', transforms=[dict(type='HorizontalFlip'),
                                   dict(type='RandomBrightnessContrast')], p=0.5),
    dict(type='Affine', rotate=[-40, 40], p=0.5),
]


def test_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'albumentations', None)
    with pytest.raises(ConfigError, match='pip install albumentations'):
        TRANSFORMS.build(dict(type='Albumentations', transforms=CONFIG))


def test_is_albumentations_itself_whatever_the_order() -> None:
    library = pytest.importorskip('albumentations')
    direct = library.Compose([
        library.HueSaturationValue(p=0.8),
        library.OneOf([library.HorizontalFlip(), library.RandomBrightnessContrast()], p=0.5),
        library.Affine(rotate=(-40, 40), fill_mask=255, p=0.5)
    ])
    mask = (RGB[..., 0] > 127).astype(np.uint8)
    transform = TRANSFORMS.build(dict(type='Albumentations', transforms=CONFIG))
    filled = 0
    for seed in range(40):
        np.random.seed(seed)
        drawn = int(np.random.randint(2**31))
        direct.set_random_state(np.random.default_rng(drawn), random.Random(drawn))
        expected = direct(image=RGB, mask=mask)
        filled += (expected['mask'] == 255).any()
        for order in ('rgb', 'bgr'):
            img = RGB if order == 'rgb' else np.ascontiguousarray(RGB[..., ::-1])
            np.random.seed(seed)
            out = transform(dict(img=img, channel_order=order, gt_mask=mask))
            assert (out['img'] == (expected['image'] if order == 'rgb' else expected['image'][..., ::-1])).all()
            assert (out['gt_mask'] == expected['mask']).all() and out['gt_mask'].dtype == np.uint8
            assert PackInputs()(out)['inputs'].shape == (3, 24, 32)
    assert 5 < filled < 40


def test_draws_are_independent() -> None:
    """Two transforms of one list are applied by two throws of the dice."""
    pytest.importorskip('albumentations')
    np.random.seed(0)
    flips = Albumentations([dict(type='HorizontalFlip', p=0.5), dict(type='VerticalFlip', p=0.5)])
    img = np.arange(4, dtype=np.uint8).reshape(2, 2, 1)
    first = [int(flips(dict(img=img))['img'][0, 0, 0]) for _ in range(2000)]
    # standard deviation of each quarter: sqrt(0.25 * 0.75 / 2000) = 0.0097
    assert np.bincount(first, minlength=4) / 2000 == pytest.approx([0.25] * 4, abs=0.04)


@pytest.mark.parametrize('arguments, words', [
    (dict(transforms=[dict(type='HorizontalFlp')]), "did you mean 'HorizontalFlip'"),
    (dict(transforms=[dict(p=1)]), 'whose `type` is one of'),
    (dict(transforms=dict(type='HorizontalFlip')), 'must be a list'),
    (dict(transforms=[dict(type='Affine', rotat=3)]), "no argument 'rotat'; did you mean 'rotate'"),
    (dict(transforms=[dict(type='OneOf', transforms=[dict(type='Blur', blur_limt=3)])]), "did you mean 'blur_limit'"),
    (dict(transforms=[dict(type='GaussianBlur', blur_limit='x')]), 'GaussianBlur.*valid integer'),
    (dict(transforms=[], keymap=dict(img='picture')), "must have img='image'"),
])  # yapf: disable
def test_wrong_arguments(arguments: dict, words: str) -> None:
    pytest.importorskip('albumentations')
    with pytest.raises(ConfigError, match=f'(?s){words}'):
        TRANSFORMS.build(dict(type='Albumentations', **arguments))


def test_what_cannot_be_packed_or_would_be_left_behind() -> None:
    pytest.importorskip('albumentations')
    with pytest.raises(ConfigError, match='leave out ToTensorV2'):
        Albumentations([dict(type='ToTensorV2')])(dict(img=RGB))
    with pytest.raises(ConfigError, match="add gt_mask='mask'"):
        Albumentations([], keymap=dict(img='image'))(dict(img=RGB, gt_mask=RGB[..., 0]))
    assert 'img_norm_cfg' in Albumentations([dict(type='Normalize')])(dict(img=RGB))
