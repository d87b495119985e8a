"""Residual blocks: torchvision's, with the options of MMClassification, under torchvision's parameter names."""
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from mmengine.model import Sequential
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint
from torchvision.models import resnet as tv_resnet
from torchvision.ops import StochasticDepth

from ftcls.utils import ConfigError
from ..layers import build_conv, norm_builder

__all__ = ['BasicBlock', 'Bottleneck', 'ResLayer']


@contextmanager
def _statistics_at_rest(module: nn.Module) -> Iterator[None]:
    """Keep BatchNorm from counting a batch again when checkpointing recomputes a block; its output is the same."""
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.training and m.track_running_stats]
    before = [(m.momentum, m.num_batches_tracked.clone()) for m in norms]
    for norm in norms:
        norm.momentum = 0.
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before):
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(count)


class _ResidualMixin:
    """What both blocks do beyond torchvision's: drop path, gradient checkpointing, zero start of the residual branch.

    Both take (N, inplanes, H, W) float to (N, out_channels, H / stride, W / stride) float.
    """

    with_cp = False
    zero_init = False

    def set_options(self, conv_cfg: dict | None, drop_path_rate: float, with_cp: bool, zero_init: bool) -> None:
        """Apply the options that torchvision's constructors do not take.

        Args:
            conv_cfg: Class of the convolutions, see :func:`ftcls.models.layers.build_conv`.
            drop_path_rate: Probability of leaving out the residual branch of a sample in training.
            with_cp: Recompute the block in the backward pass instead of keeping its activations.
            zero_init: Let the last norm's weight start at 0, so that the block starts as its shortcut.
        """
        self.drop_path = StochasticDepth(drop_path_rate, mode='row') if drop_path_rate > 0 else nn.Identity()
        self.with_cp = with_cp
        self.zero_init = zero_init
        if conv_cfg is not None:
            for name in [n for n in ('conv1', 'conv2', 'conv3') if hasattr(self, n)]:
                old = getattr(self, name)
                new = build_conv(
                    conv_cfg,
                    old.in_channels,
                    old.out_channels,
                    old.kernel_size,
                    stride=old.stride,
                    padding=old.padding,
                    dilation=old.dilation,
                    groups=old.groups,
                    bias=False)
                setattr(self, name, new)

    def init_weights(self) -> None:
        """Start the residual branch at zero; MMEngine calls this after ``init_cfg`` and before ``Pretrained``."""
        if self.zero_init and getattr(self.last_norm, 'weight', None) is not None:
            nn.init.zeros_(self.last_norm.weight)

    def _residual(self, x: torch.Tensor) -> torch.Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        return self.drop_path(self.branch(x)) + identity

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return relu(branch(x) + shortcut(x))."""
        if self.with_cp and x.requires_grad and torch.is_grad_enabled():
            out = checkpoint(
                self._residual, x, use_reentrant=False, context_fn=lambda: (nullcontext(), _statistics_at_rest(self)))
        else:
            out = self._residual(x)
        return self.relu(out)


class BasicBlock(_ResidualMixin, tv_resnet.BasicBlock):
    """Two 3x3 convolutions and a shortcut.

    Args:
        inplanes: Channels of the input.
        planes: Channels of the output.
        stride: Stride of the first convolution.
        downsample: The shortcut where it is not the identity.
        norm_cfg: See :func:`ftcls.models.layers.build_norm`.
        dilation: Dilation of the first convolution.
        style: Has no effect here; there is one 3x3 pair only.
        expansion: Output channels over ``planes``; 1.
        width: Not used here; :class:`Bottleneck` has it.
        groups: Must be 1.
    """

    def __init__(self,
                 inplanes: int,
                 planes: int,
                 stride: int,
                 downsample: nn.Module | None,
                 norm_cfg: dict,
                 dilation: int = 1,
                 style: str = 'pytorch',
                 expansion: int = 1,
                 width: int | None = None,
                 groups: int = 1) -> None:
        if expansion != 1 or groups != 1:
            raise ConfigError(
                f'expansion={expansion}, groups={groups}: blocks of two 3x3 convolutions (depth 18 and 34) '
                'take expansion=1 and groups=1 only')
        super().__init__(inplanes, planes, stride, downsample, norm_layer=norm_builder(norm_cfg))
        # torchvision's constructor refuses a dilation here; the layer itself does not mind.
        self.conv1.dilation = self.conv1.padding = (dilation, dilation)
        self.out_channels = planes

    @property
    def last_norm(self) -> nn.Module:
        """The norm at the end of the residual branch."""
        return self.bn2

    def branch(self, x: torch.Tensor) -> torch.Tensor:
        """Return the residual branch's output."""
        return self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))


class Bottleneck(_ResidualMixin, tv_resnet.Bottleneck):
    """A 1x1, a 3x3 (grouped in ResNeXt) and a 1x1 convolution, and a shortcut.

    Args:
        inplanes: Channels of the input.
        planes: Channels of the output over ``expansion``.
        stride: Stride of the block.
        downsample: The shortcut where it is not the identity.
        norm_cfg: See :func:`ftcls.models.layers.build_norm`.
        dilation: Dilation of the 3x3 convolution.
        style: ``'pytorch'`` puts the stride on the 3x3 convolution, ``'caffe'`` on the first 1x1.
        expansion: Output channels over ``planes``.
        width: Channels of one group of the 3x3 convolution; None for ``planes``.
        groups: Groups of the 3x3 convolution.
    """

    def __init__(self,
                 inplanes: int,
                 planes: int,
                 stride: int,
                 downsample: nn.Module | None,
                 norm_cfg: dict,
                 dilation: int = 1,
                 style: str = 'pytorch',
                 expansion: int = 4,
                 width: int | None = None,
                 groups: int = 1) -> None:
        # torchvision has width = int(planes * base_width / 64); 0.01 keeps rounding from losing one channel.
        base_width = 64 if width is None else 64 * (width + 0.01) / planes
        norm_layer = norm_builder(norm_cfg)
        super().__init__(inplanes, planes, stride, downsample, groups, base_width, dilation, norm_layer)
        if expansion != tv_resnet.Bottleneck.expansion:
            self.expansion = expansion
            self.conv3 = nn.Conv2d(self.conv2.out_channels, planes * expansion, 1, bias=False)
            self.bn3 = norm_layer(planes * expansion)
        if style == 'caffe':
            self.conv1.stride, self.conv2.stride = self.conv2.stride, self.conv1.stride
        self.out_channels = planes * expansion

    @property
    def last_norm(self) -> nn.Module:
        """The norm at the end of the residual branch."""
        return self.bn3

    def branch(self, x: torch.Tensor) -> torch.Tensor:
        """Return the residual branch's output."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        return self.bn3(self.conv3(x))


class ResLayer(Sequential):
    """The blocks of one stage; through MMEngine's ``Sequential`` each block's ``init_weights`` is called."""
