"""What is done to one sample before it joins a batch."""
from typing import Any

from . import batch
from .albumentations_wrapper import Albumentations
from .base import BaseTransform
from .blur import GaussianBlur
from .color import ColorJitter, Lighting, Normalize, RandomGrayscale
from .cropping import CenterCrop, CornerCrop, RandomCrop, RandomResizedCrop
from .erasing import RandomErasing
from .formatting import PackClsInputs, PackInputs, PackSegInputs
from .geometry import Pad, RandomFlip
from .loading import LoadImageFromFile
from .mask_loading import LoadAnnotations
from .resizing import Resize, ResizeEdge
from .tta import TestTimeAug

__all__ = [
    'Albumentations', 'BaseTransform', 'CenterCrop', 'CornerCrop', 'ColorJitter', 'GaussianBlur', 'Lighting',
    'LoadAnnotations', 'LoadImageFromFile', 'Normalize', 'PackClsInputs', 'PackInputs', 'PackSegInputs', 'Pad',
    'RandomCrop', 'RandomErasing', 'RandomFlip', 'RandomGrayscale', 'RandomResizedCrop', 'Resize', 'ResizeEdge',
    'TestTimeAug', 'batch'
]


def __getattr__(name: str) -> Any:
    """Import torchvision's transforms when they are used, because importing torchvision takes a second."""
    if name in ('AugMix', 'AutoAugment', 'RandAugment', 'TORCHVISION_TRANSFORMS', 'TorchvisionTransform',
                'TrivialAugmentWide'):
        from . import torchvision_wrapper

        return getattr(torchvision_wrapper, name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
