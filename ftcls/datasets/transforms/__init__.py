"""What is done to one sample before it joins a batch."""
from .annotations import LoadAnnotations, PackSegInputs
from .base import BaseTransform
from .color import ColorJitter, Normalize, RandomGrayscale
from .cropping import CenterCrop, CornerCrop, RandomCrop, RandomResizedCrop
from .formatting import PackClsInputs, PackInputs
from .geometry import Pad, RandomFlip
from .loading import LoadImageFromFile
from .resizing import Resize, ResizeEdge
from .test_time_aug import TestTimeAug
from .torchvision_wrapper import TORCHVISION_TRANSFORMS, TorchvisionTransform

__all__ = [
    'BaseTransform', 'CenterCrop', 'CornerCrop', 'ColorJitter', 'LoadAnnotations', 'LoadImageFromFile', 'Normalize',
    'PackClsInputs', 'PackInputs', 'PackSegInputs', 'Pad', 'RandomCrop', 'RandomFlip', 'RandomGrayscale',
    'RandomResizedCrop', 'Resize', 'ResizeEdge', 'TORCHVISION_TRANSFORMS', 'TestTimeAug', 'TorchvisionTransform'
]
