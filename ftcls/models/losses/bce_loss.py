"""Binary cross entropy over pixels, alone and with the Dice loss."""
from typing import Any

import torch
import torch.nn.functional as F

from ftcls.registry import MODELS
from .overlap_loss import check_positive, overlap_loss
from .pixels import PixelLoss, weighted_mean

__all__ = ['BCEDiceLoss', 'BCEWithLogitsLoss']


def _cross_entropy(logits: torch.Tensor, truth: torch.Tensor, weight: torch.Tensor,
                   pos_weight: float | None) -> torch.Tensor:
    """Return the mean cross entropy of each row, (N, )."""
    factor = None if pos_weight is None else logits.new_tensor(pos_weight)
    loss = F.binary_cross_entropy_with_logits(logits, truth, pos_weight=factor, reduction='none')
    return weighted_mean(loss, weight)


@MODELS.register_module()
class BCEWithLogitsLoss(PixelLoss):
    """Binary cross entropy of each pixel, the mean over those that count.

    Args:
        pos_weight: Weight of the foreground, in the loss and not in what it is divided by, as in ``torch``; None for 1.
        **kwargs: ``per_image``, ``ignore_index``, ``reduction`` and ``loss_weight``, see :class:`PixelLoss`.

    Raises:
        ConfigError: If ``pos_weight`` is not above 0.

    Example:
        >>> import torch
        >>> from ftcls.models.losses import BCEWithLogitsLoss
        >>> BCEWithLogitsLoss()(torch.zeros(1, 1, 2, 2), torch.ones(1, 2, 2))
        tensor(0.6931)
    """

    short_name = 'bce'

    def __init__(self, pos_weight: float | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pos_weight = pos_weight if pos_weight is None else check_positive('pos_weight', pos_weight)

    def rows(self, logits: torch.Tensor, truth: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Return the loss of each row, see :meth:`PixelLoss.rows`."""
        return _cross_entropy(logits, truth, weight, self.pos_weight)


@MODELS.register_module()
class BCEDiceLoss(PixelLoss):
    """Weighted sum of :class:`BCEWithLogitsLoss` and :class:`DiceLoss`, in one number.

    ``PixelHead(loss=[dict(type='BCEWithLogitsLoss'), dict(type='DiceLoss')])`` is the same with both numbers in the log.

    Args:
        bce_weight: Factor of the cross entropy.
        dice_weight: Factor of the Dice loss.
        pos_weight: Weight of the foreground in the cross entropy.
        smooth: See :class:`DiceLoss`.
        **kwargs: ``per_image``, ``ignore_index``, ``reduction`` and ``loss_weight``, see :class:`PixelLoss`.

    Raises:
        ConfigError: If ``pos_weight`` is not above 0, or ``smooth`` below 0.
    """

    short_name = 'bce_dice'

    def __init__(self,
                 bce_weight: float = 1.0,
                 dice_weight: float = 1.0,
                 pos_weight: float | None = None,
                 smooth: float = 1.0,
                 **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bce_weight = bce_weight
        self.dice_weight = dice_weight
        self.pos_weight = pos_weight if pos_weight is None else check_positive('pos_weight', pos_weight)
        self.smooth = check_positive('smooth', smooth, zero=True)

    def rows(self, logits: torch.Tensor, truth: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Return the loss of each row, see :meth:`PixelLoss.rows`."""
        # Dice is Tversky with half of each error, and its smooth term stands beside twice the overlap
        dice = overlap_loss(logits, truth, weight, 0.5, 0.5, self.smooth / 2)
        return self.bce_weight * _cross_entropy(logits, truth, weight, self.pos_weight) + self.dice_weight * dice
