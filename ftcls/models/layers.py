"""Layers built from the small config dicts of the MMClassification style: ``norm_cfg``, ``conv_cfg``, ``act_cfg``."""
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ftcls.registry import MODELS
from ftcls.utils import ConfigError, did_you_mean

__all__ = ['ConvNormAct', 'DoubleConv', 'build_act', 'build_conv', 'build_norm', 'norm_builder', 'norm_class']

_NORMS: dict[str, type[nn.Module]] = {
    'BN': nn.BatchNorm2d,
    'BN1d': nn.BatchNorm1d,
    'BN2d': nn.BatchNorm2d,
    'BN3d': nn.BatchNorm3d,
    'SyncBN': nn.SyncBatchNorm,
    'GN': nn.GroupNorm,
    'LN': nn.LayerNorm,
    'IN': nn.InstanceNorm2d,
    'IN2d': nn.InstanceNorm2d,
}
_CONVS: dict[str, type[nn.Module]] = {'Conv': nn.Conv2d, 'Conv2d': nn.Conv2d}
_ACTS: dict[str, type[nn.Module]] = {
    'ReLU': nn.ReLU,
    'ReLU6': nn.ReLU6,
    'LeakyReLU': nn.LeakyReLU,
    'PReLU': nn.PReLU,
    'ELU': nn.ELU,
    'GELU': nn.GELU,
    'SiLU': nn.SiLU,
    'Swish': nn.SiLU,
    'HSwish': nn.Hardswish,
    'Tanh': nn.Tanh,
    'Sigmoid': nn.Sigmoid,
}


def _layer_class(kind: Any, table: dict[str, type[nn.Module]], key: str) -> type[nn.Module]:
    """Look up a layer's class by its short name, then in the registry; a class is taken as it is."""
    if isinstance(kind, type):
        return kind
    found = table.get(kind) or MODELS.get(kind)
    if found is None:
        raise ConfigError(f'{key}: no layer is called {kind!r}{did_you_mean(str(kind), table)}')
    return found


def _split_cfg(cfg: dict, key: str) -> tuple[Any, dict]:
    """Return the ``type`` and the other entries of a layer's config."""
    options = dict(cfg)
    if 'type' not in options:
        raise ConfigError(f'{key}={cfg!r} has no `type`')
    return options.pop('type'), options


def norm_class(name: str) -> type[nn.Module]:
    """Return the class of a normalization layer: 'BN', 'SyncBN', 'GN', 'LN', 'IN', 'BN1d', or a registered name.

    Raises:
        ConfigError: If there is no such layer.
    """
    return _layer_class(name, _NORMS, 'norm_layer')


def build_norm(cfg: dict, channels: int) -> nn.Module:
    """Build a normalization layer.

    Args:
        cfg: ``type`` ('BN', 'SyncBN', 'GN', 'LN', 'IN', 'BN1d', or a registered name), ``requires_grad`` (default
            ``True``) for its weight and bias, and the layer's own arguments; not modified.
        channels: Number of channels of its input.

    Raises:
        ConfigError: If there is no such layer, or it does not take an argument.
    """
    kind, options = _split_cfg(cfg, 'norm_cfg')
    requires_grad = options.pop('requires_grad', True)
    layer_class = _layer_class(kind, _NORMS, 'norm_cfg.type')
    if layer_class is nn.GroupNorm:
        if 'num_groups' not in options:
            raise ConfigError(f'norm_cfg={cfg!r}: GN needs `num_groups`, 32 for instance')
        options['num_channels'] = channels
        args = ()
    else:
        args = (channels, )
    try:
        layer = layer_class(*args, **options)
    except (TypeError, ValueError) as err:
        raise ConfigError(f'norm_cfg={cfg!r} with {channels} channels: {err}') from None
    layer.requires_grad_(requires_grad)
    return layer


def norm_builder(cfg: dict) -> Callable[[int], nn.Module]:
    """Return a function from a number of channels to a normalization layer, the ``norm_layer`` of torchvision's blocks."""
    return lambda channels: build_norm(cfg, channels)


def build_conv(cfg: dict | None, *args: Any, **kwargs: Any) -> nn.Module:
    """Build a 2-D convolution; ``cfg`` may name another class ('Conv2d' where it is None), the rest is its arguments.

    Raises:
        ConfigError: If there is no such layer.
    """
    if cfg is None:
        return nn.Conv2d(*args, **kwargs)
    kind, options = _split_cfg(cfg, 'conv_cfg')
    return _layer_class(kind, _CONVS, 'conv_cfg.type')(*args, **kwargs, **options)


def build_act(cfg: dict) -> nn.Module:
    """Build an activation layer, ``dict(type='ReLU')`` for one.

    Raises:
        ConfigError: If there is no such layer, or it does not take an argument.
    """
    kind, options = _split_cfg(cfg, 'act_cfg')
    try:
        return _layer_class(kind, _ACTS, 'act_cfg.type')(**options)
    except TypeError as err:
        raise ConfigError(f'act_cfg={cfg!r}: {err}') from None


class ConvNormAct(nn.Sequential):
    """A 3x3 convolution without bias, normalization, ReLU; named as in OpenMMLab's files: ``conv``, ``bn``, ``activate``.

    Args:
        in_channels: Channels of the input, (N, in_channels, H, W) float.
        out_channels: Channels of the output, (N, out_channels, H / stride, W / stride) float.
        stride: Stride of the convolution, in pixels.
        conv_cfg: See :func:`build_conv`.
        norm_cfg: See :func:`build_norm`.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, conv_cfg: dict | None, norm_cfg: dict) -> None:
        super().__init__()
        self.add_module('conv',
                        build_conv(conv_cfg, in_channels, out_channels, 3, stride=stride, padding=1, bias=False))
        self.add_module('bn', build_norm(norm_cfg, out_channels))
        self.add_module('activate', nn.ReLU(inplace=True))


class DoubleConv(nn.Module):
    """Two 3x3 convolutions, each with normalization and ReLU; named as in public U-Net files: ``double_conv.0`` … ``.5``.

    Args:
        in_channels: Channels of the input, (N, in_channels, H, W) float.
        out_channels: Channels of the output, (N, out_channels, H, W) float.
        mid_channels: Channels in between; None for ``out_channels``.
        norm_cfg: See :func:`build_norm`; None for BatchNorm.
        bias: Give the convolutions a bias, which BatchNorm makes superfluous but older files have.
    """

    def __init__(self,
                 in_channels: int,
                 out_channels: int,
                 mid_channels: int | None = None,
                 norm_cfg: dict | None = None,
                 bias: bool = False) -> None:
        super().__init__()
        mid_channels, norm_cfg = mid_channels or out_channels, norm_cfg or dict(type='BN')
        layers: list[nn.Module] = []
        for before, after in ((in_channels, mid_channels), (mid_channels, out_channels)):
            conv = nn.Conv2d(before, after, 3, padding=1, bias=bias)
            layers += [conv, build_norm(norm_cfg, after), nn.ReLU(inplace=True)]
        self.double_conv = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (N, out_channels, H, W) float of (N, in_channels, H, W) float."""
        return self.double_conv(x)
