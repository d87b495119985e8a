"""Pascal VOC: the classes of the objects in an image."""
import os
from collections.abc import Mapping
from typing import Any, Literal
from xml.etree import ElementTree

from ftcls.registry import DATASETS
from ftcls.utils import DataError
from .base_dataset import BaseDataset
from .categories import VOC2007_CATEGORIES
from .list_files import read_lines

__all__ = ['VOC']


@DATASETS.register_module()
class VOC(BaseDataset):
    """Pascal VOC, photographs with objects of 20 classes; an image has any number of labels. ::

        data/VOC2007/             data_root
        ├── JPEGImages/000005.jpg …
        ├── Annotations/000005.xml …
        └── ImageSets/Main/       train.txt, val.txt, trainval.txt, test.txt

    From Everingham et al., "The Pascal Visual Object Classes Challenge", 2010. ``gt_label`` is the classes of objects
    that are not marked as difficult, and ``gt_label_difficult`` those of the others, see
    :class:`~ftcls.evaluation.VOCAveragePrecision`.

    Args:
        data_root: Folder of the dataset.
        split: 'train', 'val', 'trainval' or 'test'; '' needs ``image_set_path``.
        image_set_path: List of the images; '' for that of the split.
        data_prefix: ``dict(img_path='JPEGImages', ann_path='Annotations')`` by default; without ``ann_path``, the
            images have no labels.
        test_mode: See :class:`BaseDataset`.
        metainfo: See :class:`BaseDataset`; objects of other classes than its ``classes`` are left out.
        **kwargs: The other arguments of :class:`BaseDataset`.

    Raises:
        MissingFileError: If a list or an annotation does not exist.
        DataError: If an annotation is broken.
    """

    METAINFO = {'classes': VOC2007_CATEGORIES}
    multi_label = True

    def __init__(self,
                 data_root: str,
                 split: Literal['train', 'val', 'trainval', 'test', ''] = 'trainval',
                 image_set_path: str = '',
                 data_prefix: str | dict = '',
                 test_mode: bool = False,
                 metainfo: Mapping | None = None,
                 **kwargs: Any) -> None:
        self.split = split
        data_prefix = data_prefix or dict(img_path='JPEGImages', ann_path='Annotations')
        ann_file = image_set_path or f'ImageSets/Main/{split}.txt'
        super().__init__(ann_file, metainfo, data_root, data_prefix, test_mode=test_mode, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Return ``dict(img_path, gt_label, gt_label_difficult)`` for every image."""
        folder, found, data_list = self.data_prefix.get('ann_path'), set(), []
        for image in ''.join(read_lines(self.ann_file)).split():
            data_list.append({'img_path': os.path.join(self.img_prefix, f'{image}.jpg')})
            if folder is not None:
                objects = _objects(os.path.join(folder, f'{image}.xml'))
                found |= {name for name, _ in objects}
                for key, flag in (('gt_label', False), ('gt_label_difficult', True)):
                    data_list[-1][key] = [i for name, i in self.class_to_idx.items() if (name, flag) in objects]
        if found:
            self.note_classes(sorted(found))
        return data_list


def _objects(path: str) -> set[tuple[str, bool]]:
    """Return the class of each object of an annotation, and whether it is difficult."""
    try:
        objects = ElementTree.fromstring(''.join(read_lines(path))).iter('object')
    except ElementTree.ParseError as err:
        raise DataError(f'{path} is broken ({err}); fetch it anew') from err
    return {(item.findtext('name', ''), item.findtext('difficult') == '1') for item in objects}
