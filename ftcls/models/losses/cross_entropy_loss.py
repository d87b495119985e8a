"""Cross entropy over classes, its binary form for several labels per image, and label smoothing."""
from collections.abc import Sequence
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Lt

from ftcls.registry import MODELS
from ftcls.utils import ConfigError
from ftcls.utils.types import PositiveInt, Reduction
from .base_loss import Finite, Loss, as_scores, class_values, is_index, widen

__all__ = ['CrossEntropyLoss', 'LabelSmoothLoss']

ClassWeight = Sequence[Finite] | Literal['balanced'] | None


@MODELS.register_module()
class CrossEntropyLoss(Loss):
    """Cross entropy loss for class indices, for soft labels, and with sigmoid for several labels per image.

    ``class_weight`` multiplies the losses, and a mean is divided by the number of samples all the same, as in
    MMClassification. (``torch.nn.CrossEntropyLoss`` divides by the sum of the weights.)

    Args:
        use_sigmoid: Binary cross entropy of each class.
        use_soft: Labels are scores (N, C); they are also recognised without it.
        class_weight: C weights; ``tools/train.py`` replaces 'balanced' by n / (C n_c), from the training set's counts.
        pos_weight: Weights of the positive labels of the C classes, with ``use_sigmoid`` only.
        reduction, loss_weight: See :class:`Loss`.

    Raises:
        ConfigError: If the arguments contradict each other, or all classes weigh 0.

    Example:
        >>> CrossEntropyLoss()(torch.zeros(2, 10), torch.tensor([3, 7]))
        tensor(2.3026)
    """

    _label_smoothing = 0.0

    def __init__(self,
                 use_sigmoid: bool = False,
                 use_soft: bool = False,
                 reduction: Reduction = 'mean',
                 loss_weight: float = 1.0,
                 class_weight: ClassWeight = None,
                 pos_weight: Sequence[float] | None = None) -> None:
        super().__init__(reduction, loss_weight)
        if use_sigmoid and use_soft:
            raise ConfigError('use_sigmoid=True and use_soft=True exclude each other')
        if pos_weight is not None and not use_sigmoid:
            raise ConfigError('pos_weight has an effect with use_sigmoid=True only; use class_weight')
        if class_weight is not None and not any(class_weight):
            raise ConfigError(f'class_weight={list(class_weight)}: at least one weight must be above 0')
        self.use_sigmoid = use_sigmoid
        self.use_soft = use_soft
        self.class_weight = class_weight
        self.pos_weight = pos_weight

    def forward(self,
                cls_score: torch.Tensor,
                label: torch.Tensor,
                weight: torch.Tensor | None = None,
                avg_factor: float | None = None,
                reduction_override: Reduction | None = None) -> torch.Tensor:
        """Return the loss.

        Args:
            cls_score: (N, C) float logits.
            label: (N, ) or (N, 1) int class indices, or (N, C) float scores.
            weight: (N, ) float, weight of each sample; does not change what the sum is divided by.
            avg_factor: What a mean is divided by; None for the number of samples (of elements with sigmoid).
            reduction_override: Replaces ``reduction``.

        Returns:
            () float32; for 'none' (N, ), with sigmoid (N, C).

        Raises:
            DataError: If the labels do not fit the logits.
            ConfigError: If ``class_weight`` or ``pos_weight`` is not of length C.
        """
        pred = widen(cls_score)
        class_weight = class_values(self.class_weight, pred, 'class_weight')
        if self.use_sigmoid or self.use_soft:
            label = self._scores(label, pred)
        if self.use_sigmoid:
            weights = dict(weight=class_weight, pos_weight=class_values(self.pos_weight, pred, 'pos_weight'))
            loss = F.binary_cross_entropy_with_logits(pred, label, reduction='none', **weights)
        else:
            label = label.reshape(-1).long() if is_index(label, pred) else label.to(pred.dtype)
            loss = F.cross_entropy(pred, label, class_weight, reduction='none', label_smoothing=self._label_smoothing)
        return self.reduce(loss, weight, avg_factor, reduction_override)

    def _scores(self, label: torch.Tensor, pred: torch.Tensor) -> torch.Tensor:
        return as_scores(label, pred)


@MODELS.register_module()
class LabelSmoothLoss(CrossEntropyLoss):
    """Cross entropy against a label of which a part is spread over all classes.

    Label smoothing is from Szegedy et al., `Rethinking the Inception Architecture <https://arxiv.org/abs/1512.00567>`_.
    With e the ``label_smooth_val``, K classes and y the label as scores of 0 and 1, the target is

    - 'original': (1 - e) y + e / K;
    - 'classy_vision': (y + e / K) / (1 + e), which is 'original' with e / (1 + e);
    - 'multi_label': 1 - e for the labels given and e for all others, with sigmoid.

    Args:
        label_smooth_val: The part e.
        num_classes: None for that of the logits.
        use_sigmoid: None for True in mode 'multi_label' and False in the others.
        mode, reduction, loss_weight, class_weight, pos_weight: See above, and :class:`CrossEntropyLoss`.
    """

    def __init__(self,
                 label_smooth_val: Annotated[float, Ge(0), Lt(1)],
                 num_classes: PositiveInt | None = None,
                 use_sigmoid: bool | None = None,
                 mode: Literal['original', 'classy_vision', 'multi_label'] = 'original',
                 reduction: Reduction = 'mean',
                 loss_weight: float = 1.0,
                 class_weight: ClassWeight = None,
                 pos_weight: Sequence[float] | None = None) -> None:
        several = mode == 'multi_label'
        if use_sigmoid is None:
            use_sigmoid = several
        super().__init__(use_sigmoid, several and not use_sigmoid, reduction, loss_weight, class_weight, pos_weight)
        self.label_smooth_val = label_smooth_val
        self.num_classes = num_classes
        self.mode = mode
        self._eps = label_smooth_val
        if mode == 'classy_vision':
            self._eps = label_smooth_val / (1 + label_smooth_val)
        if not several:
            self._label_smoothing = self._eps

    def forward(self,
                cls_score: torch.Tensor,
                label: torch.Tensor,
                weight: torch.Tensor | None = None,
                avg_factor: float | None = None,
                reduction_override: Reduction | None = None) -> torch.Tensor:
        """See :meth:`CrossEntropyLoss.forward`; raise a ConfigError if ``num_classes`` is not that of the logits."""
        if self.num_classes not in (None, cls_score.shape[-1]):
            has = f'the head has {cls_score.shape[-1]} classes'
            raise ConfigError(f'LabelSmoothLoss: num_classes={self.num_classes}, but {has}; remove it from the loss')
        return super().forward(cls_score, label, weight, avg_factor, reduction_override)

    def _scores(self, label: torch.Tensor, pred: torch.Tensor) -> torch.Tensor:
        """Return the smoothed target (N, K) float."""
        scores = as_scores(label, pred)
        if self.mode == 'multi_label':
            return torch.where(scores > 0, 1 - self._eps, self._eps).to(scores.dtype)
        return scores * (1 - self._eps) + self._eps / scores.shape[-1]
