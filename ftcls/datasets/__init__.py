"""Where images and labels come from, and the transforms of single samples."""
from typing import Any

from . import transforms
from .base_dataset import BaseDataset
from .builder import build_dataset
from .custom import CustomDataset
from .digits import DigitPairs, Digits
from .imagenet import ImageNet
from .kfold import KFoldDataset
from .multi_label import MultiLabelDataset
from .samplers import BalancedSampler, RepeatAugSampler
from .segmentation import BinarySegDataset, CarvanaDataset
from .stock import CIFAR10, CIFAR100, MNIST, FashionMNIST

__all__ = [
    'BalancedSampler', 'BaseDataset', 'BinarySegDataset', 'CIFAR10', 'CIFAR100', 'CarvanaDataset', 'CustomDataset',
    'DigitPairs', 'Digits', 'FashionMNIST', 'ImageNet', 'KFoldDataset', 'MNIST', 'MultiLabelDataset',
    'RepeatAugSampler', 'build_dataset'
]


def __getattr__(name: str) -> Any:
    """Give the transforms' names too, as MMClassification does."""
    return getattr(transforms, name)
