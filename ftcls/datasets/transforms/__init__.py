"""What is done to one sample before it joins a batch."""
from .albumentations_wrapper import Albumentations
from .annotations import LoadAnnotations, PackSegInputs
from .base import BaseTransform
from .blur import GaussianBlur
from .color import ColorJitter, Lighting, Normalize, RandomGrayscale
from .cropping import CenterCrop, CornerCrop, RandomCrop, RandomResizedCrop
from .erasing import RandomErasing
from .formatting import PackClsInputs, PackInputs
from .geometry import Pad, RandomFlip
from .loading import LoadImageFromFile
from .resizing import Resize, ResizeEdge
from .torchvision_wrapper import (TORCHVISION_TRANSFORMS, AugMix, AutoAugment, RandAugment, TorchvisionTransform,
                                  TrivialAugmentWide)
from .tta import TestTimeAug

__all__ = [
    'Albumentations', 'AugMix', 'AutoAugment', 'BaseTransform', 'CenterCrop', 'CornerCrop', 'ColorJitter',
    'GaussianBlur', 'Lighting', 'LoadAnnotations', 'LoadImageFromFile', 'Normalize', 'PackClsInputs', 'PackInputs',
    'PackSegInputs', 'Pad', 'RandAugment', 'RandomCrop', 'RandomErasing', 'RandomFlip', 'RandomGrayscale',
    'RandomResizedCrop', 'Resize', 'ResizeEdge', 'TORCHVISION_TRANSFORMS', 'TestTimeAug', 'TorchvisionTransform',
    'TrivialAugmentWide'
]
