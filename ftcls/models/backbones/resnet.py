"""ResNet (He et al., `Deep Residual Learning <https://arxiv.org/abs/1512.03385>`_), V1c, V1d and ResNeXt."""
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Interval
from torch import nn

from ftcls.registry import MODELS
from ftcls.utils import ConfigError
from ftcls.utils.checkpoint.aligning import TensorOrder
from ftcls.utils.types import PositiveInt, Probability
from ..layers import ConvNormAct, build_conv, build_norm
from ..weight_init import CONV_INIT, InitCfg
from .base_backbone import BaseBackbone, Stage, check_out_indices
from .resnet_blocks import BasicBlock, BlockOptions, Bottleneck, NormNames, ResLayer

__all__ = ['ResNeXt', 'ResNet', 'ResNetV1c', 'ResNetV1d']

Depth = Literal[18, 34, 50, 101, 152]


@MODELS.register_module()
class ResNet(NormNames, BaseBackbone):
    """ResNet, with torchvision's parameter names (``conv1``, ``bn1``, ``layer1.0.conv1`` …).

    Args:
        in_channels, stem_channels: Channels of the images and of the stem's output.
        base_channels: Channels of the first stage's 3x3 convolutions; doubled in each stage.
        expansion: Output channels over 3x3 channels; None for 1 (depth 18, 34) or 4.
        num_stages: How many stages are built.
        strides, dilations: Stride of each stage's first block, dilation of each stage.
        out_indices: Stages whose output is returned, 0 the first.
        style: ``'pytorch'``: stride on the 3x3 convolution; ``'caffe'``: on the first 1x1.
        deep_stem: Three 3x3 convolutions in place of the 7x7.
        avg_down: Average pooling before a 1x1 convolution of stride 1 in the shortcuts that reduce the size.
        frozen_stages, norm_eval: See :class:`BaseBackbone`.
        conv_cfg, norm_cfg: The layers; None for ``nn.Conv2d`` and ``dict(type='BN', requires_grad=True)``.
        with_cp: Recompute activations in the backward pass to save memory.
        zero_init_residual: Let each block's last norm start at 0.
        init_cfg: Where the weights come from; None for Kaiming convolutions and norms of weight 1.
        drop_path_rate: Probability of leaving out a block's residual branch in training.

    Example:
        >>> [tuple(y.shape) for y in ResNet(18, out_indices=(0, 1, 2, 3))(torch.rand(1, 3, 64, 64))]
        [(1, 64, 16, 16), (1, 128, 8, 8), (1, 256, 4, 4), (1, 512, 2, 2)]
    """

    arch_settings: ClassVar[dict] = {18: (BasicBlock, (2, 2, 2, 2)), 34: (BasicBlock, (3, 4, 6, 3))}
    arch_settings |= {50: (Bottleneck, (3, 4, 6, 3)), 101: (Bottleneck, (3, 4, 23, 3))}
    arch_settings |= {152: (Bottleneck, (3, 8, 36, 3))}
    default_init: ClassVar[tuple[dict, ...]] = CONV_INIT
    tensor_order = TensorOrder(last=('downsample', 'proj'))
    se_ratio: int = 0  # no squeeze and excitation

    def __init__(self,
                 depth: Depth,
                 in_channels: PositiveInt = 3,
                 stem_channels: PositiveInt = 64,
                 base_channels: PositiveInt = 64,
                 expansion: PositiveInt | None = None,
                 num_stages: Annotated[int, Interval(ge=1, le=4)] = 4,
                 strides: Sequence[PositiveInt] = (1, 2, 2, 2),
                 dilations: Sequence[PositiveInt] = (1, 1, 1, 1),
                 out_indices: int | Sequence[int] = (3, ),
                 style: Literal['pytorch', 'caffe'] = 'pytorch',
                 deep_stem: bool = False,
                 avg_down: bool = False,
                 frozen_stages: int = -1,
                 conv_cfg: dict | None = None,
                 norm_cfg: dict | None = None,
                 norm_eval: bool = False,
                 with_cp: bool = False,
                 zero_init_residual: bool = True,
                 init_cfg: InitCfg = None,
                 drop_path_rate: Probability = 0.0) -> None:
        super().__init__(init_cfg, self.default_init, norm_eval)
        for key, values in dict(strides=strides, dilations=dilations).items():
            if len(values) < num_stages:
                raise ConfigError(f'{key}={tuple(values)}: one value for each of the {num_stages} stages is needed')
        self.block, stage_blocks = self.arch_settings[depth]
        self.stage_blocks = stage_blocks[:num_stages]
        self.base_channels = base_channels
        self.expansion = expansion or self.block.expansion
        if self.block is BasicBlock and self.expansion != 1:
            raise ConfigError(f'expansion={expansion}: depth {depth} takes expansion=1 only')
        self.strides = tuple(strides[:num_stages])
        self.dilations = tuple(dilations[:num_stages])
        self.out_indices = check_out_indices(out_indices, num_stages, f'this {type(self).__name__}')
        self.deep_stem = deep_stem
        self.avg_down = avg_down
        self.conv_cfg = conv_cfg
        self.norm_cfg = norm_cfg or dict(type='BN', requires_grad=True)
        self._block_options = BlockOptions(self.norm_cfg, conv_cfg, style, self.expansion, drop_path_rate,
                                           zero_init_residual, self.se_ratio)

        self._make_stem_layer(in_channels, stem_channels)
        self._stem_names = tuple(self._modules)
        self.res_layers = [f'layer{i + 1}' for i in range(num_stages)]
        channels = [stem_channels] + [self._planes(i) * self.expansion for i in range(num_stages)]
        for i, name in enumerate(self.res_layers):
            self.add_module(name, self._make_layer(i, channels[i]))
        self.out_channels = tuple(channels[i + 1] for i in self.out_indices)
        self.feat_dim = channels[-1]
        if with_cp:
            self.checkpoint_gradients()
        self.freeze_stages(frozen_stages)

    def _make_stem_layer(self, in_channels: int, stem_channels: int) -> None:
        """Build the stem's modules, in the order in which they run."""
        if self.deep_stem:
            half = stem_channels // 2
            widths = ((in_channels, half, 2), (half, half, 1), (half, stem_channels, 1))
            self.stem = nn.Sequential(*(ConvNormAct(*width, self.conv_cfg, self.norm_cfg) for width in widths))
        else:
            self.conv1 = build_conv(self.conv_cfg, in_channels, stem_channels, 7, stride=2, padding=3, bias=False)
            self.bn1 = build_norm(self.norm_cfg, stem_channels)
            self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)

    def _planes(self, stage: int) -> int:
        """Return the channels of a stage's blocks, 0 the first; ``expansion`` times as many come out."""
        return self.base_channels * 2**stage

    def _block_width(self, stage: int) -> dict:
        """Return the arguments ``width`` and ``groups`` of a stage's blocks: none in a ResNet."""
        return {}

    def _make_shortcut(self, in_channels: int, out_channels: int, stride: int) -> nn.Module | None:
        """Return the shortcut of a stage's first block; None for the identity."""
        if stride == 1 and in_channels == out_channels:
            return None
        layers = []
        if self.avg_down and stride != 1:
            layers.append(nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False))
            stride = 1
        conv = build_conv(self.conv_cfg, in_channels, out_channels, 1, stride=stride, bias=False)
        return nn.Sequential(*layers, conv, build_norm(self.norm_cfg, out_channels))

    def _make_layer(self, stage: int, in_channels: int) -> ResLayer:
        """Build the blocks of one stage, 0 the first."""
        planes = self._planes(stage)
        stride = self.strides[stage]
        shortcut = self._make_shortcut(in_channels, planes * self.expansion, stride)
        options = dict(dilation=self.dilations[stage], options=self._block_options, **self._block_width(stage))
        blocks = [self.block(in_channels, planes, stride, downsample=shortcut, **options)]
        for _ in range(1, self.stage_blocks[stage]):
            blocks.append(self.block(blocks[0].out_channels, planes, 1, downsample=None, **options))
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
    """ResNet with a deep stem (`Bag of Tricks <https://arxiv.org/abs/1812.01187>`_): ``ResNet(deep_stem=True)``."""

    def __init__(self, depth: Depth, **kwargs: object) -> None:
        super().__init__(depth, deep_stem=True, avg_down=False, **kwargs)


