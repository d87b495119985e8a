"""ResNeXt (Xie et al., `Aggregated Residual Transformations <https://arxiv.org/abs/1611.05431>`_)."""
from typing import ClassVar

from ftcls.registry import MODELS
from .resnet import ResNet
from .resnet_blocks import Bottleneck

__all__ = ['ResNeXt']


@MODELS.register_module()
class ResNeXt(ResNet):
    """ResNet whose 3x3 convolutions are grouped; torchvision's parameter names.

    Args:
        depth: 50, 101 or 152.
        groups: Groups of the 3x3 convolutions.
        width_per_group: Channels of one group in the first stage; doubled in each stage.
        **kwargs: :class:`ResNet`'s arguments.
    """

    arch_settings: ClassVar[dict] = {
        50: (Bottleneck, (3, 4, 6, 3)),
        101: (Bottleneck, (3, 4, 23, 3)),
        152: (Bottleneck, (3, 8, 36, 3)),
    }

    def __init__(self, depth: int, groups: int = 32, width_per_group: int = 4, **kwargs: object) -> None:
        self.groups = groups
        self.width_per_group = width_per_group
        super().__init__(depth, **kwargs)

    def _block_width(self, stage: int) -> dict:
        """Return the block's arguments ``width`` and ``groups``; one group is the plain ResNet."""
        return dict(width=self.width_per_group * 2**stage, groups=self.groups) if self.groups != 1 else {}
