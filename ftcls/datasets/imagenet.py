"""ImageNet's 1,000 classes (ILSVRC 2012)."""
import os
import re
from collections.abc import Mapping
from typing import Any, Literal

from ftcls.registry import DATASETS
from ftcls.utils import DataError
from .custom import CustomDataset

__all__ = ['ImageNet', 'ImageNet21k']


class _Metainfo:
    """The value of ``METAINFO``, read when it is used, because importing torchvision takes a second."""

    def __get__(self, instance: object, owner: type) -> dict[str, tuple[str, ...]]:
        from torchvision.models._meta import _IMAGENET_CATEGORIES

        return {'classes': tuple(_IMAGENET_CATEGORIES)}


@DATASETS.register_module()
class ImageNet(CustomDataset):
    """ImageNet, ILSVRC 2012 (Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", 2015). ::

        data/imagenet/            data_root
        ├── train/                one folder per class, named by its WordNet id
        │   ├── n01440764/*.JPEG
        │   └── …
        ├── val/                  the same, or all images in one folder with meta/val.txt
        ├── test/                 no labels
        └── meta/                 optional
            └── val.txt           lines of `path label`

    The classes have torchvision's names (``torchvision.models.ResNet50_Weights.DEFAULT.meta['categories']``), in the
    order of the sorted WordNet ids, which is the order of the outputs of all published weights. Folders named by
    WordNet ids are matched by their position, so all 1,000 must exist (those without images too); for a part of them,
    give their ids as ``classes``.

    Args:
        data_root: Folder of the dataset.
        split: Sets ``data_prefix`` to the split, and ``ann_file`` to ``meta/<split>.txt`` if that exists; 'test' has no
            labels. '' keeps both as given.
        data_prefix: See :class:`CustomDataset`.
        ann_file: See :class:`CustomDataset`.
        metainfo: See :class:`BaseDataset`.
        **kwargs: The other arguments of :class:`CustomDataset`.
    """

    METAINFO = _Metainfo()

    def __init__(self,
                 data_root: str = '',
                 split: Literal['', 'train', 'val', 'test'] = '',
                 data_prefix: str | dict = '',
                 ann_file: str = '',
                 metainfo: Mapping | None = None,
                 **kwargs: Any) -> None:
        self.split = split
        if split:
            data_prefix = data_prefix or split
            listing = os.path.join('meta', f'{split}.txt')
            if not ann_file and os.path.isfile(os.path.join(os.path.expanduser(data_root), listing)):
                ann_file = listing
        if split == 'test':
            kwargs.setdefault('with_label', False)
        super().__init__(data_root, data_prefix, ann_file, metainfo=metainfo, **kwargs)

    def folder_names(self, folders: list[str]) -> list[str]:
        """Return the class name of each folder, which is named by a WordNet id or by the class itself."""
        wordnet = [folder for folder in folders if re.fullmatch(r'n\d{8}', folder)]
        if not wordnet or not set(wordnet).isdisjoint(self.CLASSES or wordnet):
            return folders
        names = self.METAINFO['classes']
        if len(wordnet) != len(names) or len(folders) != len(names):
            raise DataError(f'{self.img_prefix!r} has {len(wordnet)} folders named by WordNet ids (of {len(folders)}); '
                            f'ImageNet needs all {len(names)}, or set classes=[{folders[0]!r}, …] to use a part')
        return list(names)


@DATASETS.register_module()
class ImageNet21k(ImageNet):
    """All of ImageNet, 14 million images of 21,841 classes, each in a folder named by its WordNet id, in ``train/``.

    The classes are the folders' names, unless ``classes`` are given. The arguments are those of :class:`ImageNet`.
    """

    METAINFO = {}
