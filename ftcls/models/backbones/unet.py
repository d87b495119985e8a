"""U-Net (Ronneberger et al., `U-Net <https://arxiv.org/abs/1505.04597>`_) with padding, so that the size is kept."""
import torch
from torch import nn

from ftcls.registry import MODELS
from ftcls.utils import ConfigError, DataError
from ..layers import DoubleConv
from ..weight_init import InitCfg
from .base_backbone import BaseBackbone, Stage

__all__ = ['UNet']


class _Down(nn.Module):
    """Halve the size, then two convolutions."""

    def __init__(self, in_channels: int, out_channels: int, options: dict) -> None:
        super().__init__()
        self.maxpool_conv = nn.Sequential(nn.MaxPool2d(2), DoubleConv(in_channels, out_channels, **options))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.maxpool_conv(x)


class _Up(nn.Module):
    """Double the size, put the map of the way down beside it, then two convolutions."""

    def __init__(self, in_channels: int, out_channels: int, bilinear: bool, options: dict) -> None:
        super().__init__()
        half = in_channels // 2
        if bilinear:
            # corners on corners, as in the public files' training
            self.up = nn.Upsample(scale_factor=2, mode='bilinear', align_corners=True)
        else:
            self.up = nn.ConvTranspose2d(in_channels, half, kernel_size=2, stride=2)
        self.conv = DoubleConv(in_channels, out_channels, half if bilinear else None, **options)

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        return self.conv(torch.cat([skip, self.up(x)], dim=1))


@MODELS.register_module()
class UNet(BaseBackbone):
    """U-Net up to the features before the last layer, which is the head's: ``PixelHead`` calls it ``outc`` too.

    The parameters have the names of public Carvana checkpoints (``inc.double_conv.0.weight``, ``down1.maxpool_conv.1. …``,
    ``up1.up.weight``, ``up1.conv. …``). Such a file loads whole into an ``ImageSegmentor`` of ``UNet`` and ``PixelHead``, by the
    model's ``init_cfg`` or by ``load_from``. The stages are ``inc`` (the stem), ``down1`` … (1 to ``num_stages``), ``up1`` … (the
    others).

    Args:
        in_channels: Channels of the images.
        base_channels: Channels of the first and the last maps; doubled in each stage down: 64, 128, 256, 512, 1024.
        num_stages: How often the size is halved.
        bilinear: Enlarge by bilinear interpolation, with half the channels at the bottom; else by transposed convolution.
        conv_bias: Convolutions have a bias, as in older public files.
        norm_cfg: Normalization layers; None for BatchNorm.
        frozen_stages: -1 nothing, 0 the stem, k the stem and the first k stages.
        norm_eval: Keep BatchNorm in eval mode.
        init_cfg: Where the weights come from; None for PyTorch's default.

    Raises:
        ConfigError: If ``num_stages`` or ``base_channels`` is not positive, or odd with ``bilinear``.

    Example:
        >>> import torch
        >>> from ftcls.models.backbones import UNet
        >>> UNet(base_channels=8)(torch.rand(1, 3, 64, 64))[0].shape
        torch.Size([1, 8, 64, 64])
    """

    def __init__(self,
                 in_channels: int = 3,
                 base_channels: int = 64,
                 num_stages: int = 4,
                 bilinear: bool = False,
                 conv_bias: bool = False,
                 norm_cfg: dict | None = None,
                 frozen_stages: int = -1,
                 norm_eval: bool = False,
                 init_cfg: InitCfg = None) -> None:
        super().__init__(init_cfg, norm_eval=norm_eval)
        if num_stages < 1 or base_channels < 1 or bilinear and base_channels % 2:
            raise ConfigError(f'num_stages={num_stages}, base_channels={base_channels}: both must be at least 1, and '
                              'base_channels even with bilinear=True')
        self.num_stages = num_stages
        options = dict(norm_cfg=norm_cfg, bias=conv_bias)
        channels = [base_channels * 2**i for i in range(num_stages + 1)]
        # interpolation keeps the number of channels, so the map from below must have half of them already
        factor = 2 if bilinear else 1
        self.inc = DoubleConv(in_channels, base_channels, **options)
        for i in range(num_stages):
            after = channels[i + 1] // (factor if i == num_stages - 1 else 1)
            self.add_module(f'down{i + 1}', _Down(channels[i], after, options))
        for i in range(num_stages):
            after = channels[-2 - i] // (factor if i < num_stages - 1 else 1)
            self.add_module(f'up{i + 1}', _Up(channels[-1 - i], after, bilinear, options))
        self.out_channels = (base_channels, )
        self.freeze_stages(frozen_stages)

    @property
    def size_divisor(self) -> int:
        """What the height and the width of the images must be a multiple of, in pixels."""
        return 2**self.num_stages

    def _named(self, direction: str) -> list[nn.Module]:
        return [getattr(self, f'{direction}{i + 1}') for i in range(self.num_stages)]

    def stages(self) -> list[Stage]:
        """Return ``inc`` (the stem), the stages down, and the stages up."""
        return [[module] for module in (self.inc, *self._named('down'), *self._named('up'))]

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return one feature map (N, base_channels, H, W) float of images (N, C, H, W) float.

        Raises:
            DataError: If height or width is no multiple of ``size_divisor``.
        """
        height, width = int(x.shape[-2]), int(x.shape[-1])
        if height % self.size_divisor or width % self.size_divisor:
            fit = [-(-side // self.size_divisor) * self.size_divisor for side in (height, width)]
            raise DataError(
                f'UNet with {self.num_stages} stages takes sides that are multiples of {self.size_divisor}, got '
                f'{height}x{width}: use {fit[0]}x{fit[1]} (ImageSegmentor pads, and cuts back, by itself)')
        maps = [self.inc(x)]
        for down in self._named('down'):
            maps.append(down(maps[-1]))
        x = maps.pop()
        for up in self._named('up'):
            x = up(x, maps.pop())
        return (x, )
