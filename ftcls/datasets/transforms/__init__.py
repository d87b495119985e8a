"""What is done to one sample before it joins a batch."""
from typing import Any

from . import batch
from .albumentations_wrapper import Albumentations
from .augmentations import (AutoContrast, BaseAugTransform, Brightness, ColorTransform, Contrast, Cutout, Equalize,
                            GaussianBlur, Invert, Posterize, Rotate, Sharpness, Shear, Solarize, SolarizeAdd, Translate)
from .base import BaseTransform
from .color import ColorJitter, Lighting, Normalize, RandomGrayscale
from .cropping import (CenterCrop, CornerCrop, EfficientNetCenterCrop, EfficientNetRandomCrop, RandomCrop,
                       RandomResizedCrop)
from .erasing import RandomErasing
from .formatting import PackClsInputs, PackInputs, PackSegInputs
from .geometry import Pad, RandomFlip
from .layout import Collect, NumpyToPIL, PILToNumpy, ToNumpy, ToPIL, Transpose
from .loading import LoadImageFromFile
from .mask_loading import LoadAnnotations
from .policies import AutoAugment, RandAugment, RandomApply, RandomChoice
from .resizing import Resize, ResizeEdge
from .tta import TestTimeAug

__all__ = [
    'Albumentations', 'AutoAugment', 'AutoContrast', 'BaseAugTransform', 'BaseTransform', 'Brightness', 'CenterCrop',
    'Collect', 'ColorJitter', 'ColorTransform', 'Contrast', 'CornerCrop', 'Cutout', 'EfficientNetCenterCrop',
    'EfficientNetRandomCrop', 'Equalize', 'GaussianBlur', 'Invert', 'Lighting', 'LoadAnnotations', 'LoadImageFromFile',
    'Normalize', 'NumpyToPIL', 'PILToNumpy', 'PackClsInputs', 'PackInputs', 'PackSegInputs', 'Pad', 'Posterize',
    'RandAugment', 'RandomApply', 'RandomChoice', 'RandomCrop', 'RandomErasing', 'RandomFlip', 'RandomGrayscale',
    'RandomResizedCrop', 'Resize', 'ResizeEdge', 'Rotate', 'Sharpness', 'Shear', 'Solarize', 'SolarizeAdd',
    'TestTimeAug', 'ToNumpy', 'ToPIL', 'Translate', 'Transpose', 'batch'
]


def __getattr__(name: str) -> Any:
    """Import torchvision's transforms when they are used, because importing torchvision takes a second."""
    if name in ('AugMix', 'TORCHVISION_TRANSFORMS', 'TorchvisionTransform', 'TrivialAugmentWide'):
        from . import torchvision_wrapper

        return getattr(torchvision_wrapper, name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
