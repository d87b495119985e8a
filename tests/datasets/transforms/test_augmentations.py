"""Augmentations against torchvision's on the same random state, or by their statistics over 10,000 draws."""
import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from ftcls.datasets.transforms import GaussianBlur, Lighting, RandomErasing
from ftcls.registry import TRANSFORMS
from ftcls.utils import ConfigError, DataError

RNG = np.random.RandomState(0)
RGB = RNG.randint(0, 256, (24, 32, 3), dtype=np.uint8)
DRAWS = 10_000
# fb.resnet.torch's of ImageNet, rows red, green, blue
EIGVAL = [55.4625, 4.7940, 1.1475]
EIGVEC = [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]


def sample(img: np.ndarray, **others: object) -> dict:
    return dict(img=img, img_shape=img.shape[:2], **others)


@pytest.mark.parametrize('config, direct', [
    (dict(type='AutoAugment'), v2.AutoAugment()),
    (dict(type='AutoAugment', policy='cifar10', interpolation='bilinear', fill=[9, 8, 7]),
     v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10, v2.InterpolationMode.BILINEAR, fill=[9, 8, 7])),
    (dict(type='RandAugment', num_ops=3, magnitude=12), v2.RandAugment(num_ops=3, magnitude=12)),
    (dict(type='TrivialAugmentWide', num_magnitude_bins=20), v2.TrivialAugmentWide(num_magnitude_bins=20)),
    (dict(type='AugMix', severity=5, all_ops=False), v2.AugMix(severity=5, all_ops=False)),
])  # yapf: disable
def test_policies_are_torchvisions_on_the_same_random_state(config: dict, direct: v2.Transform) -> None:
    transform = TRANSFORMS.build(config)
    changed = 0
    for seed in range(50):
        torch.manual_seed(seed)
        expected = direct(tv_tensors.Image(torch.tensor(RGB.transpose(2, 0, 1)))).numpy().transpose(1, 2, 0)
        changed += (expected != RGB).any()
        for order in ('rgb', 'bgr'):
            img = RGB if order == 'rgb' else np.ascontiguousarray(RGB[..., ::-1])
            torch.manual_seed(seed)
            out = transform(sample(img, channel_order=order))['img']
            assert out.dtype == np.uint8 and (out == (expected if order == 'rgb' else expected[..., ::-1])).all()
    assert changed > 25


def test_policies_refuse_masks_and_wrong_words() -> None:
    with pytest.raises(ConfigError, match='Mask'):
        TRANSFORMS.build(dict(type='TrivialAugmentWide'))(sample(RGB, gt_mask=np.zeros((24, 32), np.uint8)))
    with pytest.raises(ConfigError, match="policy='imagenett'.*did you mean 'imagenet'"):
        TRANSFORMS.build(dict(type='AutoAugment', policy='imagenett'))
    for given in (dict(policies='timm_increasing'), dict(num_policies=2, num_ops=2), dict(hparams={}, magnitude=3)):
        with pytest.raises(ConfigError, match=f"RandAugment.{next(iter(given))}=.*policies, num_policies.*num_ops"):
            TRANSFORMS.build(dict(type='RandAugment', **given))
    with pytest.raises(ConfigError, match="policies='timm_incresing'.*did you mean 'timm_increasing'"):
        TRANSFORMS.build(dict(type='RandAugment', policies='timm_incresing', num_policies=2, magnitude_level=9))


def rectangle(out: np.ndarray, before: np.ndarray) -> tuple[int, int, int, int] | None:
    """Return top, left, height and width of what has changed."""
    rows, columns = ((out != before).any(axis=(2, axis)).nonzero()[0] for axis in (1, 0))
    return (rows[0], columns[0], rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1) if len(rows) else None


def test_erasing_draws_what_torchvisions_draws() -> None:
    """Kolmogorov and Smirnov see no difference of place, height and width over 10,000 draws."""
    np.random.seed(0)
    torch.manual_seed(0)
    ours = RandomErasing(erase_prob=1., min_area_ratio=0.02, max_area_ratio=0.2, aspect_range=(0.5, 2.))
    torchvisions = v2.RandomErasing(p=1., scale=(0.02, 0.2), ratio=(0.5, 2.))
    drawn = np.array([ours._rectangle(64, 64) for _ in range(DRAWS)])
    blank = torch.zeros(3, 64, 64)
    params = [torchvisions.make_params([blank]) for _ in range(DRAWS)]
    wanted = np.array([[p['i'], p['j'], p['h'], p['w']] for p in params])
    for column, name in enumerate(('top', 'left', 'height', 'width')):
        assert stats.ks_2samp(drawn[:, column], wanted[:, column]).pvalue > 0.01, name
    # the aspect is drawn evenly over its logarithm: mean 0, standard deviation log(4) / sqrt(12)
    aspect = np.log(drawn[:, 2] / drawn[:, 3])
    assert aspect.mean() == pytest.approx(0, abs=0.02) and aspect.std() == pytest.approx(np.log(4) / 12**0.5, rel=0.03)


