"""ConvNeXt (Liu et al., `2022 <https://arxiv.org/abs/2201.03545>`_) and ConvNeXt V2, as timm builds them."""
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal

import torch

from ftcls.registry import MODELS
from ftcls.utils.checkpoint.aligning import TensorOrder
from ftcls.utils.types import NonNegativeFloat, PositiveInt, Probability
from ..weight_init import InitCfg
from .families import FamilyBackbone, arch_values
from .timm_backbone import build_timm

__all__ = ['ConvNeXt']

_SMALL, _BASE = (2, 2, 6, 2), (3, 3, 27, 3)
# Blocks of each stage, channels of the first; doubled in each stage.
_SIZES = dict(
    atto=(_SMALL, 40), femto=(_SMALL, 48), pico=(_SMALL, 64), nano=((2, 2, 8, 2), 80), tiny=((3, 3, 9, 3), 96))
_SIZES |= dict(small=(_BASE, 96), base=(_BASE, 128), large=(_BASE, 192), xlarge=(_BASE, 256), huge=(_BASE, 352))
_ARCHS = {name: (depths, [width * 2**i for i in range(4)]) for name, (depths, width) in _SIZES.items()}
_LAST_NORM = r'\b(head\.norm|classifier\.0)\b'
_NORM, _GELU = MappingProxyType(dict(type='LN2d', eps=1e-6)), MappingProxyType(dict(type='GELU'))


@MODELS.register_module()
class ConvNeXt(FamilyBackbone):
    """ConvNeXt over timm's, with MMClassification's arguments and numbers; the weights start as its default says.

    Args:
        arch: Name of the network, or a dict of four ``depths`` (blocks) and ``channels``, one for each stage.
        in_channels: Channels of the images.
        stem_patch_size: Side of the stem's patches, in pixels.
        norm_cfg: The normalization, ``dict(type='LN2d', eps=...)``; timm has no other.
        act_cfg: ``dict(type='GELU')``; timm has no other.
        linear_pw_conv: Linear layers in place of 1x1 convolutions; the numbers are the same.
        use_grn: Normalize the responses in the blocks: ConvNeXt V2, with ``layer_scale_init_value=0.``.
        drop_path_rate: Probability of leaving out the last block's branch in training; it falls to 0 at the first.
        layer_scale_init_value: What the factors of the branches start with; 0 for no such factors.
        out_indices: Stages whose output is returned, 0 the first, -1 the last.
        frozen_stages: -1 nothing, 0 the stem, k also the first k stages. In MMClassification 0 is nothing.
        gap_before_final_norm: Return vectors (N, C): the mean over all positions, normalized; else maps (N, C, H, W).
        with_cp: Recompute activations in the backward pass to save memory.
        init_cfg: See :class:`BaseBackbone`.

    Example:
        >>> ConvNeXt('atto')(torch.rand(1, 3, 64, 64))[0].shape
        torch.Size([1, 320])
    """

    tensor_order = TensorOrder(  # The stages lie in two lists, that of their blocks behind.
        regroup=((r'\bstages\.(\d)\.(\d)', r'downsample_layers.\1.blocks.\2'), (_LAST_NORM, 'norm3')),
        last=('pointwise_conv2', ))

    def __init__(self,
                 arch: Literal[tuple(_ARCHS)] | Mapping = 'tiny',
                 in_channels: PositiveInt = 3,
                 stem_patch_size: PositiveInt = 4,
                 norm_cfg: Mapping = _NORM,
                 act_cfg: Mapping = _GELU,
                 linear_pw_conv: bool = True,
                 use_grn: bool = False,
                 drop_path_rate: Probability = 0.,
                 layer_scale_init_value: NonNegativeFloat = 1e-6,
                 out_indices: int | Sequence[int] = -1,
                 frozen_stages: int = -1,
                 gap_before_final_norm: bool = True,
                 with_cp: bool = False,
                 init_cfg: InitCfg = None) -> None:
        super().__init__(init_cfg)
        self.check_choice('norm_cfg', dict(norm_cfg, eps=1e-6), (_NORM, ))
        self.check_choice('act_cfg', act_cfg, (_GELU, ))
        depths, widths = arch_values(arch, _ARCHS, ('depths', 'channels'))
        self.gap_before_final_norm, eps = gap_before_final_norm, norm_cfg.get('eps', 1e-5)
        shape = dict(depths=depths, dims=widths, in_chans=in_channels, patch_size=stem_patch_size, num_classes=0)
        parts = dict(use_grn=use_grn, conv_mlp=not linear_pw_conv, drop_path_rate=drop_path_rate, norm_eps=eps)
        name = 'convnextv2_tiny'
        if layer_scale_init_value:
            name, parts['ls_init_value'] = 'convnext_tiny', layer_scale_init_value
        network = build_timm(name, 'ConvNeXt', **shape, **parts)
        stages = [['stem'], *([f'stages.{i}'] for i in range(4))]
        self.take(network, stages, out_indices, frozen_stages, None, with_cp, in_channels,
                  lambda i: type(network.stem[1])(widths[i], eps=eps))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return vectors (N, C) or maps (N, C, H', W') float of ``out_indices``, of images (N, C, H, W) float.

        Raises:
            DataError: If the images are too small.
        """
        least = 8 * self.model.stem[0].stride[0]
        self.check_size(x, least, least)
        return super().forward(x)

    def output(self, index: int, x: torch.Tensor) -> torch.Tensor:
        """Return a stage's map (N, C, H, W) float normalized, and before that pooled if so set."""
        norm = getattr(self.model, f'norm{index}')
        if not self.gap_before_final_norm:
            return norm(x)
        return norm(x.mean((2, 3), keepdim=True)).flatten(1)
