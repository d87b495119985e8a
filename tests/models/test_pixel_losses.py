"""Losses over pixels against NumPy in float64: per image and batch, ignored pixels, half precision, empty masks."""
from collections.abc import Callable

import numpy as np
import pytest
import torch

import ftcls.models  # noqa: F401
from ftcls.models.losses import PixelLoss
from ftcls.registry import MODELS
from ftcls.utils import ConfigError, DataError


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def bce(x: np.ndarray, t: np.ndarray, pos_weight: float = 1.0) -> float:
    return float(np.mean(-pos_weight * t * np.log(sigmoid(x)) - (1 - t) * np.log(1 - sigmoid(x))))


def focal(x: np.ndarray, t: np.ndarray, gamma: float = 2.0, alpha: float = 0.25) -> float:
    p = sigmoid(x)
    right, factor = np.where(t == 1, p, 1 - p), np.where(t == 1, alpha, 1 - alpha)
    return float(np.mean(-factor * (1 - right)**gamma * np.log(right)))


def dice(x: np.ndarray, t: np.ndarray, smooth: float = 1.0) -> float:
    p = sigmoid(x)
    return float(1 - (2 * (p * t).sum() + smooth) / (p.sum() + t.sum() + smooth))


def iou(x: np.ndarray, t: np.ndarray, smooth: float = 1.0) -> float:
    p = sigmoid(x)
    both = (p * t).sum()
    return float(1 - (both + smooth) / (p.sum() + t.sum() - both + smooth))


def tversky(x: np.ndarray, t: np.ndarray, alpha: float = 0.3, beta: float = 0.7, smooth: float = 1.0) -> float:
    p = sigmoid(x)
    hit = (p * t).sum()
    return float(1 - (hit + smooth) / (hit + alpha * (p * (1 - t)).sum() + beta * ((1 - p) * t).sum() + smooth))


def bce_dice(x: np.ndarray, t: np.ndarray) -> float:
    return 0.5 * bce(x, t, 2.0) + 2 * dice(x, t)


CASES = [
    (dict(type='BCEWithLogitsLoss'), bce),
    (dict(type='BCEWithLogitsLoss', pos_weight=3.0), lambda x, t: bce(x, t, 3.0)),
    (dict(type='DiceLoss'), dice),
    (dict(type='DiceLoss', smooth=0), lambda x, t: dice(x, t, 0)),
    (dict(type='IoULoss', smooth=5.), lambda x, t: iou(x, t, 5)),
    (dict(type='TverskyLoss'), tversky),
    (dict(type='TverskyLoss', alpha=0.9, beta=0.1), lambda x, t: tversky(x, t, 0.9, 0.1)),
    (dict(type='FocalLoss'), focal),
    (dict(type='FocalLoss', gamma=1.0, alpha=0.6), lambda x, t: focal(x, t, 1.0, 0.6)),
    (dict(type='BCEDiceLoss', bce_weight=0.5, dice_weight=2.0, pos_weight=2.0), bce_dice),
]
NAMES = sorted({case[0]['type'] for case in CASES})


@pytest.fixture(scope='module')
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    gen = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 1, 10, 12, generator=gen) * 2
    # foreground from rare to common, and in the second image a third to be ignored
    target = (torch.rand(3, 10, 12, generator=gen) < torch.tensor([0.1, 0.5, 0.8]).view(3, 1, 1)).to(torch.uint8)
    target[1, :, 8:] = 255
    return logits, target


