"""U-Net (Ronneberger et al., `U-Net <https://arxiv.org/abs/1505.04597>`_) with padding, so that the size is kept."""
from collections import OrderedDict
from itertools import pairwise

import torch
from torch import nn

from ftcls.registry import MODELS
from ftcls.utils import ConfigError, DataError
from ftcls.utils.types import PositiveInt
from ..layers import DoubleConv
from ..weight_init import InitCfg
from .base_backbone import BaseBackbone, Stage

__all__ = ['UNet']


class _Up(nn.Module):
    """Double the size, join with the map of the same size from the way down, then two convolutions."""

    def __init__(self, in_channels: int, out_channels: int, bilinear: bool, options: dict) -> None:
        super().__init__()
        half = in_channels // 2
        if bilinear:
            self.up = nn.Upsample(scale_factor=2, mode='bilinear', align_corners=True)  # as public files
        else:
            self.up = nn.ConvTranspose2d(in_channels, half, kernel_size=2, stride=2)
        self.conv = DoubleConv(in_channels, out_channels, half if bilinear else None, **options)

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        return self.conv(torch.cat([skip, self.up(x)], dim=1))


@MODELS.register_module()
class UNet(BaseBackbone):
    """U-Net up to the features before the last layer, which is the head's: ``PixelHead`` calls it ``outc`` too.

    The parameters have the names of public Carvana checkpoints (``inc.double_conv.0.weight``,
    ``down1.maxpool_conv.1. …``, ``up1.up.weight``, ``up1.conv. …``). Such a file loads completely into an
    ``ImageSegmentor`` of ``UNet`` and ``PixelHead``, by the model's ``init_cfg`` or by ``load_from``. The stages are
    ``inc`` (the stem), ``down1`` … (1 to ``num_stages``), ``up1`` … (the others).

    Args:
        base_channels: Channels of the first and the last maps; doubled in each stage down: 64, 128, 256, 512, 1024.
        num_stages: Number of times that the size is halved.
        bilinear: Enlarge by interpolation, with half the channels at the bottom; else by transposed convolution.
        conv_bias: Convolutions have a bias, as in older public files.
        in_channels, norm_cfg, frozen_stages, norm_eval, init_cfg: See :class:`ResNet`.

    Example:
        >>> UNet(base_channels=8)(torch.rand(1, 3, 64, 64))[0].shape
        torch.Size([1, 8, 64, 64])
    """

    def __init__(self,
                 in_channels: PositiveInt = 3,
                 base_channels: PositiveInt = 64,
                 num_stages: PositiveInt = 4,
                 bilinear: bool = False,
                 conv_bias: bool = False,
                 norm_cfg: dict | None = None,
                 frozen_stages: int = -1,
                 norm_eval: bool = False,
                 init_cfg: InitCfg = None) -> None:
        super().__init__(init_cfg, norm_eval=norm_eval)
        if bilinear and base_channels % 2:
            raise ConfigError(f'base_channels={base_channels}: must be even with bilinear=True')
        self.num_stages = num_stages
        self.size_divisor = 2**num_stages  #: What the sides of the images must be multiples of.
        options = dict(norm_cfg=norm_cfg, bias=conv_bias)
        channels = [base_channels * 2**i for i in range(num_stages + 1)]
        from_below = [count // 2 for count in channels] if bilinear else channels  # interpolation keeps their number
        self.inc = DoubleConv(in_channels, base_channels, **options)
        for i, (before, after) in enumerate(pairwise([*channels[:-1], from_below[-1]]), start=1):
            layers = nn.Sequential(nn.MaxPool2d(2), DoubleConv(before, after, **options))
            self.add_module(f'down{i}', nn.Sequential(OrderedDict(maxpool_conv=layers)))
        afters = [base_channels, *from_below[1:-1]]
        for i in range(1, num_stages + 1):
            self.add_module(f'up{i}', _Up(channels[-i], afters[-i], bilinear, options))
        self.out_channels = (base_channels, )
        self.freeze_stages(frozen_stages)

    def stages(self) -> list[Stage]:
        """Return ``inc`` (the stem), the stages down, and the stages up."""
        return [[module] for module in self.children()]

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return one feature map (N, base_channels, H, W) float of images (N, C, H, W) float.

        Raises:
            DataError: If height or width is no multiple of ``size_divisor``.
        """
        sides = [int(side) for side in x.shape[-2:]]
        fit = [side + -side % self.size_divisor for side in sides]
        if fit != sides:
            raise DataError(f'UNet takes sides that are multiples of {self.size_divisor}, got {sides[0]}x{sides[1]}: '
                            f'use {fit[0]}x{fit[1]} (ImageSegmentor pads, and cuts back, by itself)')
        x, maps = self.inc(x), []
        for i in range(1, self.num_stages + 1):
            maps.append(x)
            x = self.get_submodule(f'down{i}')(x)
        for i in range(1, self.num_stages + 1):
            x = self.get_submodule(f'up{i}')(x, maps.pop())
        return (x, )
