"""What the losses share: reduction, precision, the kinds of label."""
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from ftcls.utils import ConfigError, DataError, did_you_mean

__all__ = ['as_scores', 'check_class_weight', 'check_reduction', 'class_values', 'is_index', 'weight_reduce', 'widen']

_REDUCTIONS = ('none', 'mean', 'sum')


def check_reduction(reduction: str, key: str = 'reduction') -> str:
    """Return ``reduction``, one of 'none', 'mean' and 'sum'.

    Raises:
        ConfigError: If it is another.
    """
    if reduction not in _REDUCTIONS:
        raise ConfigError(f'{key}={reduction!r}{did_you_mean(str(reduction), _REDUCTIONS)}')
    return reduction


def widen(x: torch.Tensor) -> torch.Tensor:
    """Return half-precision numbers as float32: sums over many of them overflow at 65,504. Others are left alone."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def weight_reduce(loss: torch.Tensor,
                  weight: torch.Tensor | None = None,
                  reduction: str = 'mean',
                  avg_factor: float | torch.Tensor | None = None) -> torch.Tensor:
    """Weight the losses of single samples or elements and reduce them.

    Args:
        loss: (N, ) or (N, C) float.
        weight: (N, ) float, one a sample; or of the shape of ``loss``.
        reduction: 'none', 'mean' or 'sum'.
        avg_factor: What the sum is divided by where ``reduction`` is 'mean'; None for the number of elements.

    Returns:
        () float32 (float64 for float64); of the shape of ``loss`` where ``reduction`` is 'none'.
    """
    loss = widen(loss)
    if weight is not None:
        loss = loss * weight.to(loss.dtype).reshape(weight.shape + (1, ) * (loss.ndim - weight.ndim))
    if reduction == 'none':
        return loss
    if reduction == 'sum':
        return loss.sum()
    return loss.mean() if avg_factor is None else loss.sum() / avg_factor


def is_index(label: torch.Tensor, pred: torch.Tensor) -> bool:
    """Tell whether labels are class indices, (N, ) or (N, 1), rather than scores of the shape of ``pred``.

    Raises:
        DataError: If they are neither; or, on the CPU where looking costs nothing, if an index is no class of ``pred``.
    """
    num_classes = pred.shape[-1]
    index = label.ndim == 1 or (label.ndim == 2 and label.shape[1] == 1 and not label.is_floating_point())
    if not index:
        if label.shape != pred.shape:
            raise DataError(
                f'labels of shape {tuple(label.shape)} for predictions of shape {tuple(pred.shape)}: they must '
                f'be class indices (N, ), or scores of the same shape; the head has {num_classes} classes')
        return False
    if label.device.type == 'cpu' and label.numel():
        low, high = int(label.min()), int(label.max())
        if low < 0 or high >= num_classes:
            raise DataError(f'label {low if low < 0 else high} in the data, but the head has {num_classes} classes '
                            f'(0 ... {num_classes - 1}): set num_classes of the head to the number of classes')
    return True


def as_scores(label: torch.Tensor, pred: torch.Tensor) -> torch.Tensor:
    """Return labels as scores (N, num_classes) of the dtype of ``pred``: class indices become 0 and 1."""
    if is_index(label, pred):
        label = F.one_hot(label.reshape(-1).long(), pred.shape[-1])
    return label.to(pred.dtype)


def check_class_weight(values: Sequence[float] | str | None) -> Sequence[float] | str | None:
    """Return ``class_weight`` as it is.

    Raises:
        ConfigError: If a weight is no finite number of at least 0, or all are 0.
    """
    if values is None or isinstance(values, str):
        return values
    numbers = [float(v) for v in values]
    if not all(math.isfinite(v) and v >= 0 for v in numbers) or not any(numbers):
        raise ConfigError(f'class_weight={list(values)}: each must be a number of at least 0, and one of them above 0')
    return values


def class_values(values: Sequence[float] | str | None, pred: torch.Tensor, key: str) -> torch.Tensor | None:
    """Return one value for each class as a tensor (C, ) beside ``pred``, or None.

    Raises:
        ConfigError: If there is not one for each class, or they are not settled.
    """
    if values is None:
        return None
    if isinstance(values, str):
        raise ConfigError(
            f'{key}={values!r}: the numbers come from a training set, and tools/train.py puts them in; elsewhere '
            'give a list of them, or None')
    if len(values) != pred.shape[-1]:
        raise ConfigError(
            f'{key} has {len(values)} values, but the head has {pred.shape[-1]} classes: give one for each')
    return torch.as_tensor(values, dtype=widen(pred).dtype, device=pred.device)
