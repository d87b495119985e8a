"""Residual networks for small images: ImageNet's ResNet with a small stem, and the CIFAR ResNet of the paper."""
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from annotated_types import Interval
from torch import nn

from ftcls.registry import MODELS
from ftcls.utils.types import PositiveInt
from ..layers import build_conv, build_norm
from .resnet import Depth, ResNet
from .resnet_blocks import BasicBlock

__all__ = ['CifarResNet', 'ResNet_CIFAR']


@MODELS.register_module()
class ResNet_CIFAR(ResNet):
    """:class:`ResNet` for images of about 32x32: one 3x3 convolution of stride 1 in the stem, and no pooling."""

    stem_stride: ClassVar[int] = 1

    def __init__(self, depth: Depth, deep_stem: Literal[False] = False, **kwargs: object) -> None:
        super().__init__(depth, deep_stem=False, **kwargs)

    def _make_stem_layer(self, in_channels: int, stem_channels: int) -> None:
        self.conv1 = build_conv(self.conv_cfg, in_channels, stem_channels, 3, self.stem_stride, 1, bias=False)
        self.bn1 = build_norm(self.norm_cfg, stem_channels)
        self.relu = nn.ReLU(inplace=True)


class SubsampleAndPad(nn.Module):
    """The shortcut without parameters ("option A"): every ``stride``-th pixel, and zeros as channels on both sides."""

    def __init__(self, stride: int, extra_channels: int) -> None:
        super().__init__()
        self.stride = stride
        self.extra_channels = extra_channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Take (N, C, H, W) float to (N, C + extra_channels, H / stride, W / stride) float."""
        before = self.extra_channels // 2
        return F.pad(x[:, :, ::self.stride, ::self.stride], (0, 0, 0, 0, before, self.extra_channels - before))


@MODELS.register_module()
class CifarResNet(ResNet_CIFAR):
    """The ResNet for CIFAR of He et al., `section 4.2 <https://arxiv.org/abs/1512.03385>`_.

    Three stages of 16, 32 and 64 channels, shortcuts without parameters. depth = 6 n + 2: n blocks of two convolutions
    in each stage, the stem and the classifier. ResNet-20 has 0.27 million parameters.

    The arguments are those of :class:`ResNet`.

    Example:
        >>> CifarResNet(20)(torch.rand(1, 3, 32, 32))[0].shape
        torch.Size([1, 64, 8, 8])
    """

    arch_settings: ClassVar[dict] = {6 * n + 2: (BasicBlock, (n, n, n)) for n in (3, 5, 7, 9, 18)}

    def __init__(self,
                 depth: Literal[20, 32, 44, 56, 110],
                 stem_channels: PositiveInt = 16,
                 base_channels: PositiveInt = 16,
                 num_stages: Annotated[int, Interval(ge=1, le=3)] = 3,
                 strides: Sequence[PositiveInt] = (1, 2, 2),
                 dilations: Sequence[PositiveInt] = (1, 1, 1),
                 out_indices: int | Sequence[int] = (2, ),
                 zero_init_residual: bool = False,
                 **kwargs: object) -> None:
        kwargs |= dict(stem_channels=stem_channels, base_channels=base_channels, zero_init_residual=zero_init_residual)
        kwargs |= dict(num_stages=num_stages, strides=strides, dilations=dilations, out_indices=out_indices)
        super().__init__(depth, **kwargs)

    def _make_shortcut(self, in_channels: int, out_channels: int, stride: int) -> nn.Module | None:
        if stride == 1 and in_channels == out_channels:
            return None
        return SubsampleAndPad(stride, out_channels - in_channels)
