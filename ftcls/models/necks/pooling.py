"""Pooling of feature maps to vectors."""
from abc import abstractmethod
from typing import Annotated, Literal

import torch
from annotated_types import Ge
from torch import nn

from ftcls.registry import MODELS
from ..losses.base_loss import widen

__all__ = ['GeneralizedMeanPooling', 'GlobalAveragePooling']

Features = torch.Tensor | tuple[torch.Tensor, ...]


class _Pooling(nn.Module):
    """Base: pools a feature map, or each of a tuple."""

    def forward(self, inputs: Features) -> Features:
        """Pool a feature map (N, C, …) float, or each of a tuple, to (N, C)."""
        if isinstance(inputs, tuple):
            return tuple(self._pool(x) for x in inputs)
        return self._pool(inputs)

    @abstractmethod
    def _pool(self, x: torch.Tensor) -> torch.Tensor:
        """Pool (N, C, …) to (N, C)."""


@MODELS.register_module()
class GlobalAveragePooling(_Pooling):
    """Mean over all positions of each channel; vectors (N, C) are returned as they are.

    Args:
        dim: Number of dimensions of a channel: 1 (N, C, L), 2 (N, C, H, W) or 3 (N, C, D, H, W).

    Example:
        >>> GlobalAveragePooling()((torch.rand(2, 512, 7, 7), ))[0].shape
        torch.Size([2, 512])
    """

    def __init__(self, dim: Literal[1, 2, 3] = 2) -> None:
        super().__init__()
        self.gap = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}[dim](1)

    def _pool(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.ndim == 2 else self.gap(x).flatten(1)


@MODELS.register_module()
class GeneralizedMeanPooling(_Pooling):
    """(mean over all positions of x ** p) ** (1 / p): the mean for p = 1, towards the maximum for large p.

    See Radenović et al., `Fine-tuning CNN Image Retrieval <https://arxiv.org/abs/1711.02512>`_.

    Args:
        p: The exponent; ``p_trainable`` lets it learn.
        eps: Smallest value that is raised to the power: with ``clamp``, smaller values are raised to it first.
    """

    def __init__(self,
                 p: Annotated[float, Ge(1)] = 3.,
                 eps: float = 1e-6,
                 clamp: bool = True,
                 p_trainable: bool = True) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.full((1, ), float(p)), requires_grad=p_trainable)
        self.eps = eps
        self.clamp = clamp

    def _pool(self, x: torch.Tensor) -> torch.Tensor:
        wide = widen(x)  # The power of a half-precision number overflows at 40 ** 3 already.
        if self.clamp:
            wide = wide.clamp(min=self.eps)
        return wide.pow(self.p).mean(dim=(-2, -1)).pow(1. / self.p).to(x.dtype)
