"""Augmentations over a whole batch, which mix each image and its label with another; the choice between them."""
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F

from ftcls.registry import BATCH_AUGMENTS, BATCH_TRANSFORMS
from ftcls.utils import ConfigError, DataError
from ftcls.utils.tree import as_list
from ftcls.utils.types import PositiveFloat, Probability

__all__ = ['CutMix', 'Mixup', 'RandomBatchAugment', 'ResizeMix']

BatchAugment = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
Box = tuple[int, int, int, int]  # top, bottom, left, right, in pixels


class RandomBatchAugment:
    """Choose one of several batch augmentations at random, anew for each batch.

    An augmentation takes the images (N, C, H, W) float and the labels as scores (N, num_classes) float and returns
    both; it is registered in ``BATCH_AUGMENTS``.

    Args:
        augments: The augmentations, or their configs.
        probs: Probability of each; what is missing to 1 is the probability of none. None for equal ones.
    """

    def __init__(self,
                 augments: dict | BatchAugment | Sequence[dict | BatchAugment] = (),
                 probs: Probability | Sequence[Probability] | None = None) -> None:
        self.augments = [BATCH_AUGMENTS.build(one) if isinstance(one, dict) else one for one in as_list(augments)]
        if not self.augments:
            raise ConfigError("batch_augments.augments: needs at least one, for example dict(type='Mixup', alpha=0.8)")
        self.probs = None
        if probs is not None:
            self.probs = [float(p) for p in as_list(probs)]
            if len(self.probs) != len(self.augments):
                raise ConfigError(f'probs={probs!r}: one for each of the {len(self.augments)} augments is needed')
            if sum(self.probs) > 1 + 1e-6:  # 1e-6: the sum of [0.7, 0.2, 0.1] is above 1 by rounding
                raise ConfigError(f'probs={probs!r}: together at most 1')
            self.augments.append(None)
            self.probs.append(max(0., 1 - sum(self.probs)))

    def __call__(self, batch_input: torch.Tensor, batch_score: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return images (N, C, H, W) float and labels (N, num_classes) float, augmented or as they are."""
        probs = self.probs and np.array(self.probs) / sum(self.probs)
        augment = self.augments[np.random.choice(len(self.augments), p=probs)]
        batch_score = batch_score.float()
        return (batch_input, batch_score) if augment is None else augment(batch_input, batch_score)

    def describe(self) -> str:
        """Return one line on what happens to the training batches."""
        probs = self.probs or [1 / len(self.augments)] * len(self.augments)
        names = ['stay as they are' if augment is None else f'get {augment!r}' for augment in self.augments]
        shares = ', '.join(f'{prob:.0%} {name}' for name, prob in zip(names, probs) if prob > 0)
        return f'of the training batches {shares}; their labels become scores'


class BatchMixing(ABC):
    """Base: a batch of any size is mixed with itself in another order; order and share are drawn anew for each batch.

    Args:
        alpha: The share that an image keeps of its own is drawn from Beta(alpha, alpha), once per batch.
    """

    def __init__(self, alpha: PositiveFloat) -> None:
        self.alpha = alpha

    def __call__(self, batch_input: torch.Tensor, batch_score: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return new images (N, C, H, W) float and scores (N, num_classes) float32."""
        if batch_score.ndim != 2 or len(batch_score) != len(batch_input):
            wrong = f'shape {tuple(batch_score.shape)} for {len(batch_input)} images'
            raise DataError(f'{type(self).__name__} takes labels as scores (N, num_classes), got {wrong}')
        return self.mix(batch_input, batch_score.float())

    @abstractmethod
    def mix(self, batch_inputs: torch.Tensor, batch_scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mixed images and scores; the arguments are not changed."""

    def _draw(self) -> float:
        """Return the share that each image keeps of its own."""
        return float(np.random.beta(self.alpha, self.alpha))

    def __repr__(self) -> str:
        return f'{type(self).__name__}({", ".join(f"{key}={value!r}" for key, value in vars(self).items())})'


def _partners(batch: torch.Tensor) -> torch.Tensor:
    """Return which image each one is mixed with, (N, ) int64."""
    return torch.randperm(len(batch)).to(batch.device)


@BATCH_TRANSFORMS.register_module()
@BATCH_AUGMENTS.register_module()
class Mixup(BatchMixing):
    """Blend the images and their labels (Zhang et al., `mixup <https://arxiv.org/abs/1710.09412>`_).

    Example:
        >>> Mixup(alpha=0.8)(torch.rand(5, 3, 8, 8), torch.eye(5))[1].sum(dim=1)
        tensor([1., 1., 1., 1., 1.])
    """

    def mix(self, batch_inputs: torch.Tensor, batch_scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See :meth:`BatchMixing.mix`."""
        lam, index = self._draw(), _partners(batch_inputs)
        return tuple(lam * one + (1 - lam) * one[index] for one in (batch_inputs, batch_scores))


@BATCH_TRANSFORMS.register_module()
@BATCH_AUGMENTS.register_module()
class CutMix(BatchMixing):
    """Paste a piece of another image over each (Yun et al., `CutMix <https://arxiv.org/abs/1905.04899>`_).

    Args:
        alpha: The share of the area that stays is drawn from Beta(alpha, alpha), once per batch.
        cutmix_minmax: Draw height and width of the piece evenly from these fractions (least, greatest) of the image's
            instead; ``alpha`` is not used then.
        correct_lam: Share the labels by the true area of the piece, cut off by the border and in whole pixels.
    """

    def __init__(self,
                 alpha: PositiveFloat,
                 cutmix_minmax: tuple[Probability, Probability] | None = None,
                 correct_lam: bool = True) -> None:
        super().__init__(alpha)
        if cutmix_minmax is not None:
            cutmix_minmax = tuple(cutmix_minmax)
            if cutmix_minmax[0] > cutmix_minmax[1]:
                raise ConfigError(f'cutmix_minmax={cutmix_minmax!r}: must be (least, greatest)')
        self.cutmix_minmax = cutmix_minmax
        self.correct_lam = correct_lam

    def mix(self, batch_inputs: torch.Tensor, batch_scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See :meth:`BatchMixing.mix`."""
        lam, index = self._draw(), _partners(batch_inputs)
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
        half_high, half_wide = (int(side * np.sqrt(1 - lam)) // 2 for side in (height, width))
        y, x = np.random.randint(height), np.random.randint(width)
        return max(y - half_high, 0), min(y + half_high, height), max(x - half_wide, 0), min(x + half_wide, width)

    def _piece(self, others: torch.Tensor, box: Box) -> torch.Tensor:
        """Return what is pasted of the other images (N, C, H, W) into the box."""
        top, bottom, left, right = box
        return others[:, :, top:bottom, left:right]


@BATCH_TRANSFORMS.register_module()
@BATCH_AUGMENTS.register_module()
class ResizeMix(CutMix):
    """Paste another image, made small, over each (Qin et al., `ResizeMix <https://arxiv.org/abs/2012.11101>`_).

    Args:
        alpha: The share of the area that stays is drawn from Beta(alpha, alpha), stretched to [lam_min, lam_max].
        lam_min, lam_max: The least and the greatest of that share.
        interpolation: A mode of ``torch.nn.functional.interpolate``.
        cutmix_minmax, correct_lam: See :class:`CutMix`.
        prob: Probability that a batch is mixed.
    """

    def __init__(self,
                 alpha: PositiveFloat,
                 lam_min: Probability = 0.1,
                 lam_max: Probability = 0.8,
                 interpolation: Literal['nearest', 'nearest-exact', 'area', 'bilinear', 'bicubic'] = 'bilinear',
                 cutmix_minmax: tuple[Probability, Probability] | None = None,
                 correct_lam: bool = True,
                 prob: Probability = 1.0) -> None:
        super().__init__(alpha, cutmix_minmax, correct_lam)
        if lam_min > lam_max:
            raise ConfigError(f'lam_min={lam_min!r} is above lam_max={lam_max!r}')
        self.lam_min, self.lam_max = float(lam_min), float(lam_max)
        self.interpolation = interpolation
        self.prob = float(prob)

    def mix(self, batch_inputs: torch.Tensor, batch_scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See :meth:`BatchMixing.mix`."""
        if np.random.rand() >= self.prob:
            return batch_inputs, batch_scores
        return super().mix(batch_inputs, batch_scores)

    def _draw(self) -> float:
        return super()._draw() * (self.lam_max - self.lam_min) + self.lam_min

    def _piece(self, others: torch.Tensor, box: Box) -> torch.Tensor:
        top, bottom, left, right = box
        align_corners = dict(bilinear=False, bicubic=False).get(self.interpolation)  # torch refuses it elsewhere
        return F.interpolate(others, (bottom - top, right - left), mode=self.interpolation, align_corners=align_corners)
