"""What all classifiers share."""
from abc import abstractmethod

import torch

from ..freezing import FreezableModel

__all__ = ['BaseClassifier']


class BaseClassifier(FreezableModel):
    """Base of classifiers, which have a ``backbone`` and may have a ``neck`` and a ``head``."""

    @property
    def with_neck(self) -> bool:
        """Whether there is a neck."""
        return getattr(self, 'neck', None) is not None

    @property
    def with_head(self) -> bool:
        """Whether there is a head."""
        return getattr(self, 'head', None) is not None

    @abstractmethod
    def extract_feat(self, inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the features of images (N, C, H, W) float."""
