"""Mixup, CutMix and ResizeMix against torchvision, and by their statistics over 10,000 draws; batches of any size."""
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torchvision.transforms import v2

from ftcls.models import ClsDataPreprocessor, CutMix, Mixup, RandomBatchAugment, ResizeMix
from ftcls.registry import BATCH_AUGMENTS
from ftcls.structures import DataSample
from ftcls.utils import ConfigError, DataError

DRAWS = 10_000
CLASSES = 4
AUGMENTS = [dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.), dict(type='ResizeMix', alpha=1.)]


def batch(size: int, side: tuple[int, int] = (12, 16)) -> tuple[torch.Tensor, torch.Tensor]:
    gen = torch.Generator().manual_seed(0)
    return torch.rand(size, 3, *side, generator=gen), F.one_hot(torch.arange(size) % CLASSES, CLASSES).float()


@pytest.fixture
def rolled(monkeypatch: pytest.MonkeyPatch) -> Callable:
    """Let each image be mixed with the one before, as torchvision does, at a given share."""

    def roll(lam: float) -> None:
        monkeypatch.setattr(torch, 'randperm', lambda n: torch.arange(n).roll(1))
        monkeypatch.setattr(np.random, 'beta', lambda a, b: lam)

    return roll


@pytest.mark.parametrize('size', [5, 6])
@pytest.mark.parametrize('seed', range(10))
def test_mixup_is_torchvisions(rolled: Callable, seed: int, size: int) -> None:
    x, score = batch(size)
    theirs = v2.MixUp(alpha=1., num_classes=CLASSES)
    torch.manual_seed(seed)
    rolled(float(theirs._dist.sample(())))
    torch.manual_seed(seed)
    wanted = theirs(x, score.argmax(1))
    torch.testing.assert_close(Mixup(alpha=1.)(x, score), tuple(wanted))


@pytest.mark.parametrize('size', [5, 6])
@pytest.mark.parametrize('seed', range(20))
def test_cutmix_is_torchvisions(rolled: Callable, monkeypatch: pytest.MonkeyPatch, seed: int, size: int) -> None:
    """The same share and middle give the same box, the same images and labels."""
    x, score = batch(size)
    theirs = v2.CutMix(alpha=1., num_classes=CLASSES)
    torch.manual_seed(seed)
    rolled(float(theirs._dist.sample(())))
    middle = [torch.randint(side, size=(1, )).item() for side in (16, 12)]  # torchvision draws x first, ours y
    torch.manual_seed(seed)
    wanted = theirs(x, score.argmax(1))
    middles = iter(reversed(middle))
    monkeypatch.setattr(np.random, 'randint', lambda side: next(middles))
    torch.testing.assert_close(CutMix(alpha=1.)(x, score), tuple(wanted))


@pytest.mark.parametrize('config', [*AUGMENTS, dict(type='CutMix', alpha=1., cutmix_minmax=[0.2, 0.8]),
                                    dict(type='ResizeMix', alpha=1., interpolation='nearest')])  # yapf: disable
@pytest.mark.parametrize('size', [1, 2, 5, 7])
def test_any_batch(config: dict, size: int) -> None:
    """Odd batches, and a single image: labels sum to 1, the images given are left as they were."""
    torch.manual_seed(0)
    np.random.seed(0)
    x, score = batch(size)
    before = x.clone(), score.clone()
    augment = BATCH_AUGMENTS.build(config)
    for _ in range(20):
        mixed, soft = augment(x, score)
        assert mixed.shape == x.shape and soft.shape == score.shape
        torch.testing.assert_close(soft.sum(1), torch.ones(size))
        torch.testing.assert_close(soft.sum(0), score.sum(0))  # each image is somebody's partner once
    assert torch.equal(x, before[0]) and torch.equal(score, before[1])


@pytest.mark.parametrize('augment', AUGMENTS)
def test_an_odd_batch_goes_through_the_preprocessor(augment: dict) -> None:
    np.random.seed(0)
    torch.manual_seed(0)
    pre = ClsDataPreprocessor([0.], [1.], num_classes=CLASSES, batch_augments=dict(augments=augment))
    images = [torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8) for _ in range(5)]
    samples = [DataSample().set_gt_label(i % CLASSES) for i in range(5)]
    data = pre(dict(inputs=images, data_samples=samples), training=True)
    assert data['inputs'].shape == (5, 3, 8, 8) and not torch.equal(data['inputs'], torch.stack(images).float())
    scores = torch.stack([s.gt_score for s in data['data_samples']])
    torch.testing.assert_close(scores.sum(1), torch.ones(5))
    assert ((scores > 0).sum(1) == 2).any()


def shares(augment: Callable, side: tuple[int, int] = (8, 8)) -> np.ndarray:
    """Return 10,000 times what an image keeps of its own label; the other's is known by its class."""
    np.random.seed(0)
    torch.manual_seed(0)
    x, score = torch.zeros(2, 1, *side), torch.eye(2)
    kept = []
    while len(kept) < DRAWS:
        soft = augment(x, score)[1][0, 0].item()
        kept.append(soft)
    return np.array(kept)


def test_mixup_draws_from_the_beta_distribution() -> None:
    """An image is its own partner half the time in a batch of two, and then keeps all."""
    kept = shares(Mixup(alpha=0.4))
    mixed = kept[kept < 1]
    assert len(mixed) / DRAWS == pytest.approx(0.5, abs=0.02)
    assert stats.kstest(mixed, stats.beta(0.4, 0.4).cdf).pvalue > 0.01


