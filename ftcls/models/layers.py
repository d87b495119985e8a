"""Layers built from the small config dicts of the MMClassification style: ``norm_cfg``, ``conv_cfg``, ``act_cfg``."""
from typing import Any

import torch
from torch import nn

from ftcls.registry import MODELS
from ftcls.utils import ConfigError, did_you_mean

__all__ = ['ConvNormAct', 'DoubleConv', 'build_act', 'build_conv', 'build_norm', 'norm_class']

_Layers = dict[str, type[nn.Module]]
_NORMS: _Layers = {f'BN{d}d': getattr(nn, f'BatchNorm{d}d') for d in (1, 2, 3)}
_NORMS |= dict(BN=nn.BatchNorm2d, SyncBN=nn.SyncBatchNorm, GN=nn.GroupNorm, LN=nn.LayerNorm)
_NORMS |= dict(IN=nn.InstanceNorm2d, IN2d=nn.InstanceNorm2d)
_CONVS: _Layers = dict(Conv=nn.Conv2d, Conv2d=nn.Conv2d)
_SAME_NAME = ('ReLU', 'ReLU6', 'LeakyReLU', 'PReLU', 'ELU', 'GELU', 'SiLU', 'Tanh', 'Sigmoid')
_ACTS: _Layers = dict(Swish=nn.SiLU, HSwish=nn.Hardswish, **{name: getattr(nn, name) for name in _SAME_NAME})


def _layer_class(kind: Any, known: _Layers, key: str) -> type[nn.Module]:
    """Look up a layer's class by its short name, then in the registry; a class is taken as it is."""
    found = kind if isinstance(kind, type) else known.get(kind) or MODELS.get(kind)
    if found is None:
        raise ConfigError(f'{key}: no layer is called {kind!r}{did_you_mean(str(kind), known)}')
    return found


def _build(key: str, cfg: dict, known: _Layers, *args: Any, **kwargs: Any) -> nn.Module:
    """Build the layer that ``cfg`` names, with its other entries as arguments."""
    options = dict(cfg)
    if 'type' not in options:
        raise ConfigError(f'{key}={cfg!r} has no `type`')
    layer_class = _layer_class(options.pop('type'), known, f'{key}.type')
    try:
        return layer_class(*args, **kwargs, **options)
    except (TypeError, ValueError) as err:
        raise ConfigError(f'{key}={cfg!r}: {err}') from None


def norm_class(name: str) -> type[nn.Module]:
    """Return the class of a normalization layer, see :func:`build_norm`; raise a ConfigError if there is none."""
    return _layer_class(name, _NORMS, 'norm_layer')


def build_norm(cfg: dict, channels: int) -> nn.Module:
    """Build a normalization layer for an input of ``channels``; raise a ConfigError if that does not work.

    ``cfg`` has the ``type`` ('BN', 'SyncBN', 'GN', 'LN', 'IN', 'BN1d', or a registered name), ``requires_grad``
    (default ``True``) for its weight and bias, and the layer's own arguments.
    """
    options = dict(cfg)
    requires_grad = options.pop('requires_grad', True)
    if options.get('type') in ('GN', nn.GroupNorm):
        layer = _build('norm_cfg', {'num_channels': channels, **options}, _NORMS)
    else:
        layer = _build('norm_cfg', options, _NORMS, channels)
    return layer.requires_grad_(requires_grad)


def build_conv(cfg: dict | None, *args: Any, **kwargs: Any) -> nn.Module:
    """Build a 2-D convolution; ``cfg`` may name another class than ``nn.Conv2d``, and add arguments."""
    return _build('conv_cfg', cfg or dict(type='Conv2d'), _CONVS, *args, **kwargs)


def build_act(cfg: dict) -> nn.Module:
    """Build an activation layer, for example ``dict(type='ReLU')``."""
    return _build('act_cfg', cfg, _ACTS)


class ConvNormAct(nn.Sequential):
    """A 3x3 convolution, normalization, ReLU; named as in OpenMMLab's files: ``conv``, ``bn``, ``activate``."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, conv_cfg: dict | None, norm_cfg: dict) -> None:
        super().__init__()
        self.conv = build_conv(conv_cfg, in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.bn = build_norm(norm_cfg, out_channels)
        self.activate = nn.ReLU(inplace=True)


class DoubleConv(nn.Module):
    """Two 3x3 convolutions, each with norm and ReLU; named as in public U-Net files: ``double_conv.0`` … ``.5``.

    Args:
        in_channels, out_channels: Channels of the input and the output, (N, C, H, W) float.
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
        self.double_conv = nn.Sequential()
        mid_channels = mid_channels or out_channels
        for before, after in ((in_channels, mid_channels), (mid_channels, out_channels)):
            conv = nn.Conv2d(before, after, 3, padding=1, bias=bias)
            self.double_conv.extend([conv, build_norm(norm_cfg or dict(type='BN'), after), nn.ReLU(inplace=True)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return self.double_conv(x)
