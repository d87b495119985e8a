"""ResNet and ResNeXt with `squeeze and excitation <https://arxiv.org/abs/1709.01507>`_ (Hu et al.)."""
from typing import Literal

from ftcls.registry import MODELS
from ftcls.utils.types import PositiveInt
from .resnet import ResNet, ResNeXt

__all__ = ['SEResNeXt', 'SEResNet']

_SEDepth = Literal[50, 101, 152]


@MODELS.register_module()
class SEResNet(ResNet):
    """SE-ResNet, with timm's parameter names (``layer1.0.se.fc1`` …); OpenMMLab's files load too.

    Args:
        se_ratio: Channels of a block over those between the two layers of its squeeze and excitation.
        depth: See :class:`ResNet`.
        **kwargs: The other arguments of :class:`ResNet`.
    """

    def __init__(self, depth: _SEDepth, se_ratio: PositiveInt = 16, **kwargs: object) -> None:
        self.se_ratio = se_ratio
        super().__init__(depth, **kwargs)


@MODELS.register_module()
class SEResNeXt(ResNeXt):
    """SE-ResNeXt; see :class:`SEResNet`.

    Args:
        se_ratio: See :class:`SEResNet`.
        depth, groups, width_per_group: See :class:`ResNeXt`.
        **kwargs: The other arguments of :class:`ResNet`.
    """

    def __init__(self,
                 depth: _SEDepth,
                 groups: PositiveInt = 32,
                 width_per_group: PositiveInt = 4,
                 se_ratio: PositiveInt = 16,
                 **kwargs: object) -> None:
        self.se_ratio = se_ratio
        super().__init__(depth, groups, width_per_group, **kwargs)
