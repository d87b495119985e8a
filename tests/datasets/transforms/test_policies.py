"""MMClassification's augmentations, against Pillow, arithmetic on few pixels, torchvision's table and the peer itself."""
import json
import os
import pickle
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps
from torchvision.transforms import v2

from ftcls.datasets import CustomDataset
from ftcls.datasets.features import Views
from ftcls.datasets.transforms import (BaseAugTransform, EfficientNetCenterCrop, EfficientNetRandomCrop, PackInputs,
                                       RandAugment, Rotate, Shear)
from ftcls.registry import TRANSFORMS
from ftcls.utils import ConfigError, DataError
from ftcls.utils.arguments import own_arguments

RNG = np.random.RandomState(0)
SMOOTH = np.asarray(Image.fromarray(RNG.randint(0, 256, (8, 10, 3), dtype=np.uint8)).resize((60, 48)))


def run(config: dict, img: np.ndarray = SMOOTH, order: str = 'bgr', **others: object) -> dict:
    return TRANSFORMS.build(config)(dict(img=img, img_shape=img.shape[:2], channel_order=order, **others))


def by_pillow(name: str, value: float) -> np.ndarray:
    return np.asarray(getattr(ImageEnhance, name)(Image.fromarray(SMOOTH)).enhance(value))


