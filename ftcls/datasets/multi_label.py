"""Your own pictures with any number of labels each."""
import json
import os
from collections.abc import Mapping
from typing import Any, Literal

from ftcls.registry import DATASETS
from ftcls.utils import ConfigError, DataError, did_you_mean
from .base_dataset import BaseDataset
from .csv_annotations import is_table, place, read_rows
from .custom import CustomDataset
from .transforms.base import choice_of

__all__ = ['MultiLabelDataset']


@DATASETS.register_module()
class MultiLabelDataset(CustomDataset):
    """Pictures with any number of labels each, also none, listed in a CSV or JSON file.

    The list is one that :func:`.annotations.read_rows` reads: a picture's labels in one cell, parted by ``;``, in several
    columns, or in a list. Or it is an OpenMMLab 2.0 annotation file, which numbers the classes: ::

        path,labels          [{"path": "a.jpg", "labels": ["beach", "sea"]},   {"metainfo": {"classes": ["beach", "sea"]},
        a.jpg,beach;sea       {"path": "b.jpg", "labels": []}]                  "data_list": [
        b.jpg,                                                                    {"img_path": "a.jpg", "gt_label": [0, 1]}]}

    The classes are ``classes``, else those of the OpenMMLab file, else the labels of the list in alphabetical order.

    Args:
        ann_file: File that ends in .csv, .tsv or .json.
        metainfo: As of :class:`BaseDataset`.
        data_root: Folder that the others count from.
        data_prefix: Folder that the pictures' paths count from.
        other_labels: What happens to a label in a list that is not among ``classes``: 'error' stops, since a misspelt label
            would be one that the picture has not; 'ignore' leaves it out. (Of an OpenMMLab file, whose labels cannot be
            misspelt, ``classes`` chooses.)
        **kwargs: The other arguments of :class:`CustomDataset`, ``classes``, ``pipeline`` and ``split`` among them.

    Raises:
        ConfigError: If ``ann_file`` is of another kind, or ``other_labels`` another word.
        MissingFileError: If the file, or a listed picture, is not there.
        DataError: If labels and classes do not fit together, or no picture has a label.
    """

    multi_label = True

    def __init__(self,
                 ann_file: str,
                 metainfo: Mapping | None = None,
                 data_root: str = '',
                 data_prefix: str | dict = '',
                 other_labels: Literal['error', 'ignore'] = 'error',
                 **kwargs: Any) -> None:
        if not is_table(ann_file):
            raise ConfigError(
                f'{type(self).__name__}: ann_file={ann_file!r}: expected a file that ends in .csv, .tsv or '
                '.json; one label a picture, in folders or a text file, is read by CustomDataset')
        self.other_labels = choice_of(other_labels, ('error', 'ignore'), 'other_labels')
        super().__init__(data_root=data_root, data_prefix=data_prefix, ann_file=ann_file, metainfo=metainfo, **kwargs)

    def _load_lines(self) -> list[dict]:
        """Return the pictures that the file lists."""
        if self._is_openmmlab():
            samples = BaseDataset.load_data_list(self)
        else:
            rows = read_rows(self.ann_file)
            samples = [{'img_path': os.path.join(self.img_prefix, row.path)} for row in rows]
            for info, labels in zip(samples, self._numbered(rows) if self.with_label else ()):
                info['gt_label'] = labels
        self._check_files(samples)
        return samples

    def _is_openmmlab(self) -> bool:
        if not self.ann_file.lower().endswith('.json') or not os.path.isfile(self.ann_file):
            return False
        with open(self.ann_file, 'rb') as file:
            return file.read(1000).lstrip(b'\xef\xbb\xbf \t\r\n').startswith(b'{')

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """Return a sample of an OpenMMLab file, its labels, ``gt_label`` or ``img_label``, as a list."""
        info = super().parse_data_info(raw_data_info)
        labels = info.pop('img_label', None)
        labels = info.get('gt_label', labels)
        if labels is None:
            raise DataError(
                f'{self.ann_file}: {raw_data_info.get("img_path")!r} has no `gt_label`; of a picture without '
                f'labels it is []: {json.dumps(raw_data_info, default=str)[:200]}')
        info['gt_label'] = list(dict.fromkeys(labels)) if isinstance(labels, list | tuple) else [labels]
        return info

    def _numbered(self, rows: list) -> list[list[int]]:
        """Return the class indices of every row; fix the list of classes where none is given."""
        first_line: dict[str, int] = {}
        for row in rows:
            for label in row.labels:
                first_line.setdefault(label, row.line)
        if not first_line:
            raise DataError(f'{self.ann_file}: none of its {len(rows)} pictures has a label; they stand in the column '
                            '`labels`, parted by `;`')
        index_of = self._match_labels(first_line)
        unknown = [label for label, index in index_of.items() if index is None]
        if unknown and self.other_labels == 'error':
            raise DataError(
                f'{place(self.ann_file, first_line[unknown[0]])}: {unknown[0]!r} is not among the '
                f'{len(self.CLASSES)} classes{did_you_mean(unknown[0], self.CLASSES)}; correct it, add it to '
                '`classes`, or leave out all that are not among them by other_labels=\'ignore\'' +
                (f' ({len(unknown)} labels)' if len(unknown) > 1 else ''))
        known = [[index_of[label] for label in row.labels if index_of[label] is not None] for row in rows]
        return [list(dict.fromkeys(labels)) for labels in known]