def rows(logits: torch.Tensor, target: torch.Tensor) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the pixels that count of each image."""
    pairs = []
    for x, t in zip(logits.double().numpy().reshape(len(logits), -1), target.numpy().reshape(len(target), -1)):
        pairs.append((x[t != 255], t[t != 255].astype(np.float64)))
    return pairs


@pytest.mark.parametrize(
    'config, reference', CASES, ids=lambda x: '' if callable(x) else '-'.join(map(str, x.values())))
def test_against_numpy(config: dict, reference: Callable, batch: tuple) -> None:
    logits, target = batch
    pairs = rows(*batch)
    each = [reference(x, t) for x, t in pairs]
    together = reference(*(np.concatenate(parts) for parts in zip(*pairs)))

    def value(**more: object) -> np.ndarray:
        return MODELS.build(dict(config, **more))(logits, target).numpy()

    assert value() == pytest.approx(together, rel=1e-5)
    assert value(per_image=True) == pytest.approx(np.mean(each), rel=1e-5)
    assert value(reduction='none') == pytest.approx(np.array(each), rel=1e-5)
    assert value(reduction='sum') == pytest.approx(np.sum(each), rel=1e-5)
    assert value(loss_weight=3.) == pytest.approx(3 * together, rel=1e-5)
    loss = MODELS.build(config)
    assert loss(logits, target[:, None]).item() == pytest.approx(together, rel=1e-5)
    assert loss(logits, target, reduction_override='none').numpy() == pytest.approx(np.array(each), rel=1e-5)
    other = torch.where(target == 255, 7, target)
    value_of_others = MODELS.build(dict(config, ignore_index=7))(logits, other)
    assert value_of_others.item() == pytest.approx(together, rel=1e-5)
    # a pixel of weight 0 does not count
    weight = (target != 255).float()
    zeroed = torch.where(target == 255, 0, target)
    assert loss(logits, zeroed, weight).item() == pytest.approx(together, rel=1e-5)


@pytest.mark.parametrize('name', NAMES)
def test_what_is_ignored_gets_no_gradient(name: str, batch: tuple) -> None:
    logits, target = batch[0].clone().requires_grad_(), batch[1]
    MODELS.build(dict(type=name))(logits, target).backward()
    gradient = logits.grad[:, 0]
    assert (gradient[target == 255] == 0).all() and (gradient[target != 255] != 0).all()


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('smooth', [0, 1.0])
def test_empty_mask_with_empty_prediction_is_perfect(name: str, smooth: float) -> None:
    options = {} if name in ('BCEWithLogitsLoss', 'FocalLoss') else dict(smooth=smooth)
    loss = MODELS.build(dict(type=name, **options))
    logits = torch.full((2, 1, 64, 64), -100., requires_grad=True)
    for target in (torch.zeros(2, 64, 64), torch.full((2, 64, 64), 255)):
        value = loss(logits, target)
        value.backward()
        assert value.item() == pytest.approx(0, abs=1e-6) and torch.isfinite(logits.grad).all()
    # so is a full one, and the opposite is not
    full = torch.ones(2, 64, 64)
    assert loss(-logits, full).item() == pytest.approx(0, abs=1e-6)
    assert loss(logits, full).item() > 0.9


@pytest.mark.parametrize('name, dtype', [(name, torch.float16) for name in NAMES] + [('DiceLoss', torch.bfloat16)])
def test_half_precision_does_not_overflow(name: str, dtype: torch.dtype) -> None:
    """32 masks of 512x512 pixels of foreground: 8,388,608 of them, and float16 ends at 65,504."""
    logits = torch.full((32, 1, 512, 512), 2.0, dtype=dtype, requires_grad=True)
    target = torch.ones(32, 512, 512, dtype=torch.uint8)
    assert torch.isinf(logits.detach().sum()) == (dtype == torch.float16)
    value = MODELS.build(dict(type=name))(logits, target)
    value.backward()
    x, t = np.full(32 * 512 * 512, 2.0), np.ones(32 * 512 * 512)
    wanted = dict(
        BCEWithLogitsLoss=bce,
        BCEDiceLoss=lambda x, t: bce(x, t) + dice(x, t),
        DiceLoss=dice,
        FocalLoss=focal,
        IoULoss=iou,
        TverskyLoss=tversky)[name](x, t)
    assert value.dtype == torch.float32 and value.item() == pytest.approx(wanted, rel=1e-4)
    assert torch.isfinite(logits.grad).all()


def test_under_autocast(batch: tuple) -> None:
    for config, _ in CASES:
        loss = MODELS.build(config)
        with torch.autocast('cpu', dtype=torch.bfloat16):
            assert torch.equal(loss(*batch), loss.float()(*batch))
            assert loss(*batch).dtype == torch.float32


def test_soft_masks(batch: tuple) -> None:
    logits, target = batch[0], torch.rand(3, 10, 12, generator=torch.Generator().manual_seed(1))
    loss = MODELS.build(dict(type='DiceLoss'))(logits, target)
    assert loss.item() == pytest.approx(dice(logits.double().numpy()[:, 0], target.double().numpy()), rel=1e-5)


def test_wrong_input(batch: tuple) -> None:
    logits, target = batch
    loss = MODELS.build(dict(type='DiceLoss'))
    with pytest.raises(DataError, match=r'masks of shape \(3, 5, 6\) for logits of shape \(3, 1, 10, 12\)'):
        loss(logits, target[:, :5, :6])
    with pytest.raises(DataError, match='takes logits'):
        loss(logits.expand(3, 2, 10, 12), target)
    with pytest.raises(DataError, match=r'values from 0 to 2.*255 \(ignored\)'):
        loss(logits, target.masked_fill(target == 1, 2))
    for name, key, value in (('DiceLoss', 'smooth', -1), ('TverskyLoss', 'alpha', -0.1),
                             ('BCEWithLogitsLoss', 'pos_weight', 0), ('IoULoss', 'smooth', float('inf'))):
        with pytest.raises(ConfigError, match=f'{key}={value}: must be (at least|above) 0'):
            MODELS.build({'type': name, key: value})
    with pytest.raises(ConfigError, match="'men'.*did you mean 'mean'"):
        MODELS.build(dict(type='IoULoss', reduction='men'))


def test_ones_own_loss(batch: tuple) -> None:
    """As docs/segmentation.md shows it: one method, and everything else is there."""

    class SquaredLoss(PixelLoss):

        def rows(self, logits: torch.Tensor, truth: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
            return ((logits.sigmoid() - truth)**2 * weight).sum(dim=1) / weight.sum(dim=1)

    each = [np.mean((sigmoid(x) - t)**2) for x, t in rows(*batch)]
    assert SquaredLoss(per_image=True)(*batch).item() == pytest.approx(np.mean(each), rel=1e-5)
