"""Cross entropy over classes, and its binary form for several labels a picture."""
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from ftcls.registry import MODELS
from ftcls.utils import ConfigError
from .reduction import as_scores, check_class_weight, check_reduction, class_values, is_index, weight_reduce, widen

__all__ = ['CrossEntropyLoss', 'binary_cross_entropy', 'cross_entropy']


def cross_entropy(pred: torch.Tensor,
                  label: torch.Tensor,
                  weight: torch.Tensor | None = None,
                  reduction: str = 'mean',
                  avg_factor: float | None = None,
                  class_weight: torch.Tensor | None = None,
                  label_smoothing: float = 0.0) -> torch.Tensor:
    """Cross entropy of softmax(pred).

    With ``class_weight`` and class indices a sample counts as much as its class weighs, in the loss and in what it is
    divided by, as in ``torch.nn.CrossEntropyLoss``: the mean is divided by the sum of the weights.

    Args:
        pred: (N, C) float logits.
        label: (N, ) int class indices, or (N, C) float scores.
        weight: (N, ) float, weight of each sample; does not change what the sum is divided by.
        reduction: 'none', 'mean' or 'sum'.
        avg_factor: The number of samples that the mean is taken over; None for N.
        class_weight: (C, ) float.
        label_smoothing: Part of the label that is spread evenly over all classes.

    Returns:
        () float32, or (N, ) where ``reduction`` is 'none'.
    """
    pred = widen(pred)
    index = is_index(label, pred)
    label = label.reshape(-1).long() if index else label.to(pred.dtype)
    loss = F.cross_entropy(pred, label, weight=class_weight, reduction='none', label_smoothing=label_smoothing)
    if class_weight is not None and index and len(label):
        samples = len(label) if avg_factor is None else avg_factor
        avg_factor = samples * class_weight[label].mean()
    return weight_reduce(loss, weight, reduction, avg_factor)


def binary_cross_entropy(pred: torch.Tensor,
                         label: torch.Tensor,
                         weight: torch.Tensor | None = None,
                         reduction: str = 'mean',
                         avg_factor: float | None = None,
                         class_weight: torch.Tensor | None = None,
                         pos_weight: torch.Tensor | None = None) -> torch.Tensor:
    """Cross entropy of sigmoid(pred), each class by itself.

    Args:
        pred: (N, C) float logits.
        label: (N, C) float, 0 to 1; or (N, ) int class indices.
        weight: (N, ) float, weight of each sample.
        reduction: 'none', 'mean' or 'sum'.
        avg_factor: What the sum over samples and classes is divided by; None for N * C.
        class_weight: (C, ) float.
        pos_weight: (C, ) float, weight of the positive labels.

    Returns:
        () float32, or (N, C) where ``reduction`` is 'none'.
    """
    pred = widen(pred)
    loss = F.binary_cross_entropy_with_logits(
        pred, as_scores(label, pred), weight=class_weight, pos_weight=pos_weight, reduction='none')
    return weight_reduce(loss, weight, reduction, avg_factor)


@MODELS.register_module()
class CrossEntropyLoss(nn.Module):
    """Cross entropy loss for class indices, for soft labels, and with sigmoid for several labels a picture.

    Args:
        use_sigmoid: Take each class by itself (binary cross entropy).
        use_soft: Labels are scores (N, C); such labels are recognised without it, too.
        reduction: 'none', 'mean' or 'sum'.
        loss_weight: Factor of the loss.
        class_weight: Weight of each class, of length C, see :func:`cross_entropy`; ``tools/train.py`` puts n / (C n_c) for
            'balanced', from the training set's counts.
        pos_weight: Weight of the positive labels of each class, with ``use_sigmoid`` only.

    Raises:
        ConfigError: If the arguments contradict each other.

    Example:
        >>> import torch
        >>> from ftcls.models.losses import CrossEntropyLoss
        >>> CrossEntropyLoss()(torch.zeros(2, 10), torch.tensor([3, 7]))
        tensor(2.3026)
    """

    def __init__(self,
                 use_sigmoid: bool = False,
                 use_soft: bool = False,
                 reduction: str = 'mean',
                 loss_weight: float = 1.0,
                 class_weight: Sequence[float] | Literal['balanced'] | None = None,
                 pos_weight: Sequence[float] | None = None) -> None:
        super().__init__()
        if use_sigmoid and use_soft:
            raise ConfigError('CrossEntropyLoss: use_sigmoid=True and use_soft=True exclude each other')
        if pos_weight is not None and not use_sigmoid:
            raise ConfigError('CrossEntropyLoss: pos_weight has an effect with use_sigmoid=True only; use class_weight')
        self.use_sigmoid = use_sigmoid
        self.use_soft = use_soft
        self.reduction = check_reduction(reduction)
        self.loss_weight = loss_weight
        self.class_weight = check_class_weight(class_weight)
        self.pos_weight = pos_weight

    def forward(self,
                cls_score: torch.Tensor,
                label: torch.Tensor,
                weight: torch.Tensor | None = None,
                avg_factor: float | None = None,
                reduction_override: str | None = None) -> torch.Tensor:
        """Return the loss.

        Args:
            cls_score: (N, C) float logits.
            label: (N, ) int class indices, or (N, C) float scores.
            weight: (N, ) float, weight of each sample.
            avg_factor: What a mean is divided by; None for the number of samples (of elements with sigmoid).
            reduction_override: Takes the place of ``reduction``.

        Returns:
            () float32, or unreduced for 'none'.

        Raises:
            DataError: If the labels do not fit the logits.
            ConfigError: If ``class_weight`` or ``pos_weight`` is not of length C.
        """
        reduction = check_reduction(reduction_override or self.reduction)
        options = dict(weight=weight, reduction=reduction, avg_factor=avg_factor)
        options['class_weight'] = class_values(self.class_weight, cls_score, 'class_weight')
        if self.use_sigmoid:
            options['pos_weight'] = class_values(self.pos_weight, cls_score, 'pos_weight')
            return self.loss_weight * binary_cross_entropy(cls_score, label, **options)
        if self.use_soft:
            label = as_scores(label, widen(cls_score))
        return self.loss_weight * cross_entropy(cls_score, label, **options)
