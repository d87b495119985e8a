"""Focal loss (Lin et al., `Focal Loss for Dense Object Detection <https://arxiv.org/abs/1708.02002>`_)."""
import torch
from torch import nn
from torchvision.ops import sigmoid_focal_loss

from ftcls.registry import MODELS
from .reduction import as_scores, check_reduction, weight_reduce, widen

__all__ = ['FocalLoss']


@MODELS.register_module()
class FocalLoss(nn.Module):
    """Binary cross entropy of each class, in which what is already right counts little.

    Args:
        gamma: How strongly: each term is multiplied by (1 - probability of what is true) ** gamma.
        alpha: Weight of the positive labels; the negative have 1 - alpha.
        reduction: 'none', 'mean' or 'sum'.
        loss_weight: Factor of the loss.
    """

    def __init__(self,
                 gamma: float = 2.0,
                 alpha: float = 0.25,
                 reduction: str = 'mean',
                 loss_weight: float = 1.0) -> None:
        super().__init__()
        self.gamma = gamma
        self.alpha = alpha
        self.reduction = check_reduction(reduction)
        self.loss_weight = loss_weight

    def forward(self,
                pred: torch.Tensor,
                target: torch.Tensor,
                weight: torch.Tensor | None = None,
                avg_factor: float | None = None,
                reduction_override: str | None = None) -> torch.Tensor:
        """Return the loss.

        Args:
            pred: (N, C) float logits.
            target: (N, ) or (N, 1) int class indices, or (N, C) float scores.
            weight: (N, ) float, weight of each sample.
            avg_factor: What a mean is divided by; None for N * C.
            reduction_override: Takes the place of ``reduction``.

        Returns:
            () float32, or (N, C) where the reduction is 'none'.

        Raises:
            DataError: If the labels do not fit the logits.
        """
        pred = widen(pred)
        loss = sigmoid_focal_loss(pred, as_scores(target, pred), alpha=self.alpha, gamma=self.gamma, reduction='none')
        reduction = check_reduction(reduction_override or self.reduction)
        return self.loss_weight * weight_reduce(loss, weight, reduction, avg_factor)
