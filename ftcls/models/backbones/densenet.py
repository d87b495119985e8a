"""DenseNet (Huang et al., `2016 <https://arxiv.org/abs/1608.06993>`_), as torchvision builds it."""
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from torch import nn

from ftcls.registry import MODELS
from ftcls.utils.checkpoint.aligning import TensorOrder
from ftcls.utils.types import PositiveInt, Probability
from ..weight_init import InitCfg
from .families import FamilyBackbone, arch_values
from .torchvision_backbone import set_in_channels

__all__ = ['DenseNet']

_ARCHS = {'121': (32, (6, 12, 24, 16), 64), '161': (48, (6, 12, 36, 24), 96)}
_ARCHS |= {'169': (32, (6, 12, 32, 32), 64), '201': (32, (6, 12, 48, 32), 64)}


@MODELS.register_module()
class DenseNet(FamilyBackbone):
    """DenseNet over torchvision's, with MMClassification's arguments and stages.

    Args:
        arch: The depth, or a dict of ``growth_rate``, ``depths`` (layers of each block) and ``init_channels``.
        in_channels: Channels of the images.
        bn_size: Channels of the 1x1 convolutions over the growth rate.
        drop_rate: Probability of dropout after each layer.
        compression_factor: 0.5; torchvision has no other.
        memory_efficient: Recompute the layers' inputs in the backward pass to save memory.
        norm_cfg: Settings of BatchNorm; None for ``dict(type='BN')``.
        act_cfg: ``dict(type='ReLU')``; torchvision has no other.
        out_indices: What is returned: the dense block of this index and the transition after it, -1 the last.
        frozen_stages, init_cfg: See :class:`BaseBackbone`. In MMClassification 0 freezes nothing, and k not the stem.

    Example:
        >>> DenseNet('121')(torch.rand(1, 3, 64, 64))[0].shape
        torch.Size([1, 1024, 2, 2])
    """

    tensor_order = TensorOrder(regroup=((r'transitions\.(\d+)', r'stages.\1.transition'), ))

    def __init__(self,
                 arch: Literal['121', '161', '169', '201'] | dict = '121',
                 in_channels: PositiveInt = 3,
                 bn_size: PositiveInt = 4,
                 drop_rate: Probability = 0,
                 compression_factor: Literal[0.5] = 0.5,
                 memory_efficient: bool = False,
                 norm_cfg: dict | None = None,
                 act_cfg: dict | None = None,
                 out_indices: int | Sequence[int] = -1,
                 frozen_stages: int = -1,
                 init_cfg: InitCfg = None) -> None:
        from torchvision.models import DenseNet as Network
        super().__init__(init_cfg)
        self.check_choice('act_cfg', act_cfg, (None, dict(type='ReLU')))
        options = dict(bn_size=bn_size, drop_rate=drop_rate, memory_efficient=memory_efficient)
        network = Network(*arch_values(arch, _ARCHS, ('growth_rate', 'depths', 'init_channels')), **options)
        set_in_channels(network, in_channels)
        network.features.add_module('relu5', nn.ReLU(inplace=True))  # torchvision applies it as a function.
        names = [f'features.{name}' for name, _ in network.features.named_children()]
        starts = [0, *range(4, len(names) - 1, 2), len(names)]  # 4 layers of the stem; each block with what follows it
        names = [names[i:k] for i, k in pairwise(starts)]
        self.take(network, names, out_indices, frozen_stages, norm_cfg, in_channels=in_channels)
