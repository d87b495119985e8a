"""Augmentations over a whole batch: which one is applied."""
from collections.abc import Callable, Sequence

import numpy as np
import torch

from ftcls.registry import BATCH_AUGMENTS
from ftcls.utils import ConfigError

__all__ = ['RandomBatchAugment']

BatchAugment = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


class RandomBatchAugment:
    """Choose one of several batch augmentations at random, anew for each batch.

    An augmentation takes the images (N, C, H, W) float and the labels as scores (N, num_classes) float and returns both;
    it is registered in ``BATCH_AUGMENTS``.

    Args:
        augments: The augmentations, or their configs.
        probs: Probability of each; what is missing to 1 is the probability of none. None for all alike.

    Raises:
        ConfigError: If ``probs`` does not fit ``augments``.
    """

    def __init__(self,
                 augments: dict | BatchAugment | Sequence[dict | BatchAugment],
                 probs: float | Sequence[float] | None = None) -> None:
        augments = list(augments) if isinstance(augments, (list, tuple)) else [augments]
        if not augments:
            raise ConfigError('augments=[]: give at least one batch augmentation, or leave out batch_augments')
        self.augments: list[BatchAugment
                            | None] = [BATCH_AUGMENTS.build(a) if isinstance(a, dict) else a for a in augments]
        self.probs = None
        if probs is not None:
            self.probs = [float(p) for p in ([probs] if isinstance(probs, (int, float)) else probs)]
            if len(self.probs) != len(self.augments):
                raise ConfigError(f'probs={probs!r}: one for each of the {len(self.augments)} augments is needed')
            # 1e-6: the sum of [0.7, 0.2, 0.1] is above 1 by rounding
            if min(self.probs) < 0 or sum(self.probs) > 1 + 1e-6:
                raise ConfigError(f'probs={probs!r}: must be 0 or more each, and together at most 1')
            self.augments.append(None)
            self.probs.append(max(0., 1 - sum(self.probs)))

    def __call__(self, batch_input: torch.Tensor, batch_score: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return images (N, C, H, W) float and labels (N, num_classes) float, augmented or as they are."""
        probs = None if self.probs is None else np.array(self.probs) / sum(self.probs)
        augment = self.augments[np.random.choice(len(self.augments), p=probs)]
        return (batch_input, batch_score.float()) if augment is None else augment(batch_input, batch_score.float())

    def describe(self) -> str:
        """Return one line on what happens to the training batches."""
        probs = self.probs or [1 / len(self.augments)] * len(self.augments)
        shares = [f'{prob:.0%} {"stay as they are" if augment is None else f"get {augment!r}"}'
                  for augment, prob in zip(self.augments, probs) if prob > 0]  # yapf: disable
        return f'of the training batches {", ".join(shares)}; their labels become scores'
