"""Losses over the pixels of binary masks: cross entropy, and the overlap of predicted and true foreground."""
import math
from abc import abstractmethod
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from annotated_types import Gt, Lt

from ftcls.registry import MODELS
from ftcls.utils import DataError
from ftcls.utils.types import Reduction
from .base_loss import Finite, Loss, widen

__all__ = ['BCEDiceLoss', 'BCEWithLogitsLoss', 'DiceLoss', 'IoULoss', 'PixelLoss', 'TverskyLoss', 'weighted_mean']

_PosWeight = Annotated[float, Gt(0), Lt(math.inf)]
_EPS = 1e-7  # Keeps 0 / 0, an empty mask with an empty prediction, at 1 where there is no smooth term.


def weighted_mean(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return the mean of each row, (N, ), of values (N, pixels) weighted by (N, pixels); 0 where nothing weighs."""
    total = weight.sum(dim=1)
    return (values * weight).sum(dim=1) / torch.where(total > 0, total, 1)


class PixelLoss(Loss):
    """Base of losses over the pixels of binary masks; a subclass defines :meth:`PixelLoss.rows`.

    Everything is computed in float32 (float64 for float64 logits): the sums over an image overflow in float16.

    Args:
        per_image: With reduction 'mean', take the mean of the images' losses; else the batch counts as one image.
        ignore_index: Value in the masks of pixels that do not count.
        reduction, loss_weight: See :class:`Loss`; 'none' and 'sum' are of the images.
    """

    short_name: ClassVar[str] = ''  # The name of the loss in the log, after ``loss_``.

    def __init__(self,
                 per_image: bool = False,
                 ignore_index: int = 255,
                 reduction: Reduction = 'mean',
                 loss_weight: float = 1.0) -> None:
        super().__init__(reduction, loss_weight)
        self.per_image = per_image
        self.ignore_index = ignore_index

    @abstractmethod
    def rows(self, logits: torch.Tensor, truth: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Return the loss of each row, (N, ), of (N, pixels), all float32; truth 0 to 1, weight 0 if ignored."""

    def forward(self,
                pred: torch.Tensor,
                target: torch.Tensor,
                weight: torch.Tensor | None = None,
                reduction_override: Reduction | None = None) -> torch.Tensor:
        """Return the loss, () float32, or (N, ) for 'none'.

        Args:
            pred: (N, 1, H, W) float logits.
            target: (N, H, W) or (N, 1, H, W), of 0, 1 and ``ignore_index``; numbers in between are soft truth.
            weight: Of the shape of ``target``, weight of each pixel.
            reduction_override: Replaces ``reduction``.

        Raises:
            DataError: If the masks do not fit the logits.
        """
        pixels = self._flatten(pred, target, weight)
        if (reduction_override or self.reduction) == 'mean' and not self.per_image:
            pixels = tuple(x.reshape(1, -1) for x in pixels)
        return self.reduce(self.rows(*pixels), reduction_override=reduction_override)

    def _flatten(self, pred: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None) -> tuple:
        """Return logits, truth and weight of each pixel as rows, (N, H * W) float32 each; ignored pixels weigh 0."""
        is_map = pred.ndim == 4 and pred.shape[1] == 1
        if not is_map or target.numel() != pred.numel() or target.shape[-2:] != pred.shape[-2:]:
            raise DataError(f'masks of shape {tuple(target.shape)} for logits of shape {tuple(pred.shape)}: it '
                            'takes logits (N, 1, H, W) and masks (N, H, W)')
        rows = pred.shape[0]
        logits, target = widen(pred).reshape(rows, -1), target.reshape(rows, -1)
        valid = target != self.ignore_index
        truth = torch.where(valid, target, 0).to(logits.dtype)
        # On a GPU, looking would wait for it; torch.compile would break off here.
        if truth.device.type == 'cpu' and truth.numel() and not torch.compiler.is_compiling():
            low, high = float(truth.min()), float(truth.max())
            if not 0 <= low <= high <= 1:
                allowed = f'0 (background), 1 (foreground) and {self.ignore_index} (ignored)'
                raise DataError(f'a mask has values from {low:g} to {high:g}: the loss takes {allowed}')
        counts = valid.to(logits.dtype)
        if weight is not None:
            counts = counts * weight.reshape(rows, -1).to(logits.dtype)
        return logits, truth, counts


@MODELS.register_module()
class BCEWithLogitsLoss(PixelLoss):
    """Binary cross entropy of each pixel, the mean over those that count.

    Args:
        pos_weight: Weight of the foreground, in the loss and not in what it is divided by, as in ``torch``; None for 1.
        **kwargs: See :class:`PixelLoss`.

    Example:
        >>> BCEWithLogitsLoss()(torch.zeros(1, 1, 2, 2), torch.ones(1, 2, 2))
        tensor(0.6931)
    """

    short_name = 'bce'

    def __init__(self, pos_weight: _PosWeight | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pos_weight = pos_weight

    def rows(self, logits: torch.Tensor, truth: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """See :meth:`PixelLoss.rows`."""
        factor = None if self.pos_weight is None else logits.new_tensor(self.pos_weight)
        loss = F.binary_cross_entropy_with_logits(logits, truth, pos_weight=factor, reduction='none')
        return weighted_mean(loss, weight)


@MODELS.register_module()
class TverskyLoss(PixelLoss):
    """1 - (TP + smooth) / (TP + alpha FP + beta FN + smooth), where TP, FP and FN are sums of probabilities.

    See `Tversky loss <https://arxiv.org/abs/1706.05721>`_. Background that is taken for foreground costs alpha,
    foreground that is missed costs beta. An empty mask with an empty prediction is perfect: the loss is 0.

    Args:
        alpha, beta: Weights of false positives and of false negatives.
        smooth: Added above and below, in pixels; dampens the loss where mask and prediction are small.
        **kwargs: See :class:`PixelLoss`.
    """

    short_name = 'tversky'

    def __init__(self, alpha: Finite = 0.3, beta: Finite = 0.7, smooth: Finite = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.alpha = alpha
        self.beta = beta
        self.smooth = smooth

    def rows(self, logits: torch.Tensor, truth: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """See :meth:`PixelLoss.rows`."""
        prob = logits.sigmoid()
        both = (prob * truth * weight).sum(dim=1)
        too_much = (prob * (1 - truth) * weight).sum(dim=1)
        too_little = ((1 - prob) * truth * weight).sum(dim=1)
        errors = self.alpha * too_much + self.beta * too_little
        return errors / (both + errors + self.smooth + _EPS)


@MODELS.register_module()
class DiceLoss(TverskyLoss):
    """1 - (2 TP + smooth) / (sum of probabilities + foreground pixels + smooth), 1 - the soft Dice coefficient.

    Arguments and empty masks: see :class:`TverskyLoss`.

    Example:
        >>> DiceLoss(smooth=0)(torch.zeros(1, 1, 2, 2), torch.ones(1, 2, 2))
        tensor(0.3333)
    """

    short_name = 'dice'

    def __init__(self, smooth: Finite = 1.0, **kwargs: Any) -> None:
        super().__init__(0.5, 0.5, smooth / 2, **kwargs)  # 2 TP + smooth over 2 TP + FP + FN + smooth


@MODELS.register_module()
class IoULoss(TverskyLoss):
    """1 - (TP + smooth) / (TP + FP + FN + smooth), 1 - the soft Jaccard index (intersection over union).

    Arguments and empty masks: see :class:`TverskyLoss`.
    """

    short_name = 'iou'

    def __init__(self, smooth: Finite = 1.0, **kwargs: Any) -> None:
        super().__init__(1.0, 1.0, smooth, **kwargs)


@MODELS.register_module()
class BCEDiceLoss(PixelLoss):
    """Weighted sum of :class:`BCEWithLogitsLoss` and :class:`DiceLoss`, in one number.

    ``PixelHead(loss=[dict(type='BCEWithLogitsLoss'), dict(type='DiceLoss')])`` logs both numbers.

    Args:
        bce_weight, dice_weight: Factors of the two.
        pos_weight, smooth: See :class:`BCEWithLogitsLoss` and :class:`TverskyLoss`.
        **kwargs: The other arguments of :class:`PixelLoss`.
    """

    short_name = 'bce_dice'

    def __init__(self,
                 bce_weight: float = 1.0,
                 dice_weight: float = 1.0,
                 pos_weight: _PosWeight | None = None,
                 smooth: Finite = 1.0,
                 **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bce_weight = bce_weight
        self.dice_weight = dice_weight
        self.bce, self.dice = BCEWithLogitsLoss(pos_weight), DiceLoss(smooth)

    def rows(self, logits: torch.Tensor, truth: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """See :meth:`PixelLoss.rows`."""
        bce, dice = (part.rows(logits, truth, weight) for part in (self.bce, self.dice))
        return self.bce_weight * bce + self.dice_weight * dice
