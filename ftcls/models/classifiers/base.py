"""Base of classifiers."""
from collections.abc import Sequence
from typing import ClassVar

import torch

from ..headed_model import HeadedModel

__all__ = ['BaseClassifier']


class BaseClassifier(HeadedModel):
    """Base of classifiers, which have a ``backbone`` and may have a ``neck`` and a ``head``."""

    truth_fields = ('gt_label', 'gt_score')
    head_example: ClassVar[dict] = dict(type='LinearClsHead', num_classes=10, in_channels=512)

    @property
    def with_neck(self) -> bool:
        """Whether there is a neck."""
        return getattr(self, 'neck', None) is not None

    def extract_feats(self, multi_inputs: Sequence[torch.Tensor], **kwargs: object) -> list:
        """Return what :meth:`extract_feat`, with ``kwargs``, returns for each of several batches (N, C, H, W) float."""
        if not isinstance(multi_inputs, Sequence):
            raise TypeError('extract_feats takes a list of batches; for one batch call extract_feat')
        return [self.extract_feat(inputs, **kwargs) for inputs in multi_inputs]
