"""Losses, of classification and over pixels. One file and one line here make a new one."""
from .asymmetric_loss import AsymmetricLoss
from .bce_loss import BCEDiceLoss, BCEWithLogitsLoss
from .cross_entropy_loss import CrossEntropyLoss
from .focal_loss import FocalLoss
from .label_smooth_loss import LabelSmoothLoss
from .overlap_loss import DiceLoss, IoULoss, TverskyLoss
from .pixels import PixelLoss
from .reduction import weight_reduce

__all__ = [
    'AsymmetricLoss', 'BCEDiceLoss', 'BCEWithLogitsLoss', 'CrossEntropyLoss', 'DiceLoss', 'FocalLoss', 'IoULoss',
    'LabelSmoothLoss', 'PixelLoss', 'TverskyLoss', 'weight_reduce'
]
