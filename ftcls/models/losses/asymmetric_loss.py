"""Asymmetric loss (Ridnik et al., `Asymmetric Loss <https://arxiv.org/abs/2009.14119>`_)."""
from typing import Annotated

import torch
from annotated_types import Ge, Lt

from ftcls.registry import MODELS
from ftcls.utils.types import Reduction
from .base_loss import Finite, Loss, as_scores, widen

__all__ = ['AsymmetricLoss', 'asymmetric_loss']


def asymmetric_loss(pred: torch.Tensor,
                    target: torch.Tensor,
                    gamma_pos: float = 1.0,
                    gamma_neg: float = 4.0,
                    clip: float | None = 0.05,
                    use_sigmoid: bool = True,
                    eps: float = 1e-8) -> torch.Tensor:
    """Return the loss of each element, (N, C) float32: -(1 - q) ** gamma * log(q).

    With p the probability of the class, q is p of a positive label, with ``gamma_pos``; and min(1 - p + clip, 1) of a
    negative one, with ``gamma_neg``.

    Args:
        pred: (N, C) float logits.
        target: (N, C) float, 0 to 1.
        gamma_pos, gamma_neg: How little positive and negative labels count that are already right.
        clip: Negative labels of a lower probability do not count at all.
        use_sigmoid: Take each class by itself; else by softmax.
        eps: The least argument of the logarithm.
    """
    pred = widen(pred)
    target = target.to(pred.dtype)
    prob = pred.sigmoid() if use_sigmoid else pred.softmax(dim=-1)
    right = prob * target + (1 - prob + (clip or 0)).clamp(max=1) * (1 - target)
    focus = (1 - right).clamp(min=eps)**(gamma_pos * target + gamma_neg * (1 - target))  # against an infinite gradient
    return -right.clamp(min=eps).log() * focus


@MODELS.register_module()
class AsymmetricLoss(Loss):
    """Cross entropy of each class, in which the many negative labels count less than the few positive ones.

    The arguments are those of :class:`Loss` and :func:`asymmetric_loss`; ``gamma_neg`` is usually the larger exponent.

    Example:
        >>> AsymmetricLoss()(torch.zeros(1, 2), torch.tensor([[1., 0.]]))
        tensor(0.3588)
    """

    def __init__(self,
                 gamma_pos: Finite = 0.0,
                 gamma_neg: Finite = 4.0,
                 clip: Annotated[float, Ge(0), Lt(1)] | None = 0.05,
                 reduction: Reduction = 'mean',
                 loss_weight: float = 1.0,
                 use_sigmoid: bool = True,
                 eps: float = 1e-8) -> None:
        super().__init__(reduction, loss_weight)
        self.options = dict(gamma_pos=gamma_pos, gamma_neg=gamma_neg, clip=clip, use_sigmoid=use_sigmoid, eps=eps)
        self.use_sigmoid = use_sigmoid

    def forward(self,
                pred: torch.Tensor,
                target: torch.Tensor,
                weight: torch.Tensor | None = None,
                avg_factor: float | None = None,
                reduction_override: Reduction | None = None) -> torch.Tensor:
        """Return the loss, as :meth:`CrossEntropyLoss.forward` with sigmoid."""
        elements = asymmetric_loss(pred, as_scores(target, widen(pred)), **self.options)
        return self.reduce(elements, weight, avg_factor, reduction_override)

    def extra_repr(self) -> str:
        """Show the arguments."""
        return ', '.join(f'{key}={value}' for key, value in self.options.items())