def test_erasing_covers_as_often_and_as_much_as_it_says() -> None:
    np.random.seed(0)
    img = np.full((20, 20, 3), 7, np.uint8)
    erase = RandomErasing(erase_prob=0.3, min_area_ratio=0.1, max_area_ratio=0.3, aspect_range=1.)
    found = [rectangle(erase(sample(img))['img'], img) for _ in range(DRAWS)]
    hits = [box for box in found if box]
    # standard deviation of the share: sqrt(0.3 * 0.7 / 10000) = 0.005
    assert len(hits) / DRAWS == pytest.approx(0.3, abs=0.02)
    areas = np.array([h * w / 400 for _, _, h, w in hits])
    assert areas.mean() == pytest.approx(0.2, abs=0.005) and all(h == w for _, _, h, w in hits)
    assert (img == 7).all()


@pytest.mark.parametrize('arguments, mean, std', [
    (dict(fill_color=(10, 20, 30)), (10, 20, 30), 0),
    (dict(fill_color=77), (77, 77, 77), 0),
    (dict(mode='rand'), (127.5, 127.5, 127.5), 255 / 12**0.5),
    (dict(mode='rand', fill_color=(100, 120, 140), fill_std=10), (100, 120, 140), 10),
])  # yapf: disable
def test_erasing_fills(arguments: dict, mean: tuple, std: float) -> None:
    np.random.seed(0)
    erase = RandomErasing(erase_prob=1., min_area_ratio=1., max_area_ratio=1., aspect_range=1., **arguments)
    # 10,000 pixels a channel
    pixels = erase(sample(np.zeros((100, 100, 3), np.uint8)))['img'].reshape(-1, 3).astype(float)
    assert pixels.mean(axis=0) == pytest.approx(mean, abs=max(4 * std / 100, 1e-9))
    assert pixels.std(axis=0) == pytest.approx([std] * 3, rel=0.03, abs=1e-9)


def test_erasing_ignores_in_the_mask_what_it_covers() -> None:
    np.random.seed(0)
    mask = (RGB[..., 0] > 127).astype(np.uint8)
    out = RandomErasing(erase_prob=1., fill_color=0)(sample(RGB, gt_mask=mask))
    top, left, height, width = rectangle(out['img'], RGB)
    covered = np.zeros_like(mask, bool)
    covered[top:top + height, left:left + width] = True
    assert (out['gt_mask'] == np.where(covered, 255, mask)).all() and mask.max() == 1
    grey = RandomErasing(erase_prob=1.)(sample(np.zeros((9, 9, 1), np.uint8)))['img']
    assert set(np.unique(grey)) == {0, 128}


def test_lighting_shifts_along_the_axes() -> None:
    np.random.seed(3)
    light = Lighting(EIGVAL, EIGVEC, alphastd=0.1)
    grey = np.full((1, 1, 3), 128, np.uint8)
    shifts = np.array([light(sample(grey))['img'][0, 0] for _ in range(DRAWS)]) - 128.
    wanted = np.array(EIGVEC) @ np.diag((0.1 * np.array(EIGVAL))**2) @ np.array(EIGVEC).T
    # rounding to whole numbers adds 1/12; the standard error of a variance v is v * sqrt(2 / 10000)
    assert np.cov(shifts.T) == pytest.approx(wanted + np.eye(3) / 12, abs=0.06 * wanted.max())
    assert shifts.mean(axis=0) == pytest.approx([0, 0, 0], abs=0.15)


def test_lighting_keeps_to_the_order_and_the_range() -> None:
    np.random.seed(1)
    alpha = np.random.normal(0, 1., 3)
    shift = np.array(EIGVEC) @ (np.array(EIGVAL) * alpha)
    wanted = np.clip(np.rint(RGB + shift), 0, 255).astype(np.uint8)
    assert (np.abs(shift) > 20).any()
    for order, to_rgb in (('rgb', False), ('rgb', True), ('bgr', True)):
        np.random.seed(1)
        img = RGB if order == 'rgb' else np.ascontiguousarray(RGB[..., ::-1])
        out = Lighting(EIGVAL, EIGVEC, alphastd=1., to_rgb=to_rgb)(sample(img, channel_order=order))
        assert (out['img'] == wanted).all() and out['channel_order'] == 'rgb'


