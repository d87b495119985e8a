"""Focal loss (Lin et al., `Focal Loss for Dense Object Detection <https://arxiv.org/abs/1708.02002>`_)."""
import torch

from ftcls.registry import MODELS
from ftcls.utils.types import Reduction
from .base_loss import as_scores, widen
from .pixel_losses import PixelLoss, weighted_mean

__all__ = ['FocalLoss']


@MODELS.register_module()
class FocalLoss(PixelLoss):
    """Binary cross entropy of each class, or of each pixel, in which what is already right counts little.

    Logits (N, C) are classes; logits (N, 1, H, W) are pixels of binary masks, see :class:`PixelLoss`.

    Args:
        gamma: How strongly: each term is multiplied by (1 - probability of what is true) ** gamma.
        alpha: Weight of the positive labels; the negative have 1 - alpha.
        reduction, loss_weight, per_image, ignore_index: See :class:`PixelLoss`.
    """

    short_name = 'focal'

    def __init__(self,
                 gamma: float = 2.0,
                 alpha: float = 0.25,
                 reduction: Reduction = 'mean',
                 loss_weight: float = 1.0,
                 per_image: bool = False,
                 ignore_index: int = 255) -> None:
        super().__init__(per_image, ignore_index, reduction, loss_weight)
        self.gamma = gamma
        self.alpha = alpha

    def forward(self,
                pred: torch.Tensor,
                target: torch.Tensor,
                weight: torch.Tensor | None = None,
                avg_factor: float | None = None,
                reduction_override: Reduction | None = None) -> torch.Tensor:
        """See :meth:`CrossEntropyLoss.forward` with sigmoid; for (N, 1, H, W) :meth:`PixelLoss.forward`."""
        if pred.ndim == 4:
            return super().forward(pred, target, weight, reduction_override)
        pred = widen(pred)
        return self.reduce(self._elements(pred, as_scores(target, pred)), weight, avg_factor, reduction_override)

    def rows(self, logits: torch.Tensor, truth: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """See :meth:`PixelLoss.rows`."""
        return weighted_mean(self._elements(logits, truth), weight)

    def _elements(self, logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        from torchvision.ops import sigmoid_focal_loss
        return sigmoid_focal_loss(logits, truth, alpha=self.alpha, gamma=self.gamma, reduction='none')
