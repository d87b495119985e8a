"""ResNet (He et al., `Deep Residual Learning <https://arxiv.org/abs/1512.03385>`_) and its V1c and V1d variants."""
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import nn

from ftcls.registry import MODELS
from ftcls.utils import ConfigError
from ..layers import ConvNormAct, build_conv, build_norm
from ..weight_init import InitCfg
from .base_backbone import BaseBackbone, Stage, check_out_indices
from .resnet_blocks import BasicBlock, Bottleneck, ResLayer

__all__ = ['ResNet', 'ResNetV1c', 'ResNetV1d']

_DEFAULT_INIT = (dict(type='Kaiming',
                      layer=['Conv2d']), dict(type='Constant', val=1, layer=['_BatchNorm', 'GroupNorm']))


@MODELS.register_module()
class ResNet(BaseBackbone):
    """ResNet, with torchvision's parameter names (``conv1``, ``bn1``, ``layer1.0.conv1`` …).

    Args:
        depth: 18, 34, 50, 101 or 152.
        in_channels: Channels of the images.
        stem_channels: Channels of the stem's output.
        base_channels: Channels of the first stage's 3x3 convolutions; doubled in each stage.
        expansion: Output channels over 3x3 channels; None for 1 (depth 18, 34) or 4.
        num_stages: How many stages are built, 1 to 4.
        strides: Stride of each stage's first block.
        dilations: Dilation of each stage.
        out_indices: Stages whose output is returned, 0 the first.
        style: ``'pytorch'``: stride on the 3x3 convolution; ``'caffe'``: on the first 1x1.
        deep_stem: Three 3x3 convolutions in place of the 7x7.
        avg_down: Average pooling before a 1x1 convolution of stride 1 in the shortcuts that reduce the size.
        frozen_stages: -1 nothing, 0 the stem, k the stem and the first k stages.
        conv_cfg: Class of the convolutions; None for ``nn.Conv2d``.
        norm_cfg: Normalization layers; None for ``dict(type='BN', requires_grad=True)``.
        norm_eval: Keep BatchNorm in eval mode.
        with_cp: Recompute activations in the backward pass to save memory.
        zero_init_residual: Let each block's last norm start at 0.
        init_cfg: Where the weights come from; None for Kaiming convolutions and norms of weight 1.
        drop_path_rate: Probability of leaving out a block's residual branch in training.

    Raises:
        ConfigError: If an argument is out of its range.

    Example:
        >>> import torch
        >>> from ftcls.models.backbones import ResNet
        >>> [tuple(y.shape) for y in ResNet(18, out_indices=(0, 1, 2, 3))(torch.rand(1, 3, 64, 64))]
        [(1, 64, 16, 16), (1, 128, 8, 8), (1, 256, 4, 4), (1, 512, 2, 2)]
    """

    arch_settings: ClassVar[dict] = {
        18: (BasicBlock, (2, 2, 2, 2)),
        34: (BasicBlock, (3, 4, 6, 3)),
        50: (Bottleneck, (3, 4, 6, 3)),
        101: (Bottleneck, (3, 4, 23, 3)),
        152: (Bottleneck, (3, 8, 36, 3)),
    }

    def __init__(self,
                 depth: int,
                 in_channels: int = 3,
                 stem_channels: int = 64,
                 base_channels: int = 64,
                 expansion: int | None = None,
                 num_stages: int = 4,
                 strides: Sequence[int] = (1, 2, 2, 2),
                 dilations: Sequence[int] = (1, 1, 1, 1),
                 out_indices: Sequence[int] = (3, ),
                 style: str = 'pytorch',
                 deep_stem: bool = False,
                 avg_down: bool = False,
                 frozen_stages: int = -1,
                 conv_cfg: dict | None = None,
                 norm_cfg: dict | None = None,
                 norm_eval: bool = False,
                 with_cp: bool = False,
                 zero_init_residual: bool = True,
                 init_cfg: InitCfg = None,
                 drop_path_rate: float = 0.0) -> None:
        super().__init__(init_cfg, _DEFAULT_INIT, norm_eval)
        self._check(depth, num_stages, strides, dilations, style)
        self.depth = depth
        self.block, stage_blocks = self.arch_settings[depth]
        self.stage_blocks = stage_blocks[:num_stages]
        self.base_channels = base_channels
        self.expansion = self.block.expansion if expansion is None else expansion
        self.num_stages = num_stages
        self.strides = tuple(strides[:num_stages])
        self.dilations = tuple(dilations[:num_stages])
        self.out_indices = check_out_indices(out_indices, num_stages, f'this {type(self).__name__}')
        self.style = style
        self.deep_stem = deep_stem
        self.avg_down = avg_down
        self.conv_cfg = conv_cfg
        self.norm_cfg = dict(type='BN', requires_grad=True) if norm_cfg is None else norm_cfg
        self._block_options = dict(
            conv_cfg=conv_cfg, drop_path_rate=drop_path_rate, with_cp=with_cp, zero_init=zero_init_residual)

        self._stem_names = self._make_stem(in_channels, stem_channels)
        self.res_layers = [f'layer{i + 1}' for i in range(num_stages)]
        channels = [stem_channels] + [base_channels * 2**i * self.expansion for i in range(num_stages)]
        for i, name in enumerate(self.res_layers):
            self.add_module(name, self._make_layer(i, channels[i]))
        self.out_channels = tuple(channels[i + 1] for i in self.out_indices)
        self.feat_dim = channels[-1]
        self.freeze_stages(frozen_stages)

    def _check(self, depth: int, num_stages: int, strides: Sequence[int], dilations: Sequence[int], style: str) -> None:
        """Raise a ConfigError for the first argument that is out of its range."""
        name = type(self).__name__
        if depth not in self.arch_settings:
            raise ConfigError(f'depth={depth!r}: {name} is defined for depth {", ".join(map(str, self.arch_settings))}')
        most = len(self.arch_settings[depth][1])
        if not 1 <= num_stages <= most:
            raise ConfigError(f'num_stages={num_stages}: {name} has 1 to {most} stages')
        for key, values in dict(strides=strides, dilations=dilations).items():
            if len(values) < num_stages:
                raise ConfigError(f'{key}={tuple(values)}: one value for each of the {num_stages} stages is needed')
        if style not in ('pytorch', 'caffe'):
            raise ConfigError(f"style={style!r}: must be 'pytorch' or 'caffe'")

    def _make_stem(self, in_channels: int, stem_channels: int) -> tuple[str, ...]:
        """Build the stem's modules and return their names, in order."""
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        if self.deep_stem:
            half = stem_channels // 2
            widths = ((in_channels, half, 2), (half, half, 1), (half, stem_channels, 1))
            self.stem = nn.Sequential(*(ConvNormAct(*width, self.conv_cfg, self.norm_cfg) for width in widths))
            return 'stem', 'maxpool'
        self.conv1 = build_conv(self.conv_cfg, in_channels, stem_channels, 7, stride=2, padding=3, bias=False)
        self.bn1 = build_norm(self.norm_cfg, stem_channels)
        self.relu = nn.ReLU(inplace=True)
        return 'conv1', 'bn1', 'relu', 'maxpool'

    def _block_width(self, stage: int) -> dict:
        """Return the block's arguments ``width`` and ``groups``: none in a ResNet."""
        return {}

    def _make_shortcut(self, in_channels: int, out_channels: int, stride: int) -> nn.Module | None:
        """Return the shortcut of a stage's first block; None for the identity."""
        if stride == 1 and in_channels == out_channels:
            return None
        layers = []
        if self.avg_down and stride != 1:
            layers.append(nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False))
            stride = 1
        layers.append(build_conv(self.conv_cfg, in_channels, out_channels, 1, stride=stride, bias=False))
        layers.append(build_norm(self.norm_cfg, out_channels))
        return nn.Sequential(*layers)

    def _make_layer(self, stage: int, in_channels: int) -> ResLayer:
        """Build the blocks of one stage, 0 the first."""
        planes = self.base_channels * 2**stage
        blocks = []
        for i in range(self.stage_blocks[stage]):
            stride = self.strides[stage] if i == 0 else 1
            shortcut = self._make_shortcut(in_channels, planes * self.expansion, stride) if i == 0 else None
            block = self.block(
                in_channels,
                planes,
                stride,
                shortcut,
                self.norm_cfg,
                dilation=self.dilations[stage],
                style=self.style,
                expansion=self.expansion,
                **self._block_width(stage))
            block.set_options(**self._block_options)
            blocks.append(block)
            in_channels = block.out_channels
        return ResLayer(*blocks)

    def stages(self) -> list[Stage]:
        """Return the stem (``conv1``, ``bn1`` or ``stem``, the pooling) and the residual layers."""
        return [[getattr(self, n) for n in self._stem_names]] + [[getattr(self, n)] for n in self.res_layers]

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the feature maps (N, C, H / 4, W / 4) … (N, C, H / 32, W / 32) float of ``out_indices``."""
        for name in self._stem_names:
            x = getattr(self, name)(x)
        outs = []
        for i, name in enumerate(self.res_layers):
            x = getattr(self, name)(x)
            if i in self.out_indices:
                outs.append(x)
        return tuple(outs)


@MODELS.register_module()
class ResNetV1c(ResNet):
    """ResNet with a deep stem: three 3x3 convolutions in place of the 7x7.

    See `Bag of Tricks <https://arxiv.org/abs/1812.01187>`_. It takes :class:`ResNet`'s arguments, ``deep_stem`` and
    ``avg_down`` excepted.
    """

    def __init__(self, depth: int, **kwargs: object) -> None:
        super().__init__(depth, deep_stem=True, avg_down=False, **kwargs)


@MODELS.register_module()
class ResNetV1d(ResNet):
    """ResNet with a deep stem, and average pooling in the shortcuts that reduce the size.

    See `Bag of Tricks <https://arxiv.org/abs/1812.01187>`_. It takes :class:`ResNet`'s arguments, ``deep_stem`` and
    ``avg_down`` excepted.
    """

    def __init__(self, depth: int, **kwargs: object) -> None:
        super().__init__(depth, deep_stem=True, avg_down=True, **kwargs)
