"""Generalized mean pooling (Radenović et al., `Fine-tuning CNN Image Retrieval <https://arxiv.org/abs/1711.02512>`_)."""
import torch
from torch import nn

from ftcls.registry import MODELS
from ftcls.utils import ConfigError

__all__ = ['GeneralizedMeanPooling']

Features = torch.Tensor | tuple[torch.Tensor, ...]


@MODELS.register_module()
class GeneralizedMeanPooling(nn.Module):
    """(mean over all positions of x ** p) ** (1 / p): the mean for p = 1, towards the maximum for large p.

    Args:
        p: The exponent, at least 1.
        eps: Smallest value that is raised to the power, where ``clamp`` is set.
        clamp: Raise smaller values to ``eps`` first.
        p_trainable: Learn the exponent.

    Raises:
        ConfigError: If ``p`` is less than 1.
    """

    def __init__(self, p: float = 3., eps: float = 1e-6, clamp: bool = True, p_trainable: bool = True) -> None:
        super().__init__()
        if p < 1:
            raise ConfigError(f'p={p}: GeneralizedMeanPooling takes an exponent of 1 or more')
        self.p = nn.Parameter(torch.full((1, ), float(p)), requires_grad=p_trainable)
        self.eps = eps
        self.clamp = clamp
        self.p_trainable = p_trainable

    def forward(self, inputs: Features) -> Features:
        """Pool a feature map (N, C, H, W) float, or each of a tuple, to (N, C)."""
        if isinstance(inputs, tuple):
            return tuple(self._pool(x) for x in inputs)
        return self._pool(inputs)

    def _pool(self, x: torch.Tensor) -> torch.Tensor:
        # The power of a half-precision number overflows at 40 ** 3 already.
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        wide = wide.clamp(min=self.eps) if self.clamp else wide
        return wide.pow(self.p).mean(dim=(-2, -1)).pow(1. / self.p).to(x.dtype)
