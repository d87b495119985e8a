"""What the losses over pixels share: precision, pixels to be ignored, an image or a batch at a time."""
from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import nn

from ftcls.utils import DataError
from .reduction import check_reduction, weight_reduce, widen

__all__ = ['PixelLoss', 'flatten_pixels', 'reduce_pixels', 'weighted_mean']

# Logits, truth and weight, each (N, pixels) float, to the loss of each row, (N, ).
RowLoss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def flatten_pixels(pred: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None,
                   ignore_index: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return logits, truth and weight of each pixel as rows, (N, H * W) float32 each; what is ignored weighs 0.

    Args:
        pred: (N, 1, H, W) float logits, of any precision; float64 is kept.
        target: (N, H, W) or (N, 1, H, W), of 0, 1 and ``ignore_index``; numbers in between are soft truth.
        weight: Of the shape of ``target``, weight of each pixel; None for 1.
        ignore_index: Value in ``target`` of pixels that do not count.

    Raises:
        DataError: If the shapes differ, or, on the CPU where looking costs nothing, a value is none of these.
    """
    if pred.ndim != 4 or pred.shape[1] != 1 or target.numel() != pred.numel() or target.shape[-2:] != pred.shape[-2:]:
        raise DataError(
            f'masks of shape {tuple(target.shape)} for logits of shape {tuple(pred.shape)}: a loss over pixels '
            'takes logits (N, 1, H, W) and masks (N, H, W)')
    rows = pred.shape[0]
    logits, target = widen(pred).reshape(rows, -1), target.reshape(rows, -1)
    valid = target != ignore_index
    truth = torch.where(valid, target, 0).to(logits.dtype)
    if truth.device.type == 'cpu' and truth.numel() and not 0 <= float(truth.min()) <= float(truth.max()) <= 1:
        raise DataError(f'a mask holds values from {float(truth.min()):g} to {float(truth.max()):g}: the loss takes 0 '
                        f'(background), 1 (foreground) and {ignore_index} (ignored)')
    counts = valid.to(logits.dtype)
    return logits, truth, counts if weight is None else counts * weight.reshape(rows, -1).to(logits.dtype)


def weighted_mean(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return the mean of each row, (N, ), of values (N, pixels) weighted by (N, pixels); 0 where nothing weighs."""
    total = weight.sum(dim=1)
    return (values * weight).sum(dim=1) / torch.where(total > 0, total, 1)


def reduce_pixels(loss: RowLoss, pixels: tuple[torch.Tensor, torch.Tensor, torch.Tensor], per_image: bool,
                  reduction: str) -> torch.Tensor:
    """Compute a loss over the rows of ``pixels``, as from :func:`flatten_pixels`.

    Returns:
        'mean': () float, of all pixels of the batch together, or with ``per_image`` the mean over the images; 'sum': the
        sum over the images; 'none': (N, ) float, the loss of each image.
    """
    if reduction == 'mean' and not per_image:
        pixels = tuple(x.reshape(1, -1) for x in pixels)
    return weight_reduce(loss(*pixels), reduction=reduction)


class PixelLoss(nn.Module):
    """Base of losses over the pixels of binary masks; a subclass defines :meth:`rows`.

    All is computed in float32, whatever the precision of the logits: the sums over an image overflow in float16.

    Args:
        per_image: With reduction 'mean', take the mean of the images' losses; else all pixels of the batch are taken
            together, as if they were one image.
        ignore_index: Value in the masks of pixels that do not count.
        reduction: 'none' (of each image), 'mean' or 'sum' (over the images).
        loss_weight: Factor of the loss.
    """

    # How the loss is called in the log, after ``loss_``.
    short_name: ClassVar[str] = ''

    def __init__(self,
                 per_image: bool = False,
                 ignore_index: int = 255,
                 reduction: str = 'mean',
                 loss_weight: float = 1.0) -> None:
        super().__init__()
        self.per_image = per_image
        self.ignore_index = ignore_index
        self.reduction = check_reduction(reduction)
        self.loss_weight = loss_weight

    @abstractmethod
    def rows(self, logits: torch.Tensor, truth: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Return the loss of each row, (N, ) float32.

        Args:
            logits: (N, pixels) float32.
            truth: (N, pixels) float32, 0 to 1.
            weight: (N, pixels) float32; 0 for pixels that do not count.
        """

    def forward(self,
                pred: torch.Tensor,
                target: torch.Tensor,
                weight: torch.Tensor | None = None,
                reduction_override: str | None = None) -> torch.Tensor:
        """Return the loss.

        Args:
            pred: (N, 1, H, W) float logits.
            target: (N, H, W) or (N, 1, H, W), of 0, 1 and ``ignore_index``.
            weight: Of the shape of ``target``, weight of each pixel.
            reduction_override: Takes the place of ``reduction``.

        Returns:
            () float32, or (N, ) where the reduction is 'none'.

        Raises:
            DataError: If the masks do not fit the logits.
        """
        pixels = flatten_pixels(pred, target, weight, self.ignore_index)
        reduction = check_reduction(reduction_override or self.reduction)
        return self.loss_weight * reduce_pixels(self.rows, pixels, self.per_image, reduction)
