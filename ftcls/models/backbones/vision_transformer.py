"""Vision Transformer (Dosovitskiy et al., `An Image is Worth 16x16 Words <https://arxiv.org/abs/2010.11929>`_)."""
from collections.abc import Mapping, Sequence
from functools import partial
from math import ceil, isqrt
from types import MappingProxyType
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from ftcls.registry import MODELS
from ftcls.utils import ConfigError
from ftcls.utils.checkpoint.aligning import TensorOrder
from ftcls.utils.log import warn
from ftcls.utils.types import NonNegativeFloat, PositiveInt, Probability, Size
from ..layers import build_norm
from ..weight_init import InitCfg
from .families import FamilyBackbone, arch_values
from .timm_backbone import build_timm

__all__ = ['VisionTransformer']

_KEYS = 'embed_dims', 'num_layers', 'num_heads', 'feedforward_channels'
_ARCHS = dict.fromkeys(('s', 'small'), (768, 8, 8, 2304))
_ARCHS |= dict.fromkeys(('b', 'base', 'deit-b', 'deit-base'), (768, 12, 12, 3072))
_ARCHS |= dict.fromkeys(('l', 'large'), (1024, 24, 16, 4096))
_ARCHS |= dict.fromkeys(('h', 'huge'), (1280, 32, 16, 5120))
_ARCHS |= dict.fromkeys(('eva-g', 'eva-giant'), (1408, 40, 16, 6144))
_ARCHS |= dict.fromkeys(('deit-t', 'deit-tiny'), (192, 12, 3, 768))
_ARCHS |= dict.fromkeys(('deit-s', 'deit-small', 'dinov2-s', 'dinov2-small'), (384, 12, 6, 1536))
_ARCHS |= dict.fromkeys(('dinov2-g', 'dinov2-giant'), (1536, 40, 24, 6144))


def _norm(channels: int, cfg: dict, **_: object) -> nn.Module:
    return build_norm(cfg, channels)


