"""Label smoothing (Szegedy et al., `Rethinking the Inception Architecture <https://arxiv.org/abs/1512.00567>`_)."""
from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from ftcls.registry import MODELS
from ftcls.utils import ConfigError, did_you_mean
from .cross_entropy_loss import binary_cross_entropy, cross_entropy
from .reduction import as_scores, check_class_weight, check_reduction, class_values, widen

__all__ = ['LabelSmoothLoss']

_MODES = ('original', 'classy_vision', 'multi_label')


@MODELS.register_module()
class LabelSmoothLoss(nn.Module):
    """Cross entropy against a label of which a part is spread over all classes.

    With e the ``label_smooth_val``, K classes and y the label as scores of 0 and 1, the target is

    - 'original': (1 - e) y + e / K;
    - 'classy_vision': (y + e / K) / (1 + e), which is 'original' with e / (1 + e);
    - 'multi_label': 1 - e for the labels given and e for all others, with sigmoid.

    Args:
        label_smooth_val: The part e, 0 <= e < 1.
        num_classes: Number of classes; None for that of the logits.
        use_sigmoid: Take each class by itself; None for True in mode 'multi_label' and False in the others.
        mode: 'original', 'classy_vision' or 'multi_label'.
        reduction: 'none', 'mean' or 'sum'.
        loss_weight: Factor of the loss.
        class_weight: Weight of each class, of length K, as in ``torch.nn.CrossEntropyLoss``; or 'balanced', see
            :class:`CrossEntropyLoss`.

    Raises:
        ConfigError: If an argument is out of range.
    """

    def __init__(self,
                 label_smooth_val: float,
                 num_classes: int | None = None,
                 use_sigmoid: bool | None = None,
                 mode: str = 'original',
                 reduction: str = 'mean',
                 loss_weight: float = 1.0,
                 class_weight: Sequence[float] | Literal['balanced'] | None = None) -> None:
        super().__init__()
        if not isinstance(label_smooth_val, (int, float)) or not 0 <= label_smooth_val < 1:
            raise ConfigError(f'label_smooth_val={label_smooth_val!r}: must be a number of at least 0 and below 1')
        if mode not in _MODES:
            raise ConfigError(f'mode={mode!r}{did_you_mean(str(mode), _MODES)}')
        self.label_smooth_val = label_smooth_val
        self.num_classes = num_classes
        self.use_sigmoid = mode == 'multi_label' if use_sigmoid is None else use_sigmoid
        self.mode = mode
        self.reduction = check_reduction(reduction)
        self.loss_weight = loss_weight
        self.class_weight = check_class_weight(class_weight)
        self._eps = label_smooth_val / (1 + label_smooth_val) if mode == 'classy_vision' else label_smooth_val

    def forward(self,
                cls_score: torch.Tensor,
                label: torch.Tensor,
                weight: torch.Tensor | None = None,
                avg_factor: float | None = None,
                reduction_override: str | None = None) -> torch.Tensor:
        """Return the loss; the arguments are those of :meth:`CrossEntropyLoss.forward`.

        Raises:
            ConfigError: If ``num_classes`` is not that of the logits.
            DataError: If the labels do not fit the logits.
        """
        pred = widen(cls_score)
        if self.num_classes not in (None, pred.shape[-1]):
            raise ConfigError(
                f'LabelSmoothLoss: num_classes={self.num_classes}, but the head has {pred.shape[-1]} classes; '
                'set both alike, or leave it out of the loss')
        options = dict(weight=weight, reduction=check_reduction(reduction_override or self.reduction))
        options.update(avg_factor=avg_factor, class_weight=class_values(self.class_weight, pred, 'class_weight'))
        if self.mode != 'multi_label' and not self.use_sigmoid:
            return self.loss_weight * cross_entropy(pred, label, label_smoothing=self._eps, **options)
        loss = binary_cross_entropy if self.use_sigmoid else cross_entropy
        return self.loss_weight * loss(pred, self._smooth(as_scores(label, pred)), **options)

    def _smooth(self, scores: torch.Tensor) -> torch.Tensor:
        """Return the smoothed target of scores (N, K) float."""
        if self.mode == 'multi_label':
            return torch.where(scores > 0, 1 - self._eps, self._eps).to(scores.dtype)
        return scores * (1 - self._eps) + self._eps / scores.shape[-1]
