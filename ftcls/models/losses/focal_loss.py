"""Focal loss (Lin et al., `Focal Loss for Dense Object Detection <https://arxiv.org/abs/1708.02002>`_)."""
from typing import ClassVar

import torch
from torch import nn
from torchvision.ops import sigmoid_focal_loss

from ftcls.registry import MODELS
from .pixels import flatten_pixels, reduce_pixels, weighted_mean
from .reduction import as_scores, check_reduction, weight_reduce, widen

__all__ = ['FocalLoss']


@MODELS.register_module()
class FocalLoss(nn.Module):
    """Binary cross entropy of each class, or of each pixel, in which what is already right counts little.

    Logits (N, C) are classes; logits (N, 1, H, W) are pixels of binary masks, which are treated as in :class:`PixelLoss`.

    Args:
        gamma: How strongly: each term is multiplied by (1 - probability of what is true) ** gamma.
        alpha: Weight of the positive labels; the negative have 1 - alpha.
        reduction: 'none', 'mean' or 'sum'.
        loss_weight: Factor of the loss.
        per_image: Of pixels: take the mean of the images' losses, see :class:`PixelLoss`.
        ignore_index: Of pixels: value in the masks of those that do not count.
    """

    short_name: ClassVar[str] = 'focal'

    def __init__(self,
                 gamma: float = 2.0,
                 alpha: float = 0.25,
                 reduction: str = 'mean',
                 loss_weight: float = 1.0,
                 per_image: bool = False,
                 ignore_index: int = 255) -> None:
        super().__init__()
        self.gamma = gamma
        self.alpha = alpha
        self.reduction = check_reduction(reduction)
        self.loss_weight = loss_weight
        self.per_image = per_image
        self.ignore_index = ignore_index

    def forward(self,
                pred: torch.Tensor,
                target: torch.Tensor,
                weight: torch.Tensor | None = None,
                avg_factor: float | None = None,
                reduction_override: str | None = None) -> torch.Tensor:
        """Return the loss.

        Args:
            pred: (N, C) float logits; of pixels (N, 1, H, W).
            target: (N, ) or (N, 1) int class indices, or (N, C) float scores; masks (N, H, W).
            weight: (N, ) float, weight of each sample; of pixels (N, H, W).
            avg_factor: What a mean is divided by; None for N * C. Of pixels: not used.
            reduction_override: Takes the place of ``reduction``.

        Returns:
            () float32, or (N, C), of pixels (N, ), where the reduction is 'none'.

        Raises:
            DataError: If the labels do not fit the logits.
        """
        reduction = check_reduction(reduction_override or self.reduction)
        if pred.ndim == 4:
            pixels = flatten_pixels(pred, target, weight, self.ignore_index)
            return self.loss_weight * reduce_pixels(self._rows, pixels, self.per_image, reduction)
        pred = widen(pred)
        return self.loss_weight * weight_reduce(
            self._elements(pred, as_scores(target, pred)), weight, reduction, avg_factor)

    def _elements(self, logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        return sigmoid_focal_loss(logits, truth, alpha=self.alpha, gamma=self.gamma, reduction='none')

    def _rows(self, logits: torch.Tensor, truth: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return weighted_mean(self._elements(logits, truth), weight)
