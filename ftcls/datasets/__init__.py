"""Where pictures and labels come from, and the transforms of single samples."""
from .base_dataset import BaseDataset
from .cifar import CIFAR10, CIFAR100
from .custom import CustomDataset
from .digit_pairs import DigitPairs
from .digits import Digits
from .imagenet import ImageNet
from .kfold import KFoldDataset
from .mnist import MNIST, FashionMNIST
from .multi_label import MultiLabelDataset
from .samplers import BalancedSampler, RepeatAugSampler
from .segmentation import BinarySegDataset, CarvanaDataset
from .transforms import *

__all__ = [
    'BalancedSampler', 'BaseDataset', 'BinarySegDataset', 'CIFAR10', 'CIFAR100', 'CarvanaDataset', 'CustomDataset',
    'DigitPairs', 'Digits', 'FashionMNIST', 'ImageNet', 'KFoldDataset', 'MNIST', 'MultiLabelDataset', 'RepeatAugSampler'
]