@MODELS.register_module()
class VisionTransformer(FamilyBackbone):
    """Vision Transformer over timm's, with MMClassification's arguments and numbers.

    Images of another size than ``img_size`` are taken too, with position embeddings interpolated in each step. Files
    for another ``img_size`` load, with theirs interpolated once. Images whose sides are no multiple of ``patch_size``
    are padded with zeros at the right and bottom. The weights start as timm's: linear layers from a
    truncated normal distribution of standard deviation 0.02.

    Args:
        arch: Name of the network, or a dict of ``embed_dims``, ``num_layers``, ``num_heads``, ``feedforward_channels``.
        img_size, patch_size: Sides of the images and of a patch, in pixels.
        in_channels: Channels of the images.
        out_indices: Blocks whose output is returned, 0 the first, -1 the last.
        drop_rate: Probability of dropout after the position embedding, after the attention, and in the MLPs.
        drop_path_rate: Probability of leaving out the last block's branches in training; it falls to 0 at the first.
        qkv_bias: Give queries, keys and values a bias.
        norm_cfg: The normalization, ``dict(type='LN', eps=...)``.
        final_norm: Normalize the last block's output.
        out_type: ``'cls_token'``: the class token (N, C); ``'avg_featmap'``: the normalized mean of the patches (N, C);
            ``'featmap'``: the patches (N, C, H / patch_size, W / patch_size); ``'raw'``: all tokens (N, L, C).
        with_cls_token: Have a class token.
        frozen_stages: -1 nothing, 0 what comes before the first block, k also the first k blocks; the last norms are
            with the last block. In MMClassification 0 is nothing.
        interpolate_mode: How position embeddings are interpolated.
        layer_scale_init_value: What the factors of the branches start with; 0 for no such factors.
        patch_cfg: None; for other patches or layers, take a network by timm's name (:class:`TIMMBackbone`).
        layer_cfgs: None; see ``patch_cfg``.
        pre_norm: Normalize before the first block too; the embedding of patches then has no bias.
        init_cfg: See :class:`BaseBackbone`.

    Example:
        >>> VisionTransformer('deit-tiny', img_size=64)(torch.rand(1, 3, 64, 64))[0].shape
        torch.Size([1, 192])
    """

    tensor_order = TensorOrder(
        regroup=((r'\bencoder\.pos_embedding', 'class_token.pos'), (r'\bpre_norm\b', 'patch_embed.pre_norm')),
        resized=('pos_embed', ),
        optional=('model.fc_norm', ))
    _is_said = False  # that images have another size

    def __init__(self,
                 arch: Literal[tuple(_ARCHS)] | Mapping = 'base',
                 img_size: Size = 224,
                 patch_size: PositiveInt = 16,
                 in_channels: PositiveInt = 3,
                 out_indices: int | Sequence[int] = -1,
                 drop_rate: Probability = 0.,
                 drop_path_rate: Probability = 0.,
                 qkv_bias: bool = True,
                 norm_cfg: Mapping = MappingProxyType(dict(type='LN', eps=1e-6)),
                 final_norm: bool = True,
                 out_type: Literal['cls_token', 'featmap', 'avg_featmap', 'raw'] = 'cls_token',
                 with_cls_token: bool = True,
                 frozen_stages: int = -1,
                 interpolate_mode: Literal['bicubic', 'bilinear', 'nearest'] = 'bicubic',
                 layer_scale_init_value: NonNegativeFloat = 0.,
                 patch_cfg: Mapping | None = None,
                 layer_cfgs: Mapping | None = None,
                 pre_norm: bool = False,
                 init_cfg: InitCfg = None) -> None:
        from timm.layers import resample_abs_pos_embed, to_2tuple
        super().__init__(init_cfg)
        self.check_unset(patch_cfg=patch_cfg, layer_cfgs=layer_cfgs)
        if out_type == 'cls_token' and not with_cls_token:
            raise ConfigError("with_cls_token=False: out_type='cls_token' needs it; set out_type='avg_featmap'")
        self.img_size, self.out_type = to_2tuple(img_size), out_type
        dim, depth, heads, hidden = arch_values(arch, _ARCHS, _KEYS)
        shape = dict(embed_dim=dim, depth=depth, num_heads=heads, mlp_ratio=hidden / dim, in_chans=in_channels)
        # timm would leave out the last patch where MMClassification pads it
        sizes = dict(img_size=[patch_size * ceil(side / patch_size) for side in self.img_size], patch_size=patch_size)
        parts = dict(qkv_bias=qkv_bias, init_values=layer_scale_init_value or None, class_token=with_cls_token)
        norms = dict(pre_norm=pre_norm, final_norm=final_norm, norm_layer=partial(_norm, cfg=dict(norm_cfg)))
        drops = dict(pos_drop_rate=drop_rate, proj_drop_rate=drop_rate, drop_path_rate=drop_path_rate)
        options = dict(num_classes=0, global_pool='', dynamic_img_size=True, dynamic_img_pad=True, **norms, **drops)
        network = build_timm('vit_base_patch16_224', 'VisionTransformer', **shape, **sizes, **parts, **options)
        network.fc_norm = build_norm(norm_cfg, dim) if out_type == 'avg_featmap' else nn.Identity()
        resampling = dict(num_prefix_tokens=int(with_cls_token), interpolation=interpolate_mode, antialias=False)
        self._resample = partial(resample_abs_pos_embed, **resampling)
        stem = ['patch_embed', 'pos_embed', 'pos_drop', 'norm_pre', *(['cls_token'] if with_cls_token else [])]
        blocks = [[f'blocks.{i}'] for i in range(depth)]
        blocks[-1] += ['norm', 'fc_norm']
        self.take(network, [stem, *blocks], out_indices, frozen_stages, in_channels=in_channels)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return for each of ``out_indices`` what ``out_type`` says, float, of images (N, C, H, W) float."""
        net, size = self.model, tuple(x.shape[2:])
        x = net.patch_embed(x)
        grid = tuple(x.shape[1:3])
        if grid != net.patch_embed.grid_size and not self._is_said:
            self._is_said = True
            warn(f'VisionTransformer: for images of {size[0]}x{size[1]} the position embeddings are interpolated in '
                 f'each step; img_size={size} in place of {self.img_size} does it once')
        x = x.flatten(1, 2)
        if net.cls_token is not None:
            x = torch.cat([net.cls_token.expand(x.shape[0], -1, -1), x], dim=1)
        x = net.norm_pre(net.pos_drop(x + self._resample(net.pos_embed, grid, net.patch_embed.grid_size)))
        outs = []
        for i, block in enumerate(net.blocks):
            x = block(x)
            if i == len(net.blocks) - 1:
                x = net.norm(x)
            if i in self.out_indices:
                outs.append(self._output(x, grid))
        return tuple(outs)

    def _output(self, x: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
        patches = x[:, self.model.num_prefix_tokens:]
        if self.out_type == 'featmap':
            return patches.transpose(1, 2).unflatten(2, grid)
        if self.out_type == 'avg_featmap':
            return self.model.fc_norm(patches.mean(dim=1))
        return x[:, 0] if self.out_type == 'cls_token' else x

    def resize_weight(self, value: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        """Return a file's position embeddings, (1, L, C) of a square grid, in the network's shape.

        A class token's embedding that has no place is left out; where the file has none, it is 0.
        """
        spare = value.shape[1] - isqrt(value.shape[1])**2 - self.model.num_prefix_tokens
        if abs(spare) > 1:
            return value
        return self._resample(F.pad(value, (0, 0, -spare, 0)), self.model.patch_embed.grid_size)