def test_blur_is_near_torchvisions_gaussian() -> None:
    smooth = np.asarray(Image.fromarray(RGB).resize((96, 72), Image.Resampling.BICUBIC))
    for radius in (0.5, 1., 2.):
        out = GaussianBlur(radius=radius, prob=1.)(sample(smooth))['img'].astype(float)
        wanted = F.gaussian_blur(torch.tensor(smooth.transpose(2, 0, 1)), [25, 25],
                                 [radius, radius]).numpy().transpose(1, 2, 0)
        inner = np.s_[12:-12, 12:-12]  # at the border, Pillow repeats it and torchvision mirrors
        assert np.abs(out[inner] - wanted[inner]).max() <= 4 and np.abs(out - smooth).max() > 8
        grey = GaussianBlur(radius=radius, prob=1.)(sample(smooth[..., :1]))['img']
        assert (grey[..., 0] == out[..., 0]).all()


@pytest.mark.parametrize('arguments, mean, std', [
    (dict(magnitude_level=5), 1.05, 0.),
    (dict(magnitude_std='inf'), 1.05, 1.9 / 12**0.5),
    (dict(magnitude_level=5, magnitude_std=0.5), 1.05, 0.19 * 0.5),
])  # yapf: disable
def test_blur_draws_its_radius(arguments: dict, mean: float, std: float) -> None:
    np.random.seed(0)
    blur = GaussianBlur(magnitude_range=(0.1, 2.0), **arguments)
    radii = np.array([blur.random_magnitude() for _ in range(DRAWS)])
    assert radii.mean() == pytest.approx(mean, abs=0.02) and radii.std() == pytest.approx(std, rel=0.03, abs=1e-9)
    blurred = [(GaussianBlur(radius=1., prob=0.3)(sample(RGB[:4, :4]))['img'] != RGB[:4, :4]).any()
               for _ in range(DRAWS)]
    assert np.mean(blurred) == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize('config, words', [
    (dict(type='RandomErasing', erase_prob=2), 'erase_prob=2: must be from 0 to 1'),
    (dict(type='RandomErasing', min_area_ratio=0.5), 'above max_area_ratio=0.4'),
    (dict(type='RandomErasing', aspect_range=(2., 1.)), r'aspect_range=\(2.0, 1.0\)'),
    (dict(type='RandomErasing', mode='random'), "did you mean 'rand'"),
    (dict(type='RandomErasing', fill_std=3.), "mode='rand' only"),
    (dict(type='RandAugment', magnitude=40), 'magnitude=40: must be from 0 to 30'),
    (dict(type='GaussianBlur'), 'exactly one'),
    (dict(type='GaussianBlur', radius=-1.), 'radius=-1.0: must be at least 0'),
    (dict(type='GaussianBlur', magnitude_range=(-1, 1)), 'GaussianBlur.magnitude_range.radius=-1: must be at least 0'),
    (dict(type='GaussianBlur', radius=1., magnitude_std='infinite'), "'inf'"),
    (dict(type='Lighting', eigval=[1., 2.], eigvec=EIGVEC), 'one row per channel'),
    (dict(type='Lighting', eigval=EIGVAL, eigvec=EIGVEC, alphastd=-1.), 'alphastd=-1.0: must be at least 0'),
])  # yapf: disable
def test_wrong_arguments(config: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        TRANSFORMS.build(config)


def test_wrong_images() -> None:
    floats = sample(np.zeros((4, 4, 3), np.float32))
    for transform in (RandomErasing(), GaussianBlur(radius=1.), Lighting(EIGVAL, EIGVEC)):
        with pytest.raises(DataError, match='takes uint8 images.*float32'):
            transform(floats)
    with pytest.raises(DataError, match='3 rows, the image 1 channels'):
        Lighting(EIGVAL, EIGVEC)(sample(np.zeros((4, 4, 1), np.uint8)))
    with pytest.raises(ConfigError, match='per channel .1.'):
        RandomErasing(erase_prob=1., fill_color=(1, 2, 3))(sample(np.zeros((4, 4, 1), np.uint8)))
