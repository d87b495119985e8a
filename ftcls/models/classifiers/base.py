"""What all classifiers share."""
from typing import ClassVar

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
