"""Your own pictures: in class folders, or listed in a file."""
import logging
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.logging import print_log

from ftcls.registry import DATASETS
from ftcls.utils import ConfigError, DataError, MissingFileError, nearest
from .base_dataset import BaseDataset, listed, missing_hint
from .csv_annotations import is_table, place, read_rows, row_name

__all__ = ['CustomDataset']

_SPLIT_NAMES = {'train', 'training', 'val', 'valid', 'validation', 'test', 'testing'}
_CHECKED_FILES = 20_000  # so many listed files are looked for on the disk at most, evenly spread


@DATASETS.register_module()
class CustomDataset(BaseDataset):
    """Pictures in class folders, or listed in an annotation file.

    Without ``ann_file``, each folder in ``data_root/data_prefix`` is a class, and the classes are the folders' names in
    alphabetical order, unless ``classes`` are given: ::

        data/pets/train/          data_root='data/pets', data_prefix='train'
        ├── cat/
        │   ├── 01.jpg
        │   └── more/02.png       pictures are found at any depth
        └── dog/
            └── 03.gif

    Files of other kinds, hidden files and folders (``.ipynb_checkpoints``) and ``__MACOSX`` are passed over, and the log
    says so. With ``ann_file``, each line is a path, counted from ``data_prefix``, and a label: ::

        cat/01.jpg cat            a class name (it may hold spaces) …
        my pictures/03.gif 1      … or its number among the classes

    A file that ends in .csv, .tsv or .json is read by :func:`.annotations.read_rows` (``path,label``). Where ``classes`` are
    given, lines with a label that is not among them are left out, with a warning.

    Args:
        data_root: Folder that the others count from.
        data_prefix: Folder of the pictures.
        ann_file: File with a line a picture, CSV or JSON; '' for class folders.
        with_label: Whether there are labels; if not, the folder is searched for pictures, or the lines are paths alone.
        extensions: Endings of picture files, in any case.
        exclude: Pictures to leave out, broken ones for instance, by their paths counted from ``data_prefix``, with '/'.
        metainfo: As of :class:`BaseDataset`.
        lazy_init: As of :class:`BaseDataset`.
        **kwargs: The other arguments of :class:`BaseDataset`, ``classes``, ``pipeline`` and ``test_mode`` among them.

    Raises:
        MissingFileError: If the folder, the annotation file, or a listed picture is not there.
        DataError: If there are no pictures, labels and classes do not fit together, or a picture is listed with two labels.
    """

    def __init__(self,
                 data_root: str = '',
                 data_prefix: str | dict = '',
                 ann_file: str = '',
                 with_label: bool = True,
                 extensions: Sequence[str] = ('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif', '.tiff', '.webp',
                                              '.gif'),
                 exclude: Sequence[str] = (),
                 metainfo: Mapping | None = None,
                 lazy_init: bool = False,
                 **kwargs: Any) -> None:
        if not (data_root or data_prefix or ann_file):
            raise ConfigError(
                f'{type(self).__name__} needs data_root, data_prefix or ann_file: where are the pictures?')
        self.with_label = with_label
        self.extensions = tuple(sorted({extension.lower() for extension in extensions}))
        endings = '|'.join(re.escape(extension) for extension in self.extensions)
        self._path_and_label = re.compile(rf'(.+(?:{endings}))\s+(.+)', flags=re.IGNORECASE)
        #: Classes whose folder holds no picture.
        self.empty_classes: list[str] = []
        self.exclude = (exclude, ) if isinstance(exclude, str) else tuple(exclude)
        #: How many pictures ``exclude`` has left out.
        self.excluded = 0
        #: What the folders hold beside pictures, and how many of it.
        self.skipped: Counter = Counter()
        super().__init__(
            ann_file=ann_file,
            metainfo=metainfo,
            data_root=data_root,
            data_prefix=data_prefix,
            lazy_init=True,
            **kwargs)
        if not lazy_init:
            self.full_init()

    def load_data_list(self) -> list[dict]:
        """Return ``dict(img_path, gt_label)`` for every picture."""
        if self.ann_file:
            return self._without_excluded(self._load_lines())
        if not os.path.isdir(self.img_prefix):
            raise MissingFileError(
                f'{type(self).__name__}: no folder {self.img_prefix!r}{missing_hint(self.img_prefix)}; put '
                'the pictures there, or set data_root and data_prefix to where they are')
        return self._without_excluded(self._load_folders() if self.with_label else self._load_unlabelled())

    def is_valid_file(self, filename: str) -> bool:
        """Tell by its ending whether a file is a picture."""
        return filename.lower().endswith(self.extensions)

    def _load_unlabelled(self) -> list[dict]:
        """Return every picture under the folder, without labels."""
        skipped: Counter = Counter()
        paths = self._pictures(self.img_prefix, skipped)
        self._say_skipped(skipped)
        if not paths:
            raise DataError(f'{type(self).__name__}: no pictures in {self.img_prefix!r}; endings looked for: '
                            f'{", ".join(self.extensions)}')
        return [{'img_path': path} for path in paths]

    def _load_folders(self) -> list[dict]:
        """Return the pictures of the class folders, with labels."""
        skipped: Counter = Counter()
        folders = self._class_folders(skipped)
        names = self.folder_names(folders)
        if self.CLASSES is None:
            self._metainfo['classes'] = tuple(names)
        elif names:
            self.note_classes(names)
        data_list, class_to_idx = [], self.class_to_idx
        for folder, name in zip(folders, names):
            if name not in class_to_idx:
                continue
            paths = self._pictures(os.path.join(self.img_prefix, folder), skipped)
            data_list += [{'img_path': path, 'gt_label': class_to_idx[name]} for path in paths]
            if not paths:
                self.empty_classes.append(name)
        self._say_skipped(skipped)
        if not data_list:
            raise self._no_pictures(folders)
        if self.empty_classes:
            print_log(f'{type(self).__name__}: no pictures in the folders of {listed(self.empty_classes)} in '
                      f'{self.img_prefix}', logger='current')  # yapf: disable
        return data_list

    def folder_names(self, folders: list[str]) -> list[str]:
        """Return the class name of each of the (sorted) class folders: here, the folder's own."""
        if self.given_classes is None and len(folders) > 1 and {folder.lower() for folder in folders} <= _SPLIT_NAMES:
            raise DataError(
                f'the folders in {self.img_prefix!r} are {listed(folders)}: parts of a dataset, not classes; '
                f'choose one with data_prefix={folders[0]!r}')
        return folders

    def _class_folders(self, skipped: Counter) -> list[str]:
        """Return the names of the folders that may be classes, sorted."""
        folders = []
        for entry in sorted(os.scandir(self.img_prefix), key=lambda entry: entry.name):
            if entry.is_dir():
                if _is_clutter(entry.name):
                    skipped[f'folder {entry.name!r}'] += 1
                else:
                    folders.append(entry.name)
        return folders

    def _no_pictures(self, folders: list[str]) -> DataError:
        """Say why there is nothing to be had from the folder."""
        loose = [entry.name for entry in os.scandir(self.img_prefix) if self.is_valid_file(entry.name)]
        if folders:
            why = f'none of its folders {listed(folders)} holds any; endings looked for: {", ".join(self.extensions)}'
        elif loose:
            why = (
                f'{len(loose)} pictures, {loose[0]!r} for one, lie in it directly: put them into one folder a class, or '
                'list them in an ann_file, or set with_label=False')
        else:
            why = 'it has no class folders; expected one folder a class with the pictures in it'
        return DataError(f'{type(self).__name__}: no labelled pictures in {self.img_prefix!r}: {why}')

    def _pictures(self, folder: str, skipped: Counter) -> list[str]:
        """Return the paths of the pictures in ``folder`` at any depth, sorted; count what is passed over."""
        paths, seen = [], set()
        for root, dirs, files in os.walk(folder, followlinks=True):
            real = os.path.realpath(root)
            if real in seen:  # a link to a folder above: a circle
                dirs.clear()
                continue
            seen.add(real)
            for name in [name for name in dirs if _is_clutter(name)]:
                skipped[f'folder {name!r}'] += 1
                dirs.remove(name)
            dirs.sort()
            for name in files:
                if not _is_clutter(name) and self.is_valid_file(name):
                    paths.append(os.path.join(root, name))
                else:
                    skipped['hidden files' if _is_clutter(name) else f'*{Path(name).suffix or " without ending"}'] += 1
        return sorted(paths)

    def _without_excluded(self, data_list: list[dict]) -> list[dict]:
        """Return the samples that ``exclude`` does not name, and say how many it has left out."""
        left_out = set(self.exclude)
        paths = [os.path.relpath(info['img_path'], self.img_prefix or '.').replace(os.sep, '/') for info in data_list]
        kept = [info for info, path in zip(data_list, paths) if path not in left_out]
        self.excluded = len(data_list) - len(kept)
        absent = sorted(left_out - set(paths))
        if left_out:
            print_log(f'{type(self).__name__}: {self.excluded} pictures in {self.img_prefix} left out by `exclude`' +
                      (f'; not there: {listed(absent)}' if absent else ''), logger='current')  # yapf: disable
        return kept

    @property
    def drawn(self) -> str:
        """How the samples were drawn and what was left out, for the preflight; '' where they are all."""
        return '; '.join(filter(None, [super().drawn, f'{self.excluded} left out by exclude' if self.excluded else '']))

    def _say_skipped(self, skipped: Counter) -> None:
        self.skipped += skipped
        if skipped:
            what = ', '.join(f'{name} ({count})' for name, count in sorted(skipped.items()))
            print_log(f'{type(self).__name__}: passed over in {self.img_prefix}: {what}', logger='current')

    def _load_lines(self) -> list[dict]:
        """Return the pictures that the annotation file lists."""
        rows = self._table() if is_table(self.ann_file) else self._lines()
        if self.with_label:
            first_line = {label: line for _, label, line in reversed(rows)}
            index_of = self._match_labels(first_line, Counter(label for _, label, _ in rows))
            self._check_doubled(rows, index_of)
            samples = [{
                'img_path': os.path.join(self.img_prefix, path),
                'gt_label': index_of[label]
            } for path, label, _ in rows if index_of[label] is not None]
        else:
            samples = [{'img_path': os.path.join(self.img_prefix, path)} for path, _, _ in rows]
        self._check_files(samples)
        return samples

    def _table(self) -> list[tuple[str, str, int]]:
        """Return path, label and line of every row of a CSV or JSON file."""
        rows = read_rows(self.ann_file)
        for row in rows if self.with_label else ():
            if len(row.labels) != 1:
                what = f'{len(row.labels)} labels, {listed(row.labels)}' if row.labels else 'no label'
                raise DataError(
                    f'{place(self.ann_file, row.line)}: {row.path!r} has {what}; {type(self).__name__} takes '
                    'one a picture, in the column `label`' +
                    ('' if row.labels else ', or none at all with with_label=False'))
        return [(row.path, ''.join(row.labels[:1]), row.line) for row in rows]

    def _lines(self) -> list[tuple[str, str, int]]:
        """Return path, label and line of every line ``path label``."""
        if not os.path.isfile(self.ann_file):
            raise MissingFileError(f'{type(self).__name__}: ann_file={self.ann_file!r}: no such file'
                                   f'{missing_hint(self.ann_file)}; check data_root and ann_file')
        with open(self.ann_file, encoding='utf-8-sig') as file:
            lines = [(number, line.strip()) for number, line in enumerate(file, start=1) if line.strip()]
        if not lines:
            raise DataError(f'{self.ann_file} is empty; expected a line `path label` for each picture')
        return [(*(self._split(number, line) if self.with_label else (line, '')), number) for number, line in lines]

    def _split(self, number: int, line: str) -> tuple[str, str]:
        """Split a line into path and label: at the last tab, after the ending of a picture, or at the last space."""
        if '\t' in line:
            path, label = line.rsplit('\t', 1)
            return path.strip(), label.strip()
        found = self._path_and_label.fullmatch(line)
        parts = list(found.groups()) if found else line.rsplit(maxsplit=1)
        if len(parts) != 2:
            raise DataError(f'{self.ann_file}, line {number}: {line!r} has no label; expected `path label`, or set '
                            'with_label=False')
        return parts[0], parts[1]

    def _match_labels(self, first_line: dict[str, int], rows: Counter | None = None) -> dict[str, int | None]:
        """Return the index of each label in the file, None for a class that is left out.

        A label that is the name of a class is that class, another whole number is an index. Where no classes are given,
        the list of them is fixed here.

        Args:
            first_line: The labels, with the number of the line that each first stands in.
            rows: How many rows each label has, for a warning where they are left out; None for a line in the log.
        """
        numbers = [int(label) for label in first_line if label.isdecimal()]
        if self.CLASSES is None and len(numbers) == len(first_line):
            self._metainfo['classes'] = tuple(str(index) for index in range(max(numbers) + 1))
            print_log(f'{type(self).__name__}: {self.ann_file} has numbers for labels and no `classes` are given: '
                      f'calling them 0 to {max(numbers)}', logger='current')  # yapf: disable
        elif self.CLASSES is None:
            self._metainfo['classes'] = tuple(sorted(first_line))
        classes, class_to_idx = self.CLASSES, self.class_to_idx
        index_of: dict[str, int | None] = {}
        for label, number in first_line.items():
            index_of[label] = class_to_idx.get(label)
            if index_of[label] is None and re.fullmatch(r'-?\d+', label):
                if not 0 <= int(label) < len(classes):
                    raise DataError(
                        f'{place(self.ann_file, number)}: label {label} is not among the {len(classes)} classes, '
                        f'which count from 0 to {len(classes) - 1}')
                index_of[label] = int(label)
        found = [label if index is None else classes[index] for label, index in index_of.items()]
        self.note_classes(found, say_ignored=rows is None)
        unknown = [label for label, index in index_of.items() if index is None]
        if unknown and rows is not None:
            self._warn_unknown({label: first_line[label] for label in unknown}, rows)
        return index_of

    def _warn_unknown(self, first_line: dict[str, int], rows: Counter) -> None:
        """Warn of the rows that are left out for their labels, which ``first_line`` has with the first line of each."""
        parts = []
        for label, line in list(first_line.items())[:8]:
            near = nearest(label, self.CLASSES, most=1)
            hint = f'; did you mean {near[0]!r}?' if near else ''
            parts.append(f'{label!r} ({_counted(rows[label], "row")}, first in {row_name(self.ann_file, line)}{hint})')
        more = f' and {len(first_line) - len(parts)} more labels' if len(first_line) > len(parts) else ''
        print_log(
            f'{type(self).__name__}: {self.ann_file}: {_counted(sum(rows[label] for label in first_line), "row")} left out, '
            f'because the label is not among the {len(self.CLASSES)} classes: {", ".join(parts)}{more}',
            logger='current',
            level=logging.WARNING)

    def _check_doubled(self, rows: list[tuple[str, str, int]], index_of: dict[str, int | None]) -> None:
        """Refuse pictures that are listed with different labels, and warn of those listed again with the same one."""
        first: dict[str, tuple[str, int]] = {}
        again: dict[str, tuple[str, int, int]] = {}
        wrong: dict[str, str] = {}
        excluded = {os.path.normpath(os.path.join(self.img_prefix, path)) for path in self.exclude}
        for path, label, line in rows:
            place_of = os.path.normpath(os.path.join(self.img_prefix, path))
            before, at = first.setdefault(place_of, (label, line))
            if at == line or place_of in excluded:
                continue
            # a class may stand there by its name and by its number
            if label == before or (index_of[label] is not None and index_of[label] == index_of[before]):
                again.setdefault(place_of, (path, at, line))
            else:
                wrong.setdefault(
                    place_of, f'{path!r} twice with different labels: {before!r} in {row_name(self.ann_file, at)} and '
                    f'{label!r} in {row_name(self.ann_file, line)}')
        if wrong:
            others = f' ({len(wrong)} pictures are listed so)' if len(wrong) > 1 else ''
            raise DataError(
                f'{self.ann_file} lists {next(iter(wrong.values()))}{others}; {type(self).__name__} takes one '
                'label a picture: remove the wrong line; several labels a picture are for MultiLabelDataset')
        if again:
            path, one, other = next(iter(again.values()))
            print_log(
                f'{type(self).__name__}: {self.ann_file} lists {_counted(len(again), "picture")} more than once with the '
                f'same label, {path!r} for one in {row_name(self.ann_file, one)} and {row_name(self.ann_file, other)}; '
                'each counts as often as it is listed',
                logger='current',
                level=logging.WARNING)

    def _check_files(self, samples: list[dict]) -> None:
        """Raise a MissingFileError if listed pictures are not there."""
        step = max(1, len(samples) // _CHECKED_FILES)
        absent = [info['img_path'] for info in samples[::step] if not os.path.isfile(info['img_path'])]
        if absent:
            raise MissingFileError(
                f'{self.ann_file} lists {len(absent)} pictures (of {len(samples[::step])} looked for) that '
                f'are not there, {absent[0]!r} for one{self._near_hint(absent[0])}; paths count from '
                f'data_prefix, which is {self.img_prefix!r}')

    def _near_hint(self, path: str) -> str:
        """Return a hint at pictures beside a missing one that are named like it, endings aside, or at a missing folder."""
        target = Path(path)
        if not target.parent.is_dir():
            return missing_hint(path)
        # endings are left aside: by them alone each picture resembles every other
        names = {entry.stem: entry.name for entry in sorted(target.parent.iterdir()) if self.is_valid_file(entry.name)}
        near = [repr(names[stem]) for stem in nearest(target.stem, names)]
        return f'; did you mean {" or ".join(near)}?' if near else ''


def _counted(count: int, what: str) -> str:
    """Return ``1 row``, ``2 rows``."""
    return f'{count} {what}' + ('' if count == 1 else 's')


def _is_clutter(name: str) -> bool:
    """Tell whether a file or folder is hidden, or is what macOS puts into archives."""
    return name.startswith('.') or name == '__MACOSX'
