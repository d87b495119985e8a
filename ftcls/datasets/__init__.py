"""Where images and labels come from, and the transforms of single samples."""
from typing import Any

from . import transforms
from .base_dataset import BaseDataset
from .builder import build_dataset
from .custom import CustomDataset
from .digits import DigitPairs, Digits
from .imagenet import ImageNet, ImageNet21k
from .kfold import KFoldDataset
from .multi_label import MultiLabelDataset
from .published import (CUB, DTD, GTSRB, SUN397, Caltech101, EuroSAT, FGVCAircraft, Flowers102, Food101, OxfordIIITPet,
                        StanfordCars)
from .samplers import BalancedSampler, RepeatAugSampler
from .segmentation import BinarySegDataset, CarvanaDataset
from .stock import CIFAR10, CIFAR100, MNIST, FashionMNIST
from .voc import VOC

__all__ = [
    'BalancedSampler', 'BaseDataset', 'BinarySegDataset', 'CIFAR10', 'CIFAR100', 'CUB', 'Caltech101', 'CarvanaDataset',
    'CustomDataset', 'DTD', 'DigitPairs', 'Digits', 'EuroSAT', 'FGVCAircraft', 'FashionMNIST', 'Flowers102', 'Food101',
    'GTSRB', 'ImageNet', 'ImageNet21k', 'KFoldDataset', 'MNIST', 'MultiLabelDataset', 'OxfordIIITPet',
    'RepeatAugSampler', 'SUN397', 'StanfordCars', 'VOC', 'build_dataset'
]


def __getattr__(name: str) -> Any:
    """Give the transforms' names too, as MMClassification does."""
    return getattr(transforms, name)
