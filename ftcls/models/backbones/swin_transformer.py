"""Swin Transformer (Liu et al., `2021 <https://arxiv.org/abs/2103.14030>`_), as timm builds it."""
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from math import isqrt
from types import MappingProxyType
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from ftcls.registry import MODELS
from ftcls.utils.checkpoint.aligning import TensorOrder
from ftcls.utils.types import PositiveInt, Probability, Size
from ..layers import build_norm
from ..weight_init import InitCfg
from .families import FamilyBackbone, arch_values
from .timm_backbone import build_timm

__all__ = ['SwinTransformer']

_ARCHS = dict.fromkeys(('t', 'tiny'), (96, (2, 2, 6, 2), (3, 6, 12, 24)))
_ARCHS |= dict.fromkeys(('s', 'small'), (96, (2, 2, 18, 2), (3, 6, 12, 24)))
_ARCHS |= dict.fromkeys(('b', 'base'), (128, (2, 2, 18, 2), (4, 8, 16, 32)))
_ARCHS |= dict.fromkeys(('l', 'large'), (192, (2, 2, 18, 2), (6, 12, 24, 48)))


def _by_patch(value: torch.Tensor) -> torch.Tensor:
    """Put what belongs to four merged patches in timm's order, column by column; OpenMMLab's is by channel."""
    return value.unflatten(-1, (-1, 2, 2)).transpose(-1, -3).flatten(-3)


def _attention(block: nn.Module, shifts_one_window: bool, x: torch.Tensor) -> torch.Tensor:
    """Return what timm's block does, but pad before the shift, and shift a map of one window only if so set."""
    height, width = x.shape[1:3]
    window = block.window_size[0]
    is_shifted = shifts_one_window or min(height, width) != window
    block.shift_size = block.target_shift_size if is_shifted else (0, 0)
    x = F.pad(x, (0, 0, 0, -width % window, 0, -height % window))
    return type(block)._attn(block, x)[:, :height, :width]


@MODELS.register_module()
class SwinTransformer(FamilyBackbone):
    """Swin Transformer over timm's, with MMClassification's arguments and numbers.

    Images of any size are taken whose last map is at least a window. Files for another window load, and their tables of
    relative positions are interpolated. The weights start as timm's: linear layers from a truncated normal distribution
    of standard deviation 0.02.

    Args:
        arch: Name of the network, or a dict of ``embed_dims``, and of four ``depths`` and ``num_heads``.
        img_size: Sides of the images that are expected, in pixels.
        patch_size, window_size: Sides of a patch in pixels, of a window in patches.
        in_channels: Channels of the images.
        drop_rate: Probability of dropout after the embedding of patches.
        drop_path_rate: Probability of leaving out the last block's branches in training; it falls to 0 at the first.
        out_indices: Stages whose output is returned, 0 the first.
        out_after_downsample, use_abs_pos_embed: False; timm has no such outputs and embeddings.
        interpolate_mode: Of the absolute position embeddings, which there are none of.
        with_cp: Recompute activations in the backward pass to save memory.
        frozen_stages: -1 nothing, 0 the embedding of patches, k also the first k stages: one less than in
            MMClassification. The layer that halves the map's sides belongs to the next stage, there to the one before.
        norm_eval, init_cfg: See :class:`BaseBackbone`; there is no BatchNorm here.
        pad_small_map: Pad maps that are smaller than a window; else they are an error.
        norm_cfg: The normalization of what is returned, ``dict(type='LN', eps=...)``.
        stage_cfgs: ``dict(block_cfgs=dict(window_size=12))``, the same as ``window_size``; timm has no other settings.
        patch_cfg: None; timm's embedding of patches has no other settings.

    Example:
        >>> SwinTransformer('tiny')(torch.rand(1, 3, 224, 224))[0].shape
        torch.Size([1, 768, 7, 7])
    """

    tensor_order = TensorOrder(
        regroup=((r'^norm\.', 'norm3.'), ),
        last=('reduction', ),
        resized=('relative_position_bias_table', ),
        converted=((r'\bstages\.\d\.downsample\.', _by_patch), ),
        computed=('relative_position_index', 'attn_mask'))

    def __init__(self,
                 arch: Literal[tuple(_ARCHS)] | Mapping = 'tiny',
                 img_size: Size = 224,
                 patch_size: PositiveInt = 4,
                 in_channels: PositiveInt = 3,
                 window_size: PositiveInt = 7,
                 drop_rate: Probability = 0.,
                 drop_path_rate: Probability = 0.1,
                 out_indices: int | Sequence[int] = (3, ),
                 out_after_downsample: bool = False,
                 use_abs_pos_embed: bool = False,
                 interpolate_mode: str = 'bicubic',
                 with_cp: bool = False,
                 frozen_stages: int = -1,
                 norm_eval: bool = False,
                 pad_small_map: bool = False,
                 norm_cfg: Mapping = MappingProxyType(dict(type='LN')),
                 stage_cfgs: Mapping | None = None,
                 patch_cfg: Mapping | None = None,
                 init_cfg: InitCfg = None) -> None:
        super().__init__(init_cfg, norm_eval=norm_eval)
        window = (stage_cfgs or {}).get('block_cfgs', {}).get('window_size', window_size)
        self.check_choice('stage_cfgs', stage_cfgs, (None, {}, dict(block_cfgs=dict(window_size=window))))
        self.check_unset(
            out_after_downsample=out_after_downsample, use_abs_pos_embed=use_abs_pos_embed, patch_cfg=patch_cfg)
        self.img_size, self.window_size, self.pad_small_map = img_size, window, pad_small_map
        dim, depths, heads = arch_values(arch, _ARCHS, ('embed_dims', 'depths', 'num_heads'))
        shape = dict(embed_dim=dim, depths=depths, num_heads=heads, in_chans=in_channels, patch_size=patch_size)
        sizes = dict(img_size=img_size, window_size=window, strict_img_size=False, always_partition=True)
        network = build_timm(
            'swin_tiny_patch4_window7_224', 'SwinTransformer', drop_path_rate=drop_path_rate, **shape, **sizes)
        network.patch_embed.dynamic_img_pad = True
        for block in chain.from_iterable(layer.blocks for layer in network.layers):
            block._attn = partial(_attention, block, pad_small_map)
        network.pos_drop = nn.Dropout(drop_rate)
        stages = [[f'layers.{i}.downsample', f'layers.{i}.blocks'] for i in range(len(depths))]
        self.take(network, [['patch_embed', 'pos_drop'], *stages], out_indices, frozen_stages, None, with_cp,
                  in_channels, lambda i: build_norm(norm_cfg, dim * 2**i))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the feature maps (N, C, H', W') float of ``out_indices``, of images (N, C, H, W) float.

        Raises:
            DataError: If the last map is smaller than a window.
        """
        if not self.pad_small_map:
            stride = self.model.patch_embed.patch_size[0] * 2**(len(self.model.layers) - 1)
            self.check_size(x, (self.window_size - 1) * stride + 1, self.window_size * stride)
        return super().forward(x)

    def output(self, index: int, x: torch.Tensor) -> torch.Tensor:
        """Return a stage's map (N, H, W, C) float normalized, as (N, C, H, W)."""
        return getattr(self.model, f'norm{index}')(x).permute(0, 3, 1, 2).contiguous()

    def resize_weight(self, value: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        """Return a file's table of relative positions, (L, heads), in the network's shape."""
        from timm.layers import resize_rel_pos_bias_table_simple
        side = (isqrt(shape[0]) + 1) // 2
        return resize_rel_pos_bias_table_simple(value, (side, side), shape)