@MODELS.register_module()
class ResNetV1d(ResNet):
    """:class:`ResNetV1c` with average pooling in the shortcuts: ``ResNet(deep_stem=True, avg_down=True)``."""

    def __init__(self, depth: Depth, **kwargs: object) -> None:
        super().__init__(depth, deep_stem=True, avg_down=True, **kwargs)


@MODELS.register_module()
class ResNeXt(ResNet):
    """ResNet whose 3x3 convolutions are grouped (Xie et al., `ResNeXt <https://arxiv.org/abs/1611.05431>`_).

    Args:
        groups, width_per_group: Groups of the 3x3 convolutions, and channels of one in the first stage; doubled in
            each stage.
        depth: See :class:`ResNet`.
        **kwargs: The other arguments of :class:`ResNet`.
    """

    def __init__(self,
                 depth: Literal[50, 101, 152],
                 groups: PositiveInt = 32,
                 width_per_group: PositiveInt = 4,
                 **kwargs: object) -> None:
        self.groups = groups
        self.width_per_group = width_per_group
        super().__init__(depth, **kwargs)

    def _block_width(self, stage: int) -> dict:
        """Return the arguments ``width`` and ``groups`` of a stage's blocks; one group is the plain ResNet."""
        if self.groups == 1:
            return {}
        return dict(width=self.width_per_group * 2**stage, groups=self.groups)
