"""EfficientNet (Tan and Le, `2019 <https://arxiv.org/abs/1905.11946>`_) and EfficientNetV2, as timm builds them."""
from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar, Literal

from ftcls.registry import MODELS
from ftcls.utils.types import PositiveInt, Probability
from ..layers import build_act
from ..weight_init import CONV_INIT, InitCfg
from .families import FamilyBackbone
from .timm_backbone import build_timm

__all__ = ['EfficientNet', 'EfficientNetV2']

_SAME_PADDING = dict(type='Conv2dAdaptivePadding')  # TensorFlow's, with which the published weights were trained
_SWISH = dict(type='Swish')


@MODELS.register_module()
class EfficientNet(FamilyBackbone):
    """EfficientNet over timm's ``tf_efficientnet_*``, with MMClassification's arguments and stages.

    Args:
        arch: The size; 'es' and 'em' are those for the Edge TPU. MMClassification's 'el' is not in timm.
        drop_path_rate: Probability of leaving out a block's residual branch in training: from 0 at the first of n
            blocks to (n - 1) / n of it at the last, as timm has it; the whole in MMClassification.
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

    first_output: ClassVar[int] = 0
    timm_name: ClassVar[str] = 'tf_efficientnet_{}'
    joined: ClassVar[tuple[int, ...]] = (4, 6)  # timm's stages that keep the size belong to the stage before
    in_channels: int = 3

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
        options = dict(act_layer=type(build_act(act_cfg)), pad_type='same' if conv_cfg else '')
        options |= dict(in_chans=self.in_channels, drop_path_rate=drop_path_rate, user=type(self).__name__)
        network = build_timm(self.timm_name.format(arch), **options)
        starts = [i for i in range(len(network.blocks)) if i not in self.joined]
        blocks = [[f'blocks.{k}' for k in range(*ends)] for ends in pairwise([*starts, len(network.blocks)])]
        names = [['conv_stem', 'bn1'], *blocks, ['conv_head', 'bn2']]
        norm_cfg = norm_cfg or dict(type='BN', eps=1e-3)
        self.take(network, names, out_indices, frozen_stages, norm_cfg, with_cp, self.in_channels)


@MODELS.register_module()
class EfficientNetV2(EfficientNet):
    """EfficientNetV2 (Tan and Le, `2021 <https://arxiv.org/abs/2104.00298>`_) over timm's ``tf_efficientnetv2_*``.

    Args:
        arch: The size.
        in_channels: Channels of the images.
        out_indices: What is returned: 0 the stem, then the stages, -1 the last convolution.
        others: See :class:`EfficientNet`.

    Example:
        >>> EfficientNetV2('b0')(torch.rand(1, 3, 64, 64))[0].shape
        torch.Size([1, 1280, 2, 2])
    """

    timm_name: ClassVar[str] = 'tf_efficientnetv2_{}'
    joined: ClassVar[tuple[int, ...]] = ()

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
        self.in_channels = in_channels
        short = dict(small='s', medium='m', large='l').get(arch, arch)
        options = conv_cfg, norm_cfg, act_cfg, norm_eval, with_cp, init_cfg
        super().__init__(short, drop_path_rate, out_indices, frozen_stages, *options)
