"""ImageNet's 1,000 classes (ILSVRC 2012)."""
import os
import re
from collections.abc import Mapping
from typing import Any

from ftcls.registry import DATASETS
from ftcls.utils import ConfigError, DataError, did_you_mean
from .categories import IMAGENET_CATEGORIES
from .custom import CustomDataset

__all__ = ['ImageNet']


@DATASETS.register_module()
class ImageNet(CustomDataset):
    """ImageNet, ILSVRC 2012 (Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", 2015). ::

        data/imagenet/            data_root
        ├── train/                one folder a class, named by its WordNet id
        │   ├── n01440764/*.JPEG
        │   └── …
        ├── val/                  the same, or all pictures in one folder with meta/val.txt
        ├── test/                 no labels
        └── meta/                 may be absent
            └── val.txt           lines of `path label`

    The classes bear torchvision's names (``torchvision.models.ResNet50_Weights.DEFAULT.meta['categories']``), in the order
    of the sorted WordNet ids, which is the order of the outputs of all published weights. Folders named by WordNet ids are
    counted through, so that all 1,000 must be there (one without pictures is enough); for a part of them, give their
    ids as ``classes``.

    Args:
        data_root: Folder of the dataset.
        split: 'train', 'val' or 'test': sets ``data_prefix`` to it, and ``ann_file`` to ``meta/<split>.txt`` if that is
            there; 'test' has no labels. '' leaves them as given.
        data_prefix: As of :class:`CustomDataset`.
        ann_file: As of :class:`CustomDataset`.
        metainfo: As of :class:`BaseDataset`.
        **kwargs: The other arguments of :class:`CustomDataset`.
    """

    METAINFO = {'classes': IMAGENET_CATEGORIES}

    def __init__(self,
                 data_root: str = '',
                 split: str = '',
                 data_prefix: str | dict = '',
                 ann_file: str = '',
                 metainfo: Mapping | None = None,
                 **kwargs: Any) -> None:
        splits = ('train', 'val', 'test')
        if split and split not in splits:
            raise ConfigError(
                f'ImageNet(split={split!r}): expected one of {", ".join(splits)}{did_you_mean(split, splits)}')
        self.split = split
        if split:
            data_prefix = data_prefix or split
            listing = os.path.join('meta', f'{split}.txt')
            if not ann_file and os.path.isfile(os.path.join(os.path.expanduser(data_root), listing)):
                ann_file = listing
            if split == 'test':
                kwargs = {'with_label': False, **kwargs}
        super().__init__(data_root=data_root, data_prefix=data_prefix, ann_file=ann_file, metainfo=metainfo, **kwargs)

    def folder_names(self, folders: list[str]) -> list[str]:
        """Return the class name of each folder, which is named by a WordNet id or by the class itself."""
        wordnet = [folder for folder in folders if re.fullmatch(r'n\d{8}', folder)]
        if not wordnet or set(wordnet) & set(
                self.CLASSES):  # named by class, or the ids are the classes that were given
            return folders
        if len(wordnet) != len(IMAGENET_CATEGORIES) or len(folders) != len(wordnet):
            raise DataError(
                f'{self.img_prefix!r} has {len(wordnet)} folders named by WordNet ids and '
                f'{len(folders) - len(wordnet)} others; ImageNet needs all {len(IMAGENET_CATEGORIES)} to know '
                f'which is which. For a part of them give classes=[{folders[0]!r}, …]')
        return list(IMAGENET_CATEGORIES)
