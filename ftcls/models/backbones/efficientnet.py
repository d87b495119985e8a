"""EfficientNet (Tan and Le, `2019 <https://arxiv.org/abs/1905.11946>`_) and EfficientNetV2, as timm builds them."""
from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from ftcls.registry import MODELS
from ftcls.utils.types import PositiveInt, Probability
from ..layers import act_class
from ..weight_init import InitCfg
from .families import CONV_INIT, FamilyBackbone
from .timm_backbone import build_timm

__all__ = ['EfficientNet', 'EfficientNetV2']

# TensorFlow's padding, with which the published weights were trained.
_SAME_PADDING = dict(type='Conv2dAdaptivePadding')
_SWISH = dict(type='Swish')
# timm's stages in each of MMClassification's: those that keep the size belong to the one before.
_STAGES = (['0'], ['1'], ['2'], ['3', '4'], ['5', '6'])


def _set_drop_path(network: nn.Module, drop_path_rate: float) -> None:
    """Let the probability grow from 0 in the first block to the whole in the last; timm's stays below it."""
    blocks = [block for stage in network.blocks for block in stage]
    for block, rate in zip(blocks, torch.linspace(0, drop_path_rate, len(blocks)).tolist()):
        if hasattr(block.drop_path, 'drop_prob'):
            block.drop_path.drop_prob = rate


@MODELS.register_module()
class EfficientNet(FamilyBackbone):
    """EfficientNet over timm's ``tf_efficientnet_*``, with MMClassification's arguments and stages.

    Args:
        arch: The size; 'es' and 'em' are those for the Edge TPU. MMClassification's 'el' is not in timm.
        drop_path_rate: Probability of leaving out the last block's residual branch in training; it falls to 0 at the
            first.
        out_indices: What is returned: 0 the stem, 1 ... 5 the stages, 6 the last convolution.
        frozen_stages: -1 nothing, 0 the stem, k the stem and the first k stages; one less than in MMClassification,
            where 0 is nothing.
        conv_cfg: The padding: ``dict(type='Conv2dAdaptivePadding')`` as in TensorFlow, None on both sides alike.
        norm_cfg: Settings of BatchNorm; None for ``dict(type='BN', eps=1e-3)``.
        act_cfg: The activation; the published 'es' and 'em' have ``dict(type='ReLU')``.
        norm_eval, init_cfg: See :class:`BaseBackbone`.
        with_cp: Recompute activations in the backward pass to save memory.

    Example:
        >>> EfficientNet('b0')(torch.rand(1, 3, 64, 64))[0].shape
        torch.Size([1, 1280, 2, 2])
    """

    stem_is_output = True

    def __init__(self,
                 arch: Literal['b0', 'b1', 'b2', 'b3', 'b4', 'b5', 'b6', 'b7', 'b8', 'l2', 'es', 'em'] = 'b0',
                 drop_path_rate: Probability = 0.,
                 out_indices: int | Sequence[int] = (6, ),
                 frozen_stages: int = -1,
                 conv_cfg: dict | None = _SAME_PADDING,
                 norm_cfg: dict | None = None,
                 act_cfg: dict = _SWISH,
                 norm_eval: bool = False,
                 with_cp: bool = False,
                 init_cfg: InitCfg = None) -> None:
        super().__init__(init_cfg, CONV_INIT, norm_eval)
        self.check_choice('conv_cfg', conv_cfg, (None, _SAME_PADDING))
        options = dict(act_layer=act_class(act_cfg), drop_path_rate=drop_path_rate, pad_type='same' if conv_cfg else '')
        network = build_timm(f'tf_efficientnet_{arch}', 'EfficientNet', **options)
        _set_drop_path(network, drop_path_rate)
        names = [[f'blocks.{i}' for i in stage if int(i) < len(network.blocks)] for stage in _STAGES]
        names = [['conv_stem', 'bn1'], *names, ['conv_head', 'bn2']]
        self.take(network, names, out_indices, frozen_stages, norm_cfg or dict(type='BN', eps=1e-3), with_cp)


@MODELS.register_module()
class EfficientNetV2(FamilyBackbone):
    """EfficientNetV2 (Tan and Le, `2021 <https://arxiv.org/abs/2104.00298>`_) over timm's ``tf_efficientnetv2_*``.

    Args:
        arch: The size.
        in_channels: Channels of the images.
        out_indices: What is returned: 0 the stem, then the stages, -1 the last convolution.
        norm_cfg: Settings of BatchNorm; None for ``dict(type='BN', eps=1e-3, momentum=0.1)``.
        conv_cfg: ``dict(type='Conv2dAdaptivePadding')``, TensorFlow's padding; there is no other.
        drop_path_rate, frozen_stages, act_cfg, norm_eval, with_cp, init_cfg: See :class:`EfficientNet`.

    Example:
        >>> EfficientNetV2('b0')(torch.rand(1, 3, 64, 64))[0].shape
        torch.Size([1, 1280, 2, 2])
    """

    stem_is_output = True

    def __init__(self,
                 arch: Literal['small', 's', 'medium', 'm', 'large', 'l', 'xl', 'b0', 'b1', 'b2', 'b3'] = 's',
                 in_channels: PositiveInt = 3,
                 drop_path_rate: Probability = 0.,
                 out_indices: int | Sequence[int] = (-1, ),
                 frozen_stages: int = -1,
                 conv_cfg: dict | None = _SAME_PADDING,
                 norm_cfg: dict | None = None,
                 act_cfg: dict = _SWISH,
                 norm_eval: bool = False,
                 with_cp: bool = False,
                 init_cfg: InitCfg = None) -> None:
        super().__init__(init_cfg, CONV_INIT, norm_eval)
        self.check_choice('conv_cfg', conv_cfg, (_SAME_PADDING, ))
        short = arch[0] if arch in ('small', 'medium', 'large') else arch
        options = dict(act_layer=act_class(act_cfg), drop_path_rate=drop_path_rate, in_chans=in_channels)
        network = build_timm(f'tf_efficientnetv2_{short}', 'EfficientNetV2', **options)
        _set_drop_path(network, drop_path_rate)
        names = [['conv_stem', 'bn1'], *([f'blocks.{i}'] for i in range(len(network.blocks))), ['conv_head', 'bn2']]
        norm_cfg = norm_cfg or dict(type='BN', eps=1e-3)
        self.take(network, names, out_indices, frozen_stages, norm_cfg, with_cp, in_channels)
