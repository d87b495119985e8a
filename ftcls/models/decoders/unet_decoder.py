"""The expanding half of a U-Net for the feature maps of any backbone."""
from collections.abc import Sequence
from itertools import zip_longest

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import nn

from ftcls.registry import MODELS
from ftcls.utils import ConfigError
from ftcls.utils.types import PositiveInt
from ..layers import DoubleConv
from ..weight_init import InitCfg

__all__ = ['UNetDecoder']


@MODELS.register_module()
class UNetDecoder(BaseModule):
    """In each step: enlarge, join with the encoder's map of that size, two convolutions (Ronneberger et al., 2015).

    It takes the maps of any backbone that returns several: ``ResNet(out_indices=(0, 1, 2, 3))``,
    ``TorchvisionBackbone`` with ``out_indices``, ``TIMMBackbone(features_only=True)``. Steps beyond the encoder's maps
    double the size without one: a ResNet, whose finest map is a quarter of the image, needs two of these.

    Args:
        in_channels: Channels of the encoder's maps, from the finest; None for those of the model's backbone.
        channels: Channels after each step: one per map except the coarsest, and one for each doubling after these.
        norm_cfg: Normalization layers; None for BatchNorm.
        init_cfg: Where the weights come from; None for PyTorch's default.

    Example:
        >>> from ftcls.models.backbones import ResNet
        >>> encoder = ResNet(18, out_indices=(0, 1, 2, 3))
        >>> UNetDecoder(encoder.out_channels)(encoder(torch.rand(1, 3, 64, 64)))[0].shape
        torch.Size([1, 16, 64, 64])
    """

    def __init__(self,
                 in_channels: Sequence[PositiveInt] | None = None,
                 channels: Sequence[PositiveInt] = (256, 128, 64, 32, 16),
                 norm_cfg: dict | None = None,
                 init_cfg: InitCfg = None) -> None:
        super().__init__(init_cfg)
        if in_channels is None or len(in_channels) < 2:
            raise ConfigError(f'UNetDecoder: in_channels={in_channels}: at least two maps are needed; set '
                              'out_indices of the backbone, for example (0, 1, 2, 3) of a ResNet')
        self.in_channels = tuple(in_channels)
        skips = self.in_channels[-2::-1]
        if len(channels) < len(skips):
            raise ConfigError(f'UNetDecoder: channels={tuple(channels)}: {len(skips)} steps join the '
                              f'{len(in_channels)} maps of the backbone, and each needs one number')
        self.steps = nn.ModuleList()
        before = self.in_channels[-1]
        for skip, after in zip_longest(skips, channels, fillvalue=0):
            self.steps.append(DoubleConv(before + skip, after, norm_cfg=norm_cfg))
            before = after
        self.out_channels = (before, )

    def forward(self, feats: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """Return one map (N, C, H', W') float of the encoder's (N, C_i, H_i, W_i) float, the finest first.

        Raises:
            ConfigError: If their number is not that of ``in_channels``, or they are not maps.
        """
        shapes = [tuple(feat.shape) for feat in feats]
        if len(feats) != len(self.in_channels) or any(len(shape) != 4 for shape in shapes):
            raise ConfigError(f'UNetDecoder takes {len(self.in_channels)} maps (N, C, H, W), got {shapes}: choose '
                              'stages that return maps by out_indices of the backbone')
        x = feats[-1]
        for step, skip in zip_longest(self.steps, feats[-2::-1]):
            joined, size = [], (2 * x.shape[-2], 2 * x.shape[-1])
            if skip is not None:
                joined, size = [skip], tuple(skip.shape[-2:])
            x = F.interpolate(x, size=size, mode='bilinear', align_corners=False)
            x = step(torch.cat([*joined, x], dim=1))
        return (x, )
