"""Batch augmentations that mix each picture, and its label, with another of the batch."""
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from ftcls.registry import BATCH_AUGMENTS
from ftcls.utils import ConfigError, DataError, did_you_mean

__all__ = ['CutMix', 'Mixup', 'ResizeMix']

Box = tuple[int, int, int, int]  # top, bottom, left, right, in pixels

# torch's interpolations of images, and whether they know the argument `align_corners`
_INTERPOLATIONS = {'nearest': False, 'nearest-exact': False, 'area': False, 'bilinear': True, 'bicubic': True}


def _fraction(value: float, key: str) -> float:
    """Return a number from 0 to 1, or raise a ConfigError."""
    if not 0 <= value <= 1:
        raise ConfigError(f'{key}={value!r}: must be from 0 to 1')
    return float(value)


class BatchMixing(ABC):
    """Base: a batch of any size is mixed with itself in another order, which is drawn anew, as is the share of each.

    Args:
        alpha: The share that a picture keeps of its own is drawn from Beta(alpha, alpha), once a batch.

    Raises:
        ConfigError: If ``alpha`` is not above 0.
    """

    def __init__(self, alpha: float) -> None:
        if isinstance(alpha, bool) or not isinstance(alpha, (int, float)) or alpha <= 0:
            raise ConfigError(f'{type(self).__name__}(alpha={alpha!r}): must be a number above 0')
        self.alpha = alpha

    def __call__(self, batch_input: torch.Tensor, batch_score: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return new images (N, C, H, W) float and scores (N, num_classes) float32 from such.

        Raises:
            DataError: If there are not N scores, a row a picture.
        """
        if batch_score.ndim != 2 or len(batch_score) != len(batch_input):
            raise DataError(f'{type(self).__name__} takes labels as scores (N, num_classes), got shape '
                            f'{tuple(batch_score.shape)} for {len(batch_input)} pictures')
        return self.mix(batch_input, batch_score.float())

    @abstractmethod
    def mix(self, batch_inputs: torch.Tensor, batch_scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mixed images and scores; those given are not changed."""

    def _draw(self) -> float:
        """Return the share that each picture keeps of its own."""
        return float(np.random.beta(self.alpha, self.alpha))

    @staticmethod
    def _partners(batch: torch.Tensor) -> torch.Tensor:
        """Return which picture each one is mixed with, (N, ) int64."""
        return torch.randperm(len(batch)).to(batch.device)

    def __repr__(self) -> str:
        return f'{type(self).__name__}({", ".join(f"{key}={value!r}" for key, value in vars(self).items())})'


@BATCH_AUGMENTS.register_module()
class Mixup(BatchMixing):
    """Blend the pictures, and the labels alike (Zhang et al., `mixup <https://arxiv.org/abs/1710.09412>`_).

    Args:
        alpha: The share that a picture keeps of its own is drawn from Beta(alpha, alpha), once a batch.

    Example:
        >>> import torch
        >>> from ftcls.models import Mixup
        >>> Mixup(alpha=0.8)(torch.rand(5, 3, 8, 8), torch.eye(5))[1].sum(dim=1)
        tensor([1., 1., 1., 1., 1.])
    """

    def mix(self, batch_inputs: torch.Tensor, batch_scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See :meth:`BatchMixing.mix`."""
        lam, index = self._draw(), self._partners(batch_inputs)
        return tuple(lam * one + (1 - lam) * one[index] for one in (batch_inputs, batch_scores))


@BATCH_AUGMENTS.register_module()
class CutMix(BatchMixing):
    """Paste a piece of another picture over each, at its place (Yun et al., `CutMix <https://arxiv.org/abs/1905.04899>`_).

    Args:
        alpha: The share of the area that stays is drawn from Beta(alpha, alpha), once a batch.
        cutmix_minmax: Draw height and width of the piece evenly from these fractions (least, greatest) of the picture's
            instead; ``alpha`` is not used then.
        correct_lam: Share the labels by the piece's area as it is, cut off by the border and in whole pixels.

    Raises:
        ConfigError: If ``cutmix_minmax`` is not 0 <= least <= greatest <= 1.
    """

    def __init__(self, alpha: float, cutmix_minmax: Sequence[float] | None = None, correct_lam: bool = True) -> None:
        super().__init__(alpha)
        if cutmix_minmax is not None and (len(cutmix_minmax) != 2
                                          or not 0 <= cutmix_minmax[0] <= cutmix_minmax[1] <= 1):
            raise ConfigError(f'cutmix_minmax={cutmix_minmax!r}: expected two fractions (least, greatest), from 0 to 1')
        self.cutmix_minmax = None if cutmix_minmax is None else tuple(cutmix_minmax)
        self.correct_lam = correct_lam

    def mix(self, batch_inputs: torch.Tensor, batch_scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See :meth:`BatchMixing.mix`."""
        lam, index = self._draw(), self._partners(batch_inputs)
        height, width = batch_inputs.shape[-2:]
        box = self._box(height, width, lam)
        top, bottom, left, right = box
        if self.correct_lam or self.cutmix_minmax is not None:
            lam = 1 - (bottom - top) * (right - left) / (height * width)
        mixed = batch_inputs.clone()
        if bottom > top and right > left:
            mixed[:, :, top:bottom, left:right] = self._piece(batch_inputs[index], box)
        return mixed, lam * batch_scores + (1 - lam) * batch_scores[index]

    def _box(self, height: int, width: int, lam: float) -> Box:
        """Draw where the piece goes."""
        if self.cutmix_minmax is not None:
            least, greatest = self.cutmix_minmax
            high, wide = (np.random.randint(int(side * least), int(side * greatest) + 1) for side in (height, width))
            top, left = np.random.randint(height - high + 1), np.random.randint(width - wide + 1)
            return top, top + high, left, left + wide
        half = [int(side * np.sqrt(1 - lam)) // 2 for side in (height, width)]
        middle = [np.random.randint(side) for side in (height, width)]
        (top, bottom), (left, right) = ((max(m - h, 0), min(m + h, side))
                                        for m, h, side in zip(middle, half, (height, width)))
        return top, bottom, left, right

    def _piece(self, others: torch.Tensor, box: Box) -> torch.Tensor:
        """Return what is pasted of the other pictures (N, C, H, W) into the box."""
        top, bottom, left, right = box
        return others[:, :, top:bottom, left:right]


@BATCH_AUGMENTS.register_module()
class ResizeMix(CutMix):
    """Paste another picture, made small, over each (Qin et al., `ResizeMix <https://arxiv.org/abs/2012.11101>`_).

    Args:
        alpha: The share of the area that stays is drawn from Beta(alpha, alpha), stretched to [lam_min, lam_max].
        lam_min: The least of that share.
        lam_max: The greatest.
        interpolation: 'nearest', 'nearest-exact', 'area', 'bilinear' or 'bicubic'.
        cutmix_minmax: As of :class:`CutMix`.
        correct_lam: As of :class:`CutMix`.
        prob: Probability that a batch is mixed.

    Raises:
        ConfigError: If an argument is out of range.
    """

    def __init__(self,
                 alpha: float,
                 lam_min: float = 0.1,
                 lam_max: float = 0.8,
                 interpolation: str = 'bilinear',
                 cutmix_minmax: Sequence[float] | None = None,
                 correct_lam: bool = True,
                 prob: float = 1.0) -> None:
        super().__init__(alpha, cutmix_minmax, correct_lam)
        self.lam_min = _fraction(lam_min, 'lam_min')
        self.lam_max = _fraction(lam_max, 'lam_max')
        if lam_min > lam_max:
            raise ConfigError(f'lam_min={lam_min!r} is above lam_max={lam_max!r}')
        if interpolation not in _INTERPOLATIONS:
            raise ConfigError(f'interpolation={interpolation!r}{did_you_mean(str(interpolation), _INTERPOLATIONS)}')
        self.interpolation = interpolation
        self.prob = _fraction(prob, 'prob')

    def mix(self, batch_inputs: torch.Tensor, batch_scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See :meth:`BatchMixing.mix`."""
        if np.random.rand() >= self.prob:
            return batch_inputs, batch_scores
        return super().mix(batch_inputs, batch_scores)

    def _draw(self) -> float:
        return super()._draw() * (self.lam_max - self.lam_min) + self.lam_min

    def _piece(self, others: torch.Tensor, box: Box) -> torch.Tensor:
        top, bottom, left, right = box
        options = dict(align_corners=False) if _INTERPOLATIONS[self.interpolation] else {}
        return F.interpolate(others, size=(bottom - top, right - left), mode=self.interpolation, **options)
