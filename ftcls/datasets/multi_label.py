"""Your own images with any number of labels each."""
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ftcls.registry import DATASETS
from ftcls.utils import ConfigError, DataError, did_you_mean
from ftcls.utils.tree import as_list
from .base_dataset import BaseDataset
from .csv_annotations import Row, first_rows, is_table, read_rows
from .custom import CustomDataset
from .list_files import is_data, read_data

__all__ = ['MultiLabelDataset']


@DATASETS.register_module()
class MultiLabelDataset(CustomDataset):
    """Images with any number of labels each, or none, listed in a CSV, JSON or YAML file.

    The file is read by :func:`.csv_annotations.read_rows`: an image's labels are in one cell, separated by ``;``, in
    several columns, in columns of 0 and 1 named by the classes, or in a list. Or it is an OpenMMLab 2.0 annotation
    file, which numbers the classes: ::

        path,labels        [{"path": "a.jpg", "labels": ["beach", "sea"]},    {"metainfo": {"classes": ["beach"]},
        a.jpg,beach;sea     {"path": "b.jpg", "labels": []}]                   "data_list": [
        b.jpg,                                                                 {"img_path": "a.jpg", "gt_label": [0]}]}

    The classes are ``classes``, else those of the OpenMMLab file, else the labels of the file in alphabetical order.

    Args:
        ann_file: File that ends in .csv, .tsv, .json or .yaml.
        metainfo: See :class:`BaseDataset`.
        data_root: Folder that the others are relative to.
        data_prefix: Folder that the images' paths are relative to.
        other_labels: What happens to a label that is not among ``classes``: 'error' stops, since with a misspelt
            label the image would count as one without it; 'ignore' leaves it out. (In an OpenMMLab file labels cannot
            be misspelt; there, ``classes`` decides.)
        **kwargs: The other arguments of :class:`CustomDataset`, such as ``classes``, ``pipeline`` and ``split``.

    Raises:
        ConfigError: If ``ann_file`` has another ending.
        MissingFileError: If the file, or a listed image, does not exist.
        DataError: If labels and classes do not match, or no image has a label.
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
            raise ConfigError(f'ann_file={ann_file!r} must end in .csv, .tsv, .json, .yaml or .yml; save it as such')
        self.other_labels = other_labels
        super().__init__(data_root=data_root, data_prefix=data_prefix, ann_file=ann_file, metainfo=metainfo, **kwargs)

    def _load_listed(self) -> list[dict]:
        """Return the images that the file lists."""
        if is_data(self.ann_file) and isinstance(read_data(self.ann_file), dict):
            samples = BaseDataset.load_data_list(self)
            self._check_files((), [info['img_path'] for info in samples])
            return samples
        rows = read_rows(self.ann_file, self.with_label)
        samples = [{'img_path': file} for file in self._files_of(rows)]
        if self.with_label:
            index_of = self._indices_of(rows)
            for info, row in zip(samples, rows):
                indices = dict.fromkeys(index_of[label] for label in row.labels)
                info['gt_label'] = [index for index in indices if index is not None]
            self._check_repeated(rows, samples)
        self._check_files(rows, [info['img_path'] for info in samples])
        return samples

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """Return a sample of an OpenMMLab file, its labels, ``gt_label`` or ``img_label``, as a list."""
        info = super().parse_data_info(raw_data_info)
        if (labels := info.get('gt_label', info.pop('img_label', None))) is None:
            raise DataError(f'{self.ann_file}: {info["img_path"]!r} has no `gt_label`; write [] for no label')
        info['gt_label'] = list(dict.fromkeys(as_list(labels)))
        return info

    def _indices_of(self, rows: Sequence[Row]) -> dict[str, int | None]:
        """Return the class index of every label, None if it is left out; set the list of classes if none is given."""
        if not (labelled := [row for row in rows if row.labels]):
            raise DataError(f'{self.ann_file}: none of its {len(rows)} images has a label in the column `labels`')
        index_of = self._match_labels(rows, log_ignored=True)
        for label, row in first_rows(labelled).items():
            inner = [part for part in re.split(r'\s*[|,;]\s*', label) if part != label and part in index_of]
            if inner and self.given_classes is None:
                raise DataError(f'{self.ann_file}, {row.where}: the label {label!r} contains {inner[0]!r}, another '
                                'label; separate labels by `;` (in JSON, as a list), or set `classes`')
        unknown = [label for label, index in index_of.items() if index is None]
        if unknown and self.other_labels == 'error':
            hint = did_you_mean(unknown[0], self.CLASSES)
            text = f'{unknown[0]!r} is not among the {len(self.CLASSES)} classes{hint}'
            raise DataError(f'{self.ann_file}, {first_rows(rows)[unknown[0]].where}: {text} Correct it, add it to '
                            f"`classes`, or set other_labels='ignore' ({len(unknown)} labels)")
        return index_of
