"""Asymmetric loss (Ridnik et al., `Asymmetric Loss For Multi-Label Classification <https://arxiv.org/abs/2009.14119>`_)."""
import torch
from torch import nn

from ftcls.registry import MODELS
from ftcls.utils import ConfigError
from .reduction import as_scores, check_reduction, weight_reduce, widen

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
        gamma_pos: How little positive labels count that are right already.
        gamma_neg: The same of negative ones.
        clip: Negative labels of a lower probability do not count at all.
        use_sigmoid: Take each class by itself; else by softmax.
        eps: The least argument of the logarithm.
    """
    pred = widen(pred)
    target = target.to(pred.dtype)
    prob = pred.sigmoid() if use_sigmoid else pred.softmax(dim=-1)
    right = prob * target + (1 - prob + (clip or 0)).clamp(max=1) * (1 - target)
    # The least of 1 - right only spares the gradient from 0 ** (gamma - 1), which is infinite for gamma below 1.
    focus = (1 - right).clamp(min=eps)**(gamma_pos * target + gamma_neg * (1 - target))
    return -right.clamp(min=eps).log() * focus


@MODELS.register_module()
class AsymmetricLoss(nn.Module):
    """Cross entropy of each class, in which the many negative labels count less than the few positive ones.

    Args:
        gamma_pos: See :func:`asymmetric_loss`.
        gamma_neg: Likewise; usually larger than ``gamma_pos``.
        clip: Likewise.
        reduction: 'none', 'mean' or 'sum'.
        loss_weight: Factor of the loss.
        use_sigmoid: As above.
        eps: As above.

    Raises:
        ConfigError: If an argument is out of range.

    Example:
        >>> import torch
        >>> from ftcls.models.losses import AsymmetricLoss
        >>> AsymmetricLoss()(torch.zeros(1, 2), torch.tensor([[1., 0.]]))
        tensor(0.3588)
    """

    def __init__(self,
                 gamma_pos: float = 0.0,
                 gamma_neg: float = 4.0,
                 clip: float | None = 0.05,
                 reduction: str = 'mean',
                 loss_weight: float = 1.0,
                 use_sigmoid: bool = True,
                 eps: float = 1e-8) -> None:
        super().__init__()
        for key, value in (('gamma_pos', gamma_pos), ('gamma_neg', gamma_neg)):
            if not 0 <= value < float('inf'):
                raise ConfigError(f'AsymmetricLoss: {key}={value!r}: must be a number of at least 0')
        if clip is not None and not 0 <= clip < 1:
            raise ConfigError(f'AsymmetricLoss: clip={clip!r}: must be at least 0 and below 1, or None')
        self.options = dict(gamma_pos=gamma_pos, gamma_neg=gamma_neg, clip=clip, use_sigmoid=use_sigmoid, eps=eps)
        self.use_sigmoid = use_sigmoid
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
            target: (N, C) float scores, or (N, ) int class indices.
            weight: (N, ) float, weight of each sample.
            avg_factor: What a mean is divided by; None for N * C.
            reduction_override: Takes the place of ``reduction``.

        Returns:
            () float32, or (N, C) where the reduction is 'none'.

        Raises:
            DataError: If the labels do not fit the logits.
        """
        reduction = check_reduction(reduction_override or self.reduction)
        elements = asymmetric_loss(pred, as_scores(target, widen(pred)), **self.options)
        return self.loss_weight * weight_reduce(elements, weight, reduction, avg_factor)

    def extra_repr(self) -> str:
        """Show the arguments."""
        return ', '.join(f'{key}={value}' for key, value in self.options.items())
