"""Residual blocks under torchvision's parameter names, with the options of MMClassification."""
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import ClassVar

import torch
from mmengine.model import Sequential
from torch import nn

from ..layers import build_conv, build_norm

__all__ = ['BasicBlock', 'BlockOptions', 'Bottleneck', 'NormNames', 'ResLayer']


@dataclass(frozen=True)
class BlockOptions:
    """The options that all blocks of a network share, see :class:`ResNet`."""
    norm_cfg: dict
    conv_cfg: dict | None
    style: str
    expansion: int
    drop_path_rate: float
    zero_init: bool
    se_ratio: int = 0


class NormNames:
    """The norms ``bn1``, ``bn2``, ``bn3`` under MMClassification's names too."""
    norm1 = property(attrgetter('bn1'))
    norm2 = property(attrgetter('bn2'))
    norm3 = property(attrgetter('bn3'))


class ResidualBlock(NormNames, nn.Module):
    """Base: relu(branch(x) + shortcut(x)), (N, C, H, W) float to (N, out_channels, H / stride, W / stride) float.

    Args:
        convs: Arguments of the convolutions ``conv1``, ``conv2`` …, each with a norm ``bn1``, ``bn2`` …
        downsample: The shortcut; None for the identity.
        options: See :class:`BlockOptions`.
    """

    def __init__(self, convs: Sequence[dict], downsample: nn.Module | None, options: BlockOptions) -> None:
        super().__init__()
        for i, conv in enumerate(convs, start=1):
            self.add_module(f'conv{i}', build_conv(options.conv_cfg, **conv, bias=False))
            self.add_module(f'bn{i}', build_norm(options.norm_cfg, conv['out_channels']))
        self.out_channels = convs[-1]['out_channels']
        self.last_norm_name = f'bn{len(convs)}'
        self.relu = nn.ReLU(inplace=True)
        self.se = nn.Identity()
        if options.se_ratio:
            from torchvision.models._utils import _make_divisible
            from torchvision.ops import SqueezeExcitation
            squeezed = _make_divisible(self.out_channels // options.se_ratio, 8)
            self.se = SqueezeExcitation(self.out_channels, squeezed)
        self.downsample = downsample
        self.drop_path = nn.Identity()
        if options.drop_path_rate > 0:
            from torchvision.ops import StochasticDepth
            self.drop_path = StochasticDepth(options.drop_path_rate, mode='row')
        self.zero_init = options.zero_init

    def init_weights(self) -> None:
        """Start the residual branch at zero; MMEngine calls this after ``init_cfg`` and before ``Pretrained``."""
        weight = getattr(getattr(self, self.last_norm_name), 'weight', None)
        if self.zero_init and weight is not None:
            nn.init.zeros_(weight)

    def branch(self, x: torch.Tensor) -> torch.Tensor:
        """Return the output of the residual branch; a block defines it."""
        raise NotImplementedError

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return relu(branch(x) + shortcut(x))."""
        identity = x if self.downsample is None else self.downsample(x)
        return self.relu(self.drop_path(self.se(self.branch(x))) + identity)


class BasicBlock(ResidualBlock):
    """Two 3x3 convolutions and a shortcut; the arguments are those of :class:`Bottleneck`."""

    expansion: ClassVar[int] = 1

    def __init__(self, in_channels: int, planes: int, stride: int, dilation: int, downsample: nn.Module | None,
                 options: BlockOptions) -> None:
        first = dict(in_channels=in_channels, stride=stride, padding=dilation, dilation=dilation)
        second = dict(in_channels=planes, padding=1)
        convs = [dict(conv, out_channels=planes, kernel_size=3) for conv in (first, second)]
        super().__init__(convs, downsample, options)

    def branch(self, x: torch.Tensor) -> torch.Tensor:
        """See :meth:`ResidualBlock.branch`."""
        return self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))


class Bottleneck(ResidualBlock):
    """A 1x1, a 3x3 (grouped in ResNeXt) and a 1x1 convolution, and a shortcut.

    Args:
        planes: Channels of the output over ``options.expansion``.
        dilation, groups: Of the 3x3 convolution.
        downsample, options: See :class:`ResidualBlock`.
        width: Channels of one group of the 3x3 convolution; None for ``planes``.
    """

    expansion: ClassVar[int] = 4

    def __init__(self,
                 in_channels: int,
                 planes: int,
                 stride: int,
                 dilation: int,
                 downsample: nn.Module | None,
                 options: BlockOptions,
                 width: int | None = None,
                 groups: int = 1) -> None:
        inner, outer = (width or planes) * groups, planes * options.expansion
        stride_1x1, stride_3x3 = (stride, 1) if options.style == 'caffe' else (1, stride)
        first = dict(in_channels=in_channels, out_channels=inner, kernel_size=1, stride=stride_1x1)
        middle = dict(in_channels=inner, out_channels=inner, kernel_size=3, stride=stride_3x3, groups=groups)
        last = dict(in_channels=inner, out_channels=outer, kernel_size=1)
        super().__init__([first, dict(middle, padding=dilation, dilation=dilation), last], downsample, options)

    def branch(self, x: torch.Tensor) -> torch.Tensor:
        """See :meth:`ResidualBlock.branch`."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        return self.bn3(self.conv3(x))


class ResLayer(Sequential):
    """The blocks of one stage; through MMEngine's ``Sequential`` each block's ``init_weights`` is called."""
