"""What the losses share: reduction, precision, the kinds of label."""
import inspect
import math
from collections.abc import Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge, Lt
from torch import nn

from ftcls.utils import ConfigError, DataError, did_you_mean
from ftcls.utils.types import Reduction

__all__ = ['Loss', 'as_scores', 'class_values', 'is_index', 'unreduced', 'weight_reduce', 'widen']

Finite = Annotated[float, Ge(0), Lt(math.inf)]  # Infinity would pass as a float and give a loss of NaN.


class Loss(nn.Module):
    """Base of losses: ``reduction``, and the factor ``loss_weight``."""

    def __init__(self, reduction: Reduction = 'mean', loss_weight: float = 1.0) -> None:
        super().__init__()
        self.reduction = reduction
        self.loss_weight = loss_weight

    def reduce(self,
               loss: torch.Tensor,
               weight: torch.Tensor | None = None,
               avg_factor: float | torch.Tensor | None = None,
               reduction_override: Reduction | None = None) -> torch.Tensor:
        """Reduce the losses of samples or elements, see :func:`weight_reduce`, and multiply by ``loss_weight``."""
        loss = weight_reduce(loss, weight, reduction_override or self.reduction, avg_factor)
        return loss if self.loss_weight == 1 else self.loss_weight * loss


def widen(x: torch.Tensor) -> torch.Tensor:
    """Return half-precision numbers as float32, in which sums do not overflow at 65,504; float64 stays."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def weight_reduce(loss: torch.Tensor,
                  weight: torch.Tensor | None = None,
                  reduction: Reduction = 'mean',
                  avg_factor: float | torch.Tensor | None = None) -> torch.Tensor:
    """Weight losses (N, ) or (N, C) and reduce them to () float32 (float64 for float64).

    Args:
        loss: (N, ) or (N, C) float.
        weight: (N, ) float, one per sample; or of the shape of ``loss``.
        reduction: 'none' keeps the shape of ``loss``.
        avg_factor: What the sum is divided by for 'mean'; None for the number of elements.

    Raises:
        ConfigError: If the reduction is unknown.
    """
    loss = widen(loss)
    if weight is not None:
        loss = loss * weight.to(loss.dtype).reshape(weight.shape + (1, ) * (loss.ndim - weight.ndim))
    if reduction == 'none':
        return loss
    if reduction == 'sum':
        return loss.sum()
    if reduction != 'mean':
        raise ConfigError(f'reduction={reduction!r}{did_you_mean(str(reduction), ("none", "mean", "sum"))}')
    return loss.mean() if avg_factor is None else loss.sum() / avg_factor


def is_index(label: torch.Tensor, pred: torch.Tensor) -> bool:
    """Tell whether labels are class indices, (N, ) or (N, 1), rather than scores of the shape of ``pred``.

    Raises:
        DataError: If they are neither; or, on the CPU where looking costs nothing, if an index is no class of ``pred``.
    """
    num_classes = pred.shape[-1]
    if label.ndim != 1 and (label.ndim != 2 or label.shape[1] != 1 or label.is_floating_point()):
        if label.shape != pred.shape:
            shapes = f'labels of shape {tuple(label.shape)} for predictions of shape {tuple(pred.shape)}'
            raise DataError(f'{shapes}: give class indices (N, ), or scores of the same shape')
        return False
    if label.device.type == 'cpu' and label.numel() and not torch.compiler.is_compiling():
        low, high = map(int, label.aminmax())
        if low < 0 or high >= num_classes:
            raise DataError(f'label {low if low < 0 else high} in the data, but the head has {num_classes} classes '
                            f'(0 ... {num_classes - 1}): set num_classes of the head')
    return True


def unreduced(loss: nn.Module, pred: torch.Tensor, target: torch.Tensor, **kwargs: object) -> torch.Tensor:
    """Return the loss of each sample or element; that of the batch if a loss has no ``reduction_override``."""
    if 'reduction_override' in inspect.signature(loss.forward).parameters:
        return loss(pred, target, reduction_override='none')
    return loss(pred, target, **kwargs)


def as_scores(label: torch.Tensor, pred: torch.Tensor) -> torch.Tensor:
    """Return labels as scores (N, num_classes) of the dtype of ``pred``: class indices become 0 and 1."""
    if is_index(label, pred):
        label = F.one_hot(label.reshape(-1).long(), pred.shape[-1])
    return label.to(pred.dtype)


def class_values(values: Sequence[float] | str | None, pred: torch.Tensor, key: str) -> torch.Tensor | None:
    """Return one value for each class as a tensor (C, ) beside ``pred``, or None.

    Raises:
        ConfigError: If there is not one for each class, or ``'balanced'`` has not been replaced by numbers.
    """
    if values is None:
        return None
    if isinstance(values, str):
        raise ConfigError(f'{key}={values!r}: only a training counts the training set; give a list, or None')
    if len(values) != pred.shape[-1]:
        raise ConfigError(f'{key} has {len(values)} values for the {pred.shape[-1]} classes of the head')
    return torch.as_tensor(values, dtype=widen(pred).dtype, device=pred.device)
