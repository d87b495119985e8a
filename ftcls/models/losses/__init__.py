"""Losses, of classification and over pixels. One file and one line here make a new one."""
from .asymmetric_loss import AsymmetricLoss
from .base_loss import weight_reduce  # MMClassification's name
from .base_loss import weight_reduce as weight_reduce_loss
from .cross_entropy_loss import CrossEntropyLoss, LabelSmoothLoss
from .focal_loss import FocalLoss
from .pixel_losses import BCEDiceLoss, BCEWithLogitsLoss, DiceLoss, IoULoss, PixelLoss, TverskyLoss

__all__ = [
    'AsymmetricLoss', 'BCEDiceLoss', 'BCEWithLogitsLoss', 'CrossEntropyLoss', 'DiceLoss', 'FocalLoss', 'IoULoss',
    'LabelSmoothLoss', 'PixelLoss', 'TverskyLoss', 'weight_reduce', 'weight_reduce_loss'
]
