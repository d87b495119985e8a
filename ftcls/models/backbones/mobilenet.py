"""MobileNetV2 (`2018 <https://arxiv.org/abs/1801.04381>`_) of torchvision, MobileNetV3 (`2019`__) of timm.

__ https://arxiv.org/abs/1905.02244
"""
from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar, Literal

from ftcls.registry import MODELS
from ftcls.utils.types import PositiveFloat
from ..weight_init import CONV_INIT, InitCfg
from .families import FamilyBackbone
from .timm_backbone import build_timm

__all__ = ['MobileNetV2', 'MobileNetV3']

_V2_STARTS = (0, 1, 2, 4, 7, 11, 14, 17, 18, 19)  # of each stage, in torchvision's `features`
_PLAIN_CONV = (None, dict(type='Conv2d'))


@MODELS.register_module()
class MobileNetV2(FamilyBackbone):
    """MobileNetV2 over torchvision's, with MMClassification's arguments and stages.

    Args:
        widen_factor: Times the channels of all layers.
        out_indices: What is returned: 0 ... 6 the stages after the stem, 7 the last convolution.
        frozen_stages, norm_eval, init_cfg: See :class:`BaseBackbone`.
        conv_cfg, act_cfg: None and ``dict(type='ReLU6')``; torchvision has no others.
        norm_cfg: Settings of BatchNorm; None for ``dict(type='BN')``.
        with_cp: Recompute activations in the backward pass to save memory.

    Example:
        >>> MobileNetV2()(torch.rand(1, 3, 64, 64))[0].shape
        torch.Size([1, 1280, 2, 2])
    """

    def __init__(self,
                 widen_factor: PositiveFloat = 1.,
                 out_indices: int | Sequence[int] = (7, ),
                 frozen_stages: int = -1,
                 conv_cfg: dict | None = None,
                 norm_cfg: dict | None = None,
                 act_cfg: dict | None = None,
                 norm_eval: bool = False,
                 with_cp: bool = False,
                 init_cfg: InitCfg = None) -> None:
        from torchvision.models import MobileNetV2 as Network
        super().__init__(init_cfg, CONV_INIT, norm_eval)
        self.check_choice('conv_cfg', conv_cfg, _PLAIN_CONV)
        self.check_choice('act_cfg', act_cfg, (None, dict(type='ReLU6')))
        names = [[f'features.{i}' for i in range(*ends)] for ends in pairwise(_V2_STARTS)]
        self.take(Network(width_mult=widen_factor), names, out_indices, frozen_stages, norm_cfg, with_cp)


@MODELS.register_module()
class MobileNetV3(FamilyBackbone):
    """MobileNetV3 over timm's, with MMClassification's arguments and stages.

    The convolution after the pooling belongs to the head: ``StackedLinearClsHead`` with ``mid_channels=[1280]``, or
    [1024] for the small ones.

    Args:
        arch: The size.
        conv_cfg: None; timm has no other.
        norm_cfg: Settings of BatchNorm; None for ``dict(type='BN', eps=0.001, momentum=0.01)``.
        out_indices: What is returned: 0 the stem, then each block, last the last convolution; None for this one.
        frozen_stages, norm_eval, init_cfg: See :class:`BaseBackbone`; each block is a stage.
        with_cp: Recompute activations in the backward pass to save memory.

    Example:
        >>> MobileNetV3('small_050')(torch.rand(1, 3, 64, 64))[0].shape
        torch.Size([1, 288, 2, 2])
    """

    first_output: ClassVar[int] = 0

    def __init__(self,
                 arch: Literal['small', 'small_075', 'small_050', 'large'] = 'small',
                 conv_cfg: dict | None = None,
                 norm_cfg: dict | None = None,
                 out_indices: int | Sequence[int] | None = None,
                 frozen_stages: int = -1,
                 norm_eval: bool = False,
                 with_cp: bool = False,
                 init_cfg: InitCfg = None) -> None:
        super().__init__(init_cfg, CONV_INIT, norm_eval)
        self.check_choice('conv_cfg', conv_cfg, _PLAIN_CONV)
        size = arch if arch[-1].isdigit() else f'{arch}_100'
        network = build_timm(f'mobilenetv3_{size}', 'MobileNetV3')
        blocks = [[f'blocks.{i}.{j}'] for i, stage in enumerate(network.blocks) for j in range(len(stage))]
        norm_cfg = norm_cfg or dict(type='BN', eps=0.001, momentum=0.01)
        self.take(network, [['conv_stem', 'bn1'], *blocks], out_indices, frozen_stages, norm_cfg, with_cp)
