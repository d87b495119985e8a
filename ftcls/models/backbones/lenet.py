"""LeNet-5 (LeCun et al., Gradient-based learning applied to document recognition, 1998)."""
import torch
from torch import nn

from ftcls.registry import MODELS
from ftcls.utils import DataError
from ftcls.utils.types import PositiveInt
from ..weight_init import InitCfg
from .base_backbone import BaseBackbone, Stage

__all__ = ['LeNet5']


@MODELS.register_module()
class LeNet5(BaseBackbone):
    """LeNet-5 for images of 32x32 pixels, with or without its classifier.

    The stages are: the stem (first convolution and pooling), 1 (second convolution and pooling), 2 (third convolution),
    and, with a classifier, 3.

    Args:
        num_classes: Classes of the classifier; -1 for features only.
        in_channels, frozen_stages, norm_eval, init_cfg: See :class:`ResNet`; there is no BatchNorm here.

    Example:
        >>> LeNet5()(torch.rand(2, 1, 32, 32))[0].shape, LeNet5(num_classes=10)(torch.rand(2, 1, 32, 32))[0].shape
        (torch.Size([2, 120, 1, 1]), torch.Size([2, 10]))
    """

    def __init__(self,
                 num_classes: int = -1,
                 in_channels: PositiveInt = 1,
                 frozen_stages: int = -1,
                 norm_eval: bool = False,
                 init_cfg: InitCfg = None) -> None:
        super().__init__(init_cfg, norm_eval=norm_eval)
        self.num_classes = num_classes
        stem = (nn.Conv2d(in_channels, 6, kernel_size=5), nn.Tanh(), nn.AvgPool2d(kernel_size=2))
        second = (nn.Conv2d(6, 16, kernel_size=5), nn.Tanh(), nn.AvgPool2d(kernel_size=2))
        third = (nn.Conv2d(16, 120, kernel_size=5), nn.Tanh())
        self.features = nn.Sequential(*stem, *second, *third)
        self.out_channels = (120, )
        if num_classes > 0:
            self.classifier = nn.Sequential(nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, num_classes))
            self.out_channels = (num_classes, )
        self.freeze_stages(frozen_stages)

    def stages(self) -> list[Stage]:
        """Return the stem, the second and the third convolution with their layers, and the classifier if any."""
        layers = list(self.features)
        stages = [layers[:3], layers[3:6], layers[6:]]
        if self.num_classes > 0:
            stages.append([self.classifier])
        return stages

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return features (N, 120, 1, 1), or logits (N, num_classes) with a classifier, of (N, C, 32, 32) float.

        Raises:
            DataError: If the images are too small, or too large for the classifier.
        """
        height, width = int(x.shape[-2]), int(x.shape[-1])
        if min(height, width) < 32 or (self.num_classes > 0 and max(height, width) > 35):  # up to 35 give the same
            raise DataError(f"LeNet5 takes images of 32x32, got {height}x{width}; add dict(type='Resize', scale=32)")
        x = self.features(x)
        if self.num_classes > 0:
            x = self.classifier(x.flatten(1))
        return (x, )
