"""Global average pooling."""
import torch
from torch import nn

from ftcls.registry import MODELS
from ftcls.utils import ConfigError

__all__ = ['GlobalAveragePooling']

Features = torch.Tensor | tuple[torch.Tensor, ...]


@MODELS.register_module()
class GlobalAveragePooling(nn.Module):
    """Mean over all positions of each channel.

    Args:
        dim: Number of dimensions of a channel: 1 (N, C, L), 2 (N, C, H, W) or 3 (N, C, D, H, W).

    Raises:
        ConfigError: If ``dim`` is not 1, 2 or 3.

    Example:
        >>> import torch
        >>> from ftcls.models.necks import GlobalAveragePooling
        >>> GlobalAveragePooling()((torch.rand(2, 512, 7, 7), ))[0].shape
        torch.Size([2, 512])
    """

    def __init__(self, dim: int = 2) -> None:
        super().__init__()
        pools = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}
        if dim not in pools:
            raise ConfigError(f'dim={dim!r}: GlobalAveragePooling takes 1, 2 or 3')
        self.gap = pools[dim](1)

    def forward(self, inputs: Features) -> Features:
        """Pool a feature map, or each of a tuple, to (N, C) float; vectors (N, C) are returned as they are."""
        if isinstance(inputs, tuple):
            return tuple(self._pool(x) for x in inputs)
        return self._pool(inputs)

    def _pool(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.ndim == 2 else self.gap(x).flatten(1)
