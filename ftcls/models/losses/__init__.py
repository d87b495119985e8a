"""Losses of classification."""
from .cross_entropy_loss import CrossEntropyLoss
from .focal_loss import FocalLoss
from .label_smooth_loss import LabelSmoothLoss
from .reduction import weight_reduce

__all__ = ['CrossEntropyLoss', 'FocalLoss', 'LabelSmoothLoss', 'weight_reduce']