# the peer's arithmetic rounds otherwise than Pillow's, and Pillow does not sharpen the border
@pytest.mark.parametrize('config, wanted, most', [
    (dict(type='AutoContrast'), np.asarray(ImageOps.autocontrast(Image.fromarray(SMOOTH))), 0),
    (dict(type='Equalize'), np.asarray(ImageOps.equalize(Image.fromarray(SMOOTH))), 0),
    (dict(type='Invert'), 255 - SMOOTH, 0),
    (dict(type='Posterize', bits=3), SMOOTH // 32 * 32, 0),
    (dict(type='Posterize', magnitude_range=(4, 0), magnitude_level=6), SMOOTH // 64 * 64, 0),  # 1.6, rounded up
    (dict(type='Posterize', bits=0), np.zeros_like(SMOOTH), 0),
    (dict(type='Solarize', thr=100), np.where(SMOOTH < 100, SMOOTH, 255 - SMOOTH), 0),
    (dict(type='Solarize', magnitude_range=(256, 0), magnitude_level=12, total_level=10), 255 - SMOOTH, 0),
    (dict(type='SolarizeAdd', magnitude=200, thr=90), np.where(SMOOTH < 90, np.minimum(SMOOTH.astype(int) + 200, 255), SMOOTH), 0),
    (dict(type='Brightness', magnitude=0.4, random_negative_prob=0), by_pillow('Brightness', 1.4), 1),
    (dict(type='Brightness', magnitude=0.4, random_negative_prob=1), by_pillow('Brightness', 0.6), 1),
    (dict(type='Contrast', magnitude=-0.5, random_negative_prob=0), by_pillow('Contrast', 0.5), 1),
    (dict(type='ColorTransform', magnitude=0.7, random_negative_prob=0), by_pillow('Color', 1.7), 2),
])  # yapf: disable
def test_colours(config: dict, wanted: np.ndarray, most: int) -> None:
    for order in ('rgb', 'bgr'):
        img = SMOOTH if order == 'rgb' else np.ascontiguousarray(SMOOTH[..., ::-1])
        mask = np.ones(img.shape[:2], np.uint8)
        out = run(dict(prob=1., **config), img, order, gt_mask=mask)
        found = out['img'] if order == 'rgb' else out['img'][..., ::-1]
        assert found.dtype == np.uint8 and np.abs(found.astype(int) - wanted).max() <= most
        assert (out['gt_mask'] == mask).all()


def test_sharpness_moves_away_from_smooth() -> None:
    img = np.zeros((5, 5, 1), np.uint8)
    img[2, 2] = 130
    sharp = run(dict(type='Sharpness', magnitude=1., prob=1., random_negative_prob=0), img)['img'][..., 0]
    assert sharp[2, 2] == 130 + (130 - 50) and sharp[2, 3] == 0  # 130 x 5 / 13 = 50
    soft = run(dict(type='Sharpness', magnitude=1., prob=1., random_negative_prob=1), img)['img'][..., 0]
    assert soft[2, 2] == 50 and soft[2, 3] == 10


@pytest.mark.parametrize('config, wanted', [
    (dict(type='Translate', magnitude=0.25), [[9, 0, 1, 2], [9, 4, 5, 6], [9, 8, 9, 10], [9, 12, 13, 14]]),
    (dict(type='Translate', magnitude=-0.5, direction='vertical'), [[8, 9, 10, 11], [12, 13, 14, 15], [9] * 4, [9] * 4]),
    (dict(type='Shear', magnitude=1), [[0, 1, 2, 3], [5, 6, 7, 9], [10, 11, 9, 9], [15, 9, 9, 9]]),
    (dict(type='Shear', magnitude=-1, direction='vertical'), [[0, 9, 9, 9], [4, 1, 9, 9], [8, 5, 2, 9], [12, 9, 6, 3]]),
    (dict(type='Rotate', angle=90), np.rot90(np.arange(16).reshape(4, 4), -1)),
    (dict(type='Rotate', angle=180, center=(1.5, 1.5)), np.arange(16)[::-1].reshape(4, 4)),
])  # yapf: disable
@pytest.mark.parametrize('channels', [1, 3, 6])
def test_moves(config: dict, wanted: list, channels: int) -> None:
    """Positive values are to the right, down, clockwise; of several channels all are filled."""
    if config['type'] == 'Shear':  # OpenCV's matrix gives where the pixels go
        config = dict(config, magnitude=-config['magnitude'])
    img = np.repeat(np.arange(16, dtype=np.uint8).reshape(4, 4, 1), channels, axis=2)
    config = dict(config, prob=1., random_negative_prob=0, interpolation='nearest', pad_val=[9] * channels)
    out = run(config, img, gt_mask=img[..., 0].copy())
    assert (out['img'] == np.array(wanted)[..., None]).all()
    known = out['gt_mask'] != 255
    assert (out['gt_mask'] == np.array(wanted))[known].all() and (out['img'][~known] == 9).all()


def test_cutout_covers_and_ignores() -> None:
    np.random.seed(2)
    img = np.zeros((20, 30, 3), np.uint8)
    for _ in range(50):
        out = run(dict(type='Cutout', shape=(4, 7), prob=1., pad_val=[1, 2, 3]), img, gt_mask=img[..., 0])
        covered = (out['img'] == (1, 2, 3)).all(axis=2)
        assert 0 < covered.sum() <= 28 and ((out['gt_mask'] == 255) == covered).all()
    assert run(dict(type='Cutout', magnitude_range=(0, 0), prob=1.), img)['img'].max() == 0


def test_strength_is_drawn_as_said() -> None:
    """Over 10,000 draws; the standard error of a mean of uniform numbers is 0.003, of a share of a half 0.005."""
    np.random.seed(0)
    around = Shear(magnitude_range=(0, 10), magnitude_level=5, magnitude_std=1.5)
    drawn = np.array([around.random_magnitude() for _ in range(10_000)])
    assert drawn.mean() == pytest.approx(5, abs=0.06) and drawn.std() == pytest.approx(1.5, rel=0.03)
    cut = Shear(magnitude_range=(0, 1), magnitude_level=10, magnitude_std=4.)
    assert max(cut.random_magnitude() for _ in range(1000)) == 1
    evenly = Rotate(magnitude_range=(30, 0), magnitude_level=5, magnitude_std='inf')  # 30 to 15
    drawn = np.array([evenly.random_magnitude() for _ in range(10_000)])
    assert drawn.min() >= 15 and drawn.mean() == pytest.approx(22.5, abs=0.15)
    assert np.mean([Rotate(angle=3.).random_negative(3.) < 0 for _ in range(10_000)]) == pytest.approx(0.5, abs=0.02)
    changed = [(run(dict(type='Invert', prob=0.3))['img'] != SMOOTH).any() for _ in range(2000)]
    assert np.mean(changed) == pytest.approx(0.3, abs=0.04)


def test_policies_of_that_name() -> None:
    """Names, probabilities and strengths of 'imagenet' are those of torchvision's table; timm's has the increasing ones."""
    from timm.data.auto_augment import _RAND_INCREASING_TRANSFORMS as TIMM
    auto = TRANSFORMS.build(dict(type='AutoAugment', policies='imagenet'))
    theirs = v2.AutoAugment()._get_policies(v2.AutoAugmentPolicy.IMAGENET)
    names = {'Color': 'ColorTransform', 'ShearX': 'Shear'}
    strengths = dict(
        Posterize=lambda level: 8 - round(level / 2.25), Solarize=lambda level: 256 / 9 * (9 - level),
        Rotate=lambda level: 30 / 9 * level, ColorTransform=lambda level: level / 10, Sharpness=lambda level: level / 10,
        Contrast=lambda level: level / 10, Shear=lambda level: 0.3 / 9 * level)  # yapf: disable
    assert len(auto.transforms) == len(theirs) == 25
    for pair, their_pair in zip(auto.transforms, theirs):
        for step, (name, prob, level) in zip(pair, their_pair):
            assert (type(step).__name__, step.prob) == (names.get(name, name), prob)
            if level is not None and type(step).__name__ in ('Rotate', 'Shear'):
                strength = getattr(step, next(iter(own_arguments(type(step)))))
                assert strength == pytest.approx(strengths[type(step).__name__](level))
    rand = RandAugment('timm_increasing', num_policies=2, magnitude_level=9)
    short = {'ColorTransform': 'Color'}
    ours = sorted(short.get(type(step).__name__, type(step).__name__) for step, in rand.transforms)
    timms = [name.removesuffix('Increasing').removesuffix('Rel').rstrip('XY') for name in TIMM]
    assert ours == sorted(timms)


def test_policies_share_the_level_and_take_hparams() -> None:
    rand = RandAugment(
        'timm_increasing', 2, 7, magnitude_std='inf', hparams=dict(pad_val=[1, 2, 3], interpolation='bicubic'))
    steps = {type(step).__name__: step for step, in rand.transforms}
    assert steps['Rotate'].pad_val == [1, 2, 3] and steps['Rotate'].interpolation == 'bicubic'
    assert (steps['Solarize'].magnitude_level, steps['Solarize'].magnitude_std) == (7, 'inf')
    assert repr(rand).startswith("RandAugment(policies='timm_increasing', num_policies=2, magnitude_level=7")
    auto = TRANSFORMS.build(dict(type='AutoAugment', policies='imagenet', hparams=dict(pad_val=7)))
    assert {step.pad_val for pair in auto.transforms for step in pair if hasattr(step, 'pad_val')} == {7}
    own = RandAugment([dict(type='RandomFlip', prob=1.), dict(type='Posterize', bits=2, prob=1.)], 1, 3)
    np.random.seed(0)
    chosen = [own(dict(img=SMOOTH)).get('flip', False) for _ in range(2000)]
    assert np.mean(chosen) == pytest.approx(0.5, abs=0.05)
    for step in (rand, auto, own, Rotate(angle=3.)):
        np.random.seed(1)
        first = step(dict(img=SMOOTH))['img']
        np.random.seed(1)
        assert (pickle.loads(pickle.dumps(step))(dict(img=SMOOTH))['img'] == first).all()


def test_choice_and_apply() -> None:
    np.random.seed(0)
    either = dict(
        type='RandomChoice',
        transforms=[dict(type='Invert', prob=1.), [dict(type='Solarize', thr=0, prob=1.)] * 2],
        prob=[.25, .75])
    assert np.mean([(run(either)['img'] != SMOOTH).any() for _ in range(600)]) == pytest.approx(0.25, abs=0.07)
    apply = dict(type='RandomApply', transforms=dict(type='Invert', prob=1.), prob=0.8)
    assert np.mean([(run(apply)['img'] != SMOOTH).any() for _ in range(600)]) == pytest.approx(0.8, abs=0.07)


@pytest.mark.parametrize('config, message', [
    (dict(type='Rotate'), 'Rotate: give exactly one of angle and magnitude_range'),
    (dict(type='Cutout', shape=3, magnitude_range=(1, 2)), 'Cutout: give exactly one of shape'),
    (dict(type='Posterize', bits=9), 'Posterize.bits=9: must be from 0 to 8'),
    (dict(type='Posterize', magnitude_range=(4, 9)), 'Posterize.magnitude_range.bits=9: must be from 0 to 8'),
    (dict(type='Shear', magnitude=1., direction='diagonal'), "direction='diagonal': must be one of 'horizontal', 'vertical'"),
    (dict(type='Shear', magnitude=1., interpolation='cubic'), "did you mean 'bicubic'"),
    (dict(type='Invert', magnitude_range=(0, 1)), "Invert takes no argument 'magnitude_range'"),
    (dict(type='Solarize', thr=3, random_negative_prob=.5), "takes no argument 'random_negative_prob'"),
    (dict(type='RandomChoice', transforms=[dict(type='Invert')], prob=[.5]), 'of sum 1'),
    (dict(type='RandAugment', policies=[], num_policies=1, magnitude_level=3), 'length at least 1'),
    (dict(type='AutoAugment', policies='imagenet', policy='imagenet'), "AutoAugment.policies='imagenet', policy.*only torchvision's"),
    (dict(type='AutoAugment', hparams=dict(pad_val=1)), 'of which policies are needed'),
    (dict(type='AutoAugment', policies='imagenet', hparams=dict(pad_va=1)), 'hparams: none of the policies takes pad_va'),
    (dict(type='EfficientNetRandomCrop', scale=(3, 4)), r'scale=\(3, 4\)'),
    (dict(type='EfficientNetCenterCrop', crop_size=3, backend='pillow', interpolation='area'), "interpolation='area'"),
    (dict(type='Transpose', keys=['img'], order=[2, 0, 1]), 'remove img'),
    (dict(type='ToNumpy', dtype='float32'), "ToNumpy.dtype='float32'"),
])  # yapf: disable
def test_wrong_arguments_are_named(config: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TRANSFORMS.build(config)


def test_wrong_images_are_named() -> None:
    with pytest.raises(DataError, match='Contrast takes images of 1 or 3 channels, got 5'):
        run(dict(type='Contrast', magnitude=.3, prob=1.), np.zeros((4, 4, 5), np.uint8))
    with pytest.raises(DataError, match='Invert takes uint8'):
        run(dict(type='Invert'), np.zeros((4, 4, 3), np.float32))
    with pytest.raises(ConfigError, match='pad_val=.1, 2.: give one number, or one per channel .3.'):
        run(dict(type='Shear', magnitude=.3, prob=1., pad_val=[1, 2]))
    grey = np.full((4, 4, 1), 100, np.uint8)
    assert (run(dict(type='ColorTransform', magnitude=.5, prob=1.), grey)['img'] == 100).all()


def test_a_subclass_of_the_base_draws() -> None:

    class Darken(BaseAugTransform):

        def __init__(self, floor: int, **kwargs: object) -> None:
            super().__init__(**kwargs)
            self.lowest = floor

        def transform(self, results: dict) -> dict:
            if not self.random_disable():
                results['img'] = np.maximum(results['img'] - int(self.random_magnitude()), self.lowest).astype(np.uint8)
            return results

    step = Darken(floor=3, magnitude_range=(0, 50), magnitude_level=5, prob=1.)
    assert step(dict(img=np.full((2, 2, 3), 90, np.uint8)))['img'].max() == 65 and repr(step)

    class More(Rotate):

        def __init__(self, **kwargs: object) -> None:
            super().__init__(angle=90, prob=1., random_negative_prob=0., **kwargs)

    assert (More()(dict(img=SMOOTH[:48, :48]))['img'] == np.rot90(SMOOTH[:48, :48], -1)).all()


def test_efficientnet_crops() -> None:
    """The square of 224 / 256 of the shorter side; random parts keep to the ranges of area and aspect ratio."""
    center = EfficientNetCenterCrop(crop_size=224)
    assert center.box((500, 375)) == (86, 23, 328, 328) and center.plan((500, 375)).size == (224, 224)
    assert EfficientNetCenterCrop(crop_size=240, crop_padding=0).box((300, 200)) == (50, 0, 200, 200)
    assert EfficientNetCenterCrop(crop_size=224).box((1, 1))[2:] == (1, 1)
    crop = EfficientNetRandomCrop(scale=32, min_covered=0.3, crop_ratio_range=(0.08, 0.7))
    np.random.seed(0)
    boxes = np.array([crop.box((80, 100)) for _ in range(2000)])
    top, left, height, width = boxes.T
    assert (top + height <= 80).all() and (left + width <= 100).all()
    drawn = height * width / 8000 != 0.2  # the centre, 40 x 40, where no draw fits
    assert drawn.mean() > 0.95 and len(np.unique(boxes, axis=0)) > 1500
    assert (height * width / 8000 >= 0.3)[drawn].all() and (height * width / 8000 <= 0.7).all()
    assert (width / height > 0.72).all() and (width / height < 1.37).all()
    fallback = EfficientNetRandomCrop(scale=224, min_covered=2.)
    assert fallback.box((500, 375)) == center.box((500, 375))


@pytest.mark.parametrize('step, drawn', [
    (dict(type='RandAugment', policies='timm_increasing', num_policies=2, magnitude_level=9), 'RandAugment'),
    (dict(type='AutoAugment', policies='imagenet'), 'AutoAugment'),
    (dict(type='Shear', magnitude_range=(0, .3)), 'Shear'),
    (dict(type='EfficientNetRandomCrop', scale=24), 'EfficientNetRandomCrop'),
    (dict(type='EfficientNetCenterCrop', crop_size=24), ''),
])  # yapf: disable
def test_the_feature_cache_knows_what_is_random(tmp_path: Path, step: dict, drawn: str) -> None:
    (tmp_path / 'ants').mkdir()
    Image.fromarray(SMOOTH).save(tmp_path / 'ants' / 'a.png')
    steps = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(50, 40)), step, dict(type='PackInputs')]
    assert Views(CustomDataset(data_root=str(tmp_path), pipeline=steps))[0]['drawn'] == drawn


def test_layout() -> None:
    """Pillow's image is RGB for those between, and the sample knows its order afterwards."""
    seen = []

    def own(results: dict) -> dict:
        seen.append(results['img'])
        return dict(results, img=ImageOps.invert(results['img']))

    bgr = np.ascontiguousarray(SMOOTH[..., ::-1])
    out = run(dict(type='ToPIL', to_rgb=True), bgr)
    out = TRANSFORMS.build(dict(type='torchvision/Resize', size=[24, 30]))(own(out))
    assert isinstance(out['img'], Image.Image) and (np.asarray(seen[0]) == SMOOTH).all()
    out = TRANSFORMS.build(dict(type='ToNumpy', to_bgr=True))(out)
    assert out['channel_order'] == 'bgr' and out['img_shape'] == (24, 30)
    assert np.abs(out['img'][..., ::-1].astype(int) -
                  np.asarray(Image.fromarray(255 - SMOOTH).resize((30, 24), 2))).max() < 2
    kept = run(dict(type='Collect', keys=['img']), SMOOTH, 'rgb', gt_label=3)
    assert set(kept) == {'img', 'channel_order'} and PackInputs()(kept)['data_samples'].channel_order == 'rgb'
    with pytest.raises(ConfigError, match="Collect needs 'gt_label'"):
        run(dict(type='Collect', keys=['gt_label']))
    mask = SMOOTH[..., 0]
    assert (run(dict(type='Transpose', keys=['depth'], order=[1, 0]), depth=mask)['depth'] == mask.T).all()
    with pytest.raises(ConfigError, match='NumpyToPIL: the sample has a mask'):
        run(dict(type='ToPIL'), gt_mask=mask)


PEER = """
import sys, json, warnings
warnings.simplefilter('ignore')
import numpy as np, mmpretrain.datasets
from mmengine.registry import init_default_scope
from mmpretrain.registry import TRANSFORMS
init_default_scope('mmpretrain')
def tuples(x):
    if isinstance(x, dict): return {k: tuples(v) for k, v in x.items()}
    return (tuple(x) if x and isinstance(x[0], (int, float)) else [tuples(v) for v in x]) if isinstance(x, list) else x
img, out = np.load(sys.argv[1]), {}
for number, config in enumerate(json.load(open(sys.argv[2]))):
    step = TRANSFORMS.build(tuples(config))
    for seed in range(20):
        np.random.seed(seed)
        out[f'{number}/{seed}'] = step(dict(img=img.copy(), img_shape=img.shape[:2]))['img']
np.savez(sys.argv[3], **out)
"""
_HPARAMS = dict(pad_val=[104, 116, 124], interpolation='bicubic')
_PAD = dict(pad_val=[128, 128, 128])


@pytest.mark.slow
@pytest.mark.skipif('FTCLS_PEERS' not in os.environ, reason='FTCLS_PEERS does not name the Python of the peers')
def test_same_pixels_as_the_peer(tmp_path: Path) -> None:
    """The same seed gives the same draws and pixels, but where an int `pad_val` of Rotate fills one channel there."""
    configs = [
        *(dict(type=name) for name in ('AutoContrast', 'Equalize', 'Invert')),
        dict(type='Posterize', magnitude_range=[4, 0], magnitude_std='inf'), dict(type='Solarize', thr=100.5),
        dict(type='SolarizeAdd', magnitude_range=[0, 110], magnitude_std=2.),
        *(dict(type=name, magnitude_range=[0, .9], magnitude_std='inf') for name in ('ColorTransform', 'Contrast', 'Brightness', 'Sharpness')),
        dict(type='Shear', magnitude=.2), dict(type='Shear', magnitude=.3, direction='vertical', **_HPARAMS),
        dict(type='Translate', magnitude=.23), dict(type='Translate', magnitude=.4, direction='vertical', **_HPARAMS),
        dict(type='Rotate', angle=17., **_PAD), dict(type='Rotate', magnitude_range=[0, 30], magnitude_std=3., scale=1.2, center=[9., 5.], **_HPARAMS),
        dict(type='Cutout', shape=9), dict(type='Cutout', magnitude_range=[1, 41]), dict(type='GaussianBlur', magnitude_range=[.1, 2.], magnitude_std='inf'),
        dict(type='RandAugment', policies='timm_increasing', num_policies=2, magnitude_level=9, magnitude_std=.5, hparams=_HPARAMS),
        dict(type='RandAugment', policies='simple_increasing', num_policies=3, magnitude_level=12, hparams=_PAD),
        dict(type='EfficientNetRandomCrop', scale=32), dict(type='EfficientNetRandomCrop', scale=24, crop_padding=0, backend='pillow', min_covered=.5),
        dict(type='EfficientNetCenterCrop', crop_size=32), dict(type='EfficientNetCenterCrop', crop_size=24, crop_padding=0, interpolation='bilinear'),
        dict(type='RandomChoice', transforms=[[dict(type='Invert')], [dict(type='Equalize')]], prob=[.3, .7]),
        dict(type='RandomApply', transforms=[dict(type='Invert', prob=1.)], prob=.4),
    ]  # yapf: disable
    np.save(tmp_path / 'img.npy', SMOOTH)
    (tmp_path / 'configs.json').write_text(json.dumps(configs))
    files = [str(tmp_path / name) for name in ('img.npy', 'configs.json', 'out.npz')]
    subprocess.run([os.environ['FTCLS_PEERS'], '-c', PEER, *files],
                   check=True,
                   cwd=tmp_path,
                   env={
                       **os.environ, 'PYTHONPATH': ''
                   })
    peers = np.load(files[2])
    for number, config in enumerate(configs):
        step = TRANSFORMS.build(config)
        for seed in range(20):
            np.random.seed(seed)
            ours = step(dict(img=SMOOTH, img_shape=SMOOTH.shape[:2]))['img']
            difference = np.abs(ours.astype(int) - peers[f'{number}/{seed}'])
            # torch's bilinear kernel, with antialiasing, in place of Pillow's
            assert difference.max() <= (config.get('backend') == 'pillow'), (config, seed, difference.max())
