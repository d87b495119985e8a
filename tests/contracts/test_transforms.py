"""What every registered transform promises; a new one is found in the registry."""
import inspect
import re
from importlib.util import find_spec

import numpy as np
import pytest
import torch

import ftcls.datasets.transforms.torchvision_wrapper  # noqa: F401 (registers the last of them)
from ftcls.datasets.transforms import BaseTransform
from ftcls.registry import TRANSFORMS
from ftcls.utils import ConfigError

# without second names such as Albu
OURS = {
    name
    for name, cls in TRANSFORMS.module_dict.items()
    if cls.__module__.startswith('ftcls.') and name.rpartition('/')[2] == cls.__name__
}
NAMES = sorted(OURS - (set() if find_spec('albumentations') else {'Albumentations'}))
# Arguments of those that cannot be built without any.
ARGUMENTS = {
    'Albumentations': dict(transforms=[dict(type='RandomBrightnessContrast', p=1.)]),
    **dict.fromkeys(('Brightness', 'ColorTransform', 'Contrast', 'Sharpness', 'Shear', 'Translate'), dict(magnitude=.3, prob=1.)),
    'RandAugment': dict(policies='timm_increasing', num_policies=3, magnitude_level=9, magnitude_std=.5), 'AutoAugment': dict(policies='imagenet'),
    'Posterize': dict(bits=4, prob=1.), 'Rotate': dict(angle=30., prob=1.), 'Solarize': dict(thr=100, prob=1.), 'SolarizeAdd': dict(magnitude=90., prob=1.),
    'Cutout': dict(shape=(9, 12), prob=1.), 'Collect': dict(keys=['img', 'img_shape', 'gt_mask', 'gt_label', 'sample_idx']),
    'EfficientNetCenterCrop': dict(crop_size=8), 'EfficientNetRandomCrop': dict(scale=8), 'Transpose': dict(keys=['gt_mask'], order=[0, 1]),
    'RandomApply': dict(transforms=[dict(type='Invert')]), 'RandomChoice': dict(transforms=[dict(type='Invert'), []]),
    'GaussianBlur': dict(radius=1.), 'Lighting': dict(eigval=[50., 5., 1.], eigvec=[[.6, .7, .4], [.6, 0., -.8], [.6, -.7, .4]]),
    'CenterCrop': dict(crop_size=8), 'CornerCrop': dict(crop_size=8),
    'TestTimeAug': dict(transforms=[[dict(type='PackInputs')]]), 'Normalize': dict(mean=[1.] * 3, std=[2.] * 3), 'Pad': dict(size=40),
    'RandomErasing': dict(erase_prob=1.), 'RandomCrop': dict(crop_size=8), 'RandomResizedCrop': dict(scale=8), 'Resize': dict(scale=8),
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
# the last two give several samples, and an image of Pillow
OTHER_INPUT = ('LoadAnnotations', 'LoadImageFromFile', 'TestTimeAug', 'NumpyToPIL')
# torchvision refuses to move a mask along with these.
POLICIES = ('AugMix', 'AutoAugment', 'RandAugment', 'TrivialAugmentWide')
NO_MASK = ('AugMix', 'TrivialAugmentWide', *(f'torchvision/{name}' for name in POLICIES))


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


# These change colours, or nothing; every other one, also one that is new, must move image and mask together.
COLORS = {
    'AutoContrast', 'Brightness', 'Collect', 'Transpose', 'ColorTransform', 'Contrast', 'Equalize', 'Invert', 'Posterize', 'Sharpness', 'Solarize', 'SolarizeAdd',
    'ColorJitter', 'GaussianBlur', 'Lighting', 'Normalize', 'RandomGrayscale', 'torchvision/ColorJitter', 'torchvision/ConvertImageDtype', 'torchvision/GaussianNoise',
    'torchvision/Normalize', 'torchvision/RandomChannelPermutation', 'torchvision/RandomInvert',
    'torchvision/RandomPhotometricDistort', 'torchvision/RandomSolarize', 'torchvision/ToDtype', 'torchvision/ToPureTensor'
}  # yapf: disable
# Of these, the marks are moved by what is nested.
NESTED = ('Compose', 'RandomApply', 'RandomChoice', 'RandomOrder')
GEOMETRY = {
    **{f'torchvision/{name}': dict(transforms=[dict(type='RandomAffine', degrees=30), dict(type='RandomHorizontalFlip')])
       for name in NESTED},
    'Shear': dict(magnitude=.3, prob=1., direction='vertical'), 'Translate': dict(magnitude=.2, prob=1.), 'Rotate': dict(angle=20., prob=1.),
    'AutoAugment': dict(policies=[[dict(type='Rotate', angle=20., prob=1.), dict(type='Shear', magnitude=.2, prob=1.)]]),
    'RandAugment': dict(policies=[dict(type='Translate', magnitude_range=[0, .3], prob=1.)], num_policies=2),
    'RandomApply': dict(transforms=[dict(type='Rotate', angle=20., prob=1.)], prob=1.),
    'RandomChoice': dict(transforms=[dict(type='RandomFlip', prob=1.), [dict(type='Rotate', angle=20., prob=1.)]]),
    'EfficientNetCenterCrop': dict(crop_size=48), 'EfficientNetRandomCrop': dict(scale=48),
    'Albumentations': dict(transforms=[dict(type='Affine', rotate=(30, 31), p=1.), dict(type='HorizontalFlip', p=1.)]),
    'RandomFlip': dict(prob=1., direction='diagonal'), 'torchvision/RandomHorizontalFlip': dict(p=1.),
    'torchvision/RandomRotation': dict(degrees=(30, 31)), 'torchvision/RandomVerticalFlip': dict(p=1.), 'torchvision/RandomZoomOut': dict(p=1.),
    'torchvision/RandomPerspective': dict(p=1.), 'torchvision/RandomAffine': dict(degrees=30, translate=(.2, .2), shear=10),
    'RandomCrop': dict(crop_size=40, padding=20), 'CenterCrop': dict(crop_size=80, auto_pad=True), 'CornerCrop': dict(crop_size=40),
    'Resize': dict(scale=(80, 50)), 'ResizeEdge': dict(scale=40), 'RandomResizedCrop': dict(scale=48), 'Pad': dict(size=120),
    'torchvision/CenterCrop': dict(size=80), 'torchvision/RandomCrop': dict(size=40, padding=10),
    'torchvision/RandomResizedCrop': dict(size=48), 'torchvision/Resize': dict(size=[50, 80]),
    'torchvision/RandomResize': dict(min_size=40, max_size=80), 'torchvision/RandomShortestSize': dict(min_size=40),
    'torchvision/ScaleJitter': dict(target_size=[64, 64]), 'torchvision/Pad': dict(padding=9),
    'torchvision/ElasticTransform': dict(alpha=30.)
}  # yapf: disable


@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('name', [n for n in NAMES if n not in COLORS and n not in NO_MASK and n not in OTHER_INPUT])
def test_image_and_mask_stay_aligned(name: str, seed: int) -> None:
    """Marks that have no symmetry are in image and mask; they are found at the same places afterwards."""
    mask = np.zeros((64, 96), np.uint8)
    mask[8:30, 10:24] = mask[34:58, 14:60] = mask[4:20, 70:90] = 1
    img = np.repeat(mask[..., None] * 255, 3, axis=2)
    torch.manual_seed(seed)
    np.random.seed(seed)
    out = TRANSFORMS.build({
        'type': name,
        **ARGUMENTS.get(name, {}),
        **GEOMETRY.get(name, {})
    })(
        dict(img=img, gt_mask=mask, img_shape=(64, 96), channel_order='rgb'))
    if 'inputs' in out:
        moved, marks = out['data_samples'].gt_mask.numpy(), out['inputs'].numpy().transpose(1, 2, 0)
    else:
        moved, marks = out['gt_mask'], out['img']
    assert moved.shape == marks.shape[:2] and set(np.unique(moved)) <= {0, 1, 255}
    known = moved != 255
    assert (moved == 1).any() or 'Crop' in name or 'Affine' in name
    # along the edges the image is interpolated, the mask is not
    agree = (moved == (marks.mean(axis=2) > 127))[known].mean()
    assert agree > 0.95, f'{name}: image and mask agree in {agree:.1%} of the pixels'
    if GEOMETRY.get(name) and moved.shape == mask.shape and not set(NESTED) & {name[12:]}:
        assert (moved[known] != mask[known]).any(), f'{name} has moved nothing: the test shows nothing'


@pytest.mark.parametrize('name', ['Pad', 'RandomAffine', 'RandomRotation', 'RandomPerspective', 'RandomZoomOut'])
def test_where_there_is_no_picture_is_no_background(name: str) -> None:
    name = f'torchvision/{name}'
    torch.manual_seed(0)
    transform = TRANSFORMS.build({'type': name, **ARGUMENTS.get(name, {}), **GEOMETRY.get(name, {})})
    out = transform(dict(img=np.full((64, 96, 3), 200, np.uint8), gt_mask=np.zeros((64, 96), np.uint8)))
    filled = (out['img'] == 0).all(axis=2)
    assert filled.any() and (out['gt_mask'][filled] == 255).all()


@pytest.mark.parametrize('name', NAMES)
def test_says_what_is_missing(name: str) -> None:
    with pytest.raises(ConfigError, match='mask' if name in ('LoadAnnotations', 'Transpose') else 'img'):
        build(name)({'gt_label': 0})