def test_cutmix_boxes() -> None:
    """Without the cut at the border, the area left is Beta's; the labels are shared by the true area."""
    np.random.seed(0)
    augment = CutMix(alpha=1.)
    x = torch.zeros(2, 1, 100, 100)
    x[1] = 1
    score = torch.eye(2)
    uncut = []
    for _ in range(DRAWS):
        lam = augment._draw()
        top, bottom, left, right = augment._box(100, 100, lam)
        assert 0 <= top <= bottom <= 100 and 0 <= left <= right <= 100
        if top > 0 and left > 0 and bottom < 100 and right < 100:
            uncut.append(1 - (bottom - top) * (right - left) / 1e4 - lam)
    # whole, even numbers of pixels: the area differs by up to 2 * 2 of 100 pixels' length
    assert len(uncut) > 1000 and np.abs(uncut).max() < 0.04
    torch.manual_seed(0)
    for _ in range(100):
        mixed, soft = augment(x, score)
        torch.testing.assert_close(mixed.mean(dim=(1, 2, 3)), soft[:, 1])


def test_cutmix_minmax_and_uncorrected_labels() -> None:
    np.random.seed(0)
    augment = CutMix(alpha=1., cutmix_minmax=(0.2, 0.8))
    boxes = np.array([augment._box(20, 40, 0.5) for _ in range(DRAWS)])
    for least, greatest, side in ((0, 1, 20), (2, 3, 40)):
        lengths = boxes[:, greatest] - boxes[:, least]
        assert (lengths.min(), lengths.max()) == (0.2 * side, 0.8 * side)
        assert lengths.mean() == pytest.approx(side / 2, rel=0.02)
        assert boxes[:, least].min() == 0 and boxes[:, greatest].max() == side
    x, score = batch(5)
    np.random.seed(2)
    lam = np.random.beta(1., 1.)
    np.random.seed(2)
    torch.manual_seed(1)
    soft = CutMix(alpha=1., correct_lam=False)(x, score)[1]
    for kept in soft[score == 1].tolist():  # 1 where an image is its own partner, or has one of its class
        assert kept == pytest.approx(lam) or kept == pytest.approx(1)
    assert (soft < 1).any()


@pytest.mark.parametrize('mode', ['bilinear', 'nearest', 'area', 'bicubic', 'nearest-exact'])
def test_resizemix_pastes_the_whole_other_image(rolled: Callable, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    rolled(0.5)
    middles = iter([10, 16])
    monkeypatch.setattr(np.random, 'randint', lambda side: next(middles))
    x, score = batch(3, side=(20, 32))
    mixed, soft = ResizeMix(alpha=1., lam_min=0.5, lam_max=1., interpolation=mode)(x, score)
    # 0.75 stay: the piece is 0.5 of height and width, 10 x 16, in the middle
    wanted = x.clone()
    wanted[:, :, 5:15, 8:24] = F.interpolate(x.roll(1, 0), size=(10, 16), mode=mode)
    torch.testing.assert_close(mixed, wanted)
    torch.testing.assert_close(soft, 0.75 * score + 0.25 * score.roll(1, 0))


def test_resizemix_draws() -> None:
    np.random.seed(0)
    lam = np.array([ResizeMix(alpha=2.)._draw() for _ in range(DRAWS)])
    assert stats.kstest(lam, stats.beta(2., 2., loc=0.1, scale=0.7).cdf).pvalue > 0.01
    kept = shares(ResizeMix(alpha=1., prob=0.4), side=(64, 64))
    # of 40 %, half are mixed with another image
    assert (kept < 1).mean() == pytest.approx(0.2, abs=0.02)
    x, score = batch(3, side=(2, 2))  # a piece of less than a pixel
    mixed, soft = ResizeMix(alpha=1.)(x, score)
    assert mixed.shape == x.shape and torch.isfinite(soft).all()


def test_probabilities_choose_and_are_described() -> None:
    np.random.seed(0)
    torch.manual_seed(0)
    augment = RandomBatchAugment([dict(type='Mixup', alpha=1.), dict(type='CutMix', alpha=1.)], [0.5, 0.2])
    assert augment.describe() == ('of the training batches 50% get Mixup(alpha=1.0), '
                                  '20% get CutMix(alpha=1.0, cutmix_minmax=None, correct_lam=True), '
                                  '30% stay as they are; their labels become scores')
    x, score = torch.zeros(8, 1, 8, 8), torch.eye(8)
    left = sum(torch.equal(augment(x, score)[1], score) for _ in range(2000))
    # a few boxes are less than a pixel, and leave the labels alone, too
    assert left / 2000 == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize('config, words', [
    (dict(type='Mixup', alpha=0), r'Mixup\.alpha=0.*above 0'),
    (dict(type='CutMix', alpha=-1.), 'above 0'),
    (dict(type='CutMix', alpha=1., cutmix_minmax=[0.8, 0.2]), 'least, greatest'),
    (dict(type='CutMix', alpha=1., cutmix_minmax=[0.2, 1.5]), r'cutmix_minmax\.1=1\.5.*from 0 to 1'),
    (dict(type='CutMix', alpha=1., cutmix_minmax=[0.2]), 'cutmix_minmax'),
    (dict(type='ResizeMix', alpha=1., lam_min=0.9), 'above lam_max=0.8'),
    (dict(type='ResizeMix', alpha=1., lam_max=2.), 'from 0 to 1'),
    (dict(type='ResizeMix', alpha=1., interpolation='bilinea'), "did you mean 'bilinear'"),
    (dict(type='ResizeMix', alpha=1., prob=1.5), 'prob=1.5'),
])  # yapf: disable
def test_wrong_arguments(config: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        BATCH_AUGMENTS.build(config)


def test_labels_must_be_scores() -> None:
    with pytest.raises(DataError, match=r'scores \(N, num_classes\), got shape \(5,\)'):
        Mixup(alpha=1.)(batch(5)[0], torch.arange(5))
