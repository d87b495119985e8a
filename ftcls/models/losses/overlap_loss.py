"""Losses over the overlap of predicted and true foreground: Dice, Jaccard (IoU), Tversky."""
from typing import Any

import torch

from ftcls.registry import MODELS
from ftcls.utils import ConfigError
from .pixels import PixelLoss

__all__ = ['DiceLoss', 'IoULoss', 'TverskyLoss', 'check_positive', 'overlap_loss']

# Keeps 0 / 0, an empty mask with an empty prediction, at 1 where there is no smooth term.
_EPS = 1e-7


def check_positive(key: str, value: float, zero: bool = False) -> float:
    """Return a number above 0, or with ``zero`` of at least 0.

    Raises:
        ConfigError: If it is not.
    """
    if not isinstance(value, (int, float)) or not (0 <= value if zero else 0 < value) or value == float('inf'):
        raise ConfigError(f'{key}={value!r}: must be a number {"of at least" if zero else "above"} 0')
    return value


def overlap_loss(logits: torch.Tensor, truth: torch.Tensor, weight: torch.Tensor, alpha: float, beta: float,
                 smooth: float) -> torch.Tensor:
    """Return 1 - Tversky index of each row, (N, ) float32, of logits, truth and weight (N, pixels) float32."""
    prob = logits.sigmoid()
    both = (prob * truth * weight).sum(dim=1)
    too_much = (prob * (1 - truth) * weight).sum(dim=1)
    too_little = ((1 - prob) * truth * weight).sum(dim=1)
    errors = alpha * too_much + beta * too_little
    return errors / (both + errors + smooth + _EPS)


@MODELS.register_module()
class TverskyLoss(PixelLoss):
    """1 - (TP + smooth) / (TP + alpha FP + beta FN + smooth), where TP, FP and FN are sums of probabilities.

    See `Tversky loss <https://arxiv.org/abs/1706.05721>`_. Background that is taken for foreground costs alpha, foreground
    that is missed costs beta. An empty mask with an empty prediction is perfect: the loss is 0.

    Args:
        alpha: Weight of false positives.
        beta: Weight of false negatives.
        smooth: Added above and below, in pixels; dampens the loss where mask and prediction are small.
        **kwargs: ``per_image``, ``ignore_index``, ``reduction`` and ``loss_weight``, see :class:`PixelLoss`.

    Raises:
        ConfigError: If ``alpha``, ``beta`` or ``smooth`` is below 0.
    """

    short_name = 'tversky'

    def __init__(self, alpha: float = 0.3, beta: float = 0.7, smooth: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.alpha = check_positive('alpha', alpha, zero=True)
        self.beta = check_positive('beta', beta, zero=True)
        self.smooth = check_positive('smooth', smooth, zero=True)

    def rows(self, logits: torch.Tensor, truth: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Return the loss of each row, see :meth:`PixelLoss.rows`."""
        return overlap_loss(logits, truth, weight, self.alpha, self.beta, self.smooth)


@MODELS.register_module()
class DiceLoss(PixelLoss):
    """1 - (2 TP + smooth) / (sum of probabilities + foreground pixels + smooth), 1 - the soft Dice coefficient.

    An empty mask with an empty prediction is perfect: the loss is 0.

    Args:
        smooth: Added above and below, in pixels; dampens the loss where mask and prediction are small.
        **kwargs: ``per_image``, ``ignore_index``, ``reduction`` and ``loss_weight``, see :class:`PixelLoss`.

    Raises:
        ConfigError: If ``smooth`` is below 0.

    Example:
        >>> import torch
        >>> from ftcls.models.losses import DiceLoss
        >>> DiceLoss(smooth=0)(torch.zeros(1, 1, 2, 2), torch.ones(1, 2, 2))
        tensor(0.3333)
    """

    short_name = 'dice'

    def __init__(self, smooth: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.smooth = check_positive('smooth', smooth, zero=True)

    def rows(self, logits: torch.Tensor, truth: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Return the loss of each row, see :meth:`PixelLoss.rows`."""
        # Dice is Tversky with half of each error: 2 TP + smooth over 2 TP + FP + FN + smooth
        return overlap_loss(logits, truth, weight, 0.5, 0.5, self.smooth / 2)


@MODELS.register_module()
class IoULoss(PixelLoss):
    """1 - (TP + smooth) / (TP + FP + FN + smooth), 1 - the soft Jaccard index (intersection over union).

    An empty mask with an empty prediction is perfect: the loss is 0.

    Args:
        smooth: Added above and below, in pixels; dampens the loss where mask and prediction are small.
        **kwargs: ``per_image``, ``ignore_index``, ``reduction`` and ``loss_weight``, see :class:`PixelLoss`.

    Raises:
        ConfigError: If ``smooth`` is below 0.
    """

    short_name = 'iou'

    def __init__(self, smooth: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.smooth = check_positive('smooth', smooth, zero=True)

    def rows(self, logits: torch.Tensor, truth: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Return the loss of each row, see :meth:`PixelLoss.rows`."""
        return overlap_loss(logits, truth, weight, 1.0, 1.0, self.smooth)
