"""Your own images: in class folders, or listed in a file."""
import logging
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ftcls.registry import DATASETS
from ftcls.utils import ConfigError, DataError, MissingFileError, did_you_mean, nearest
from ftcls.utils.names import enumerate_names, plural
from ftcls.utils.tree import as_list, grouped
from .base_dataset import BaseDataset, listed
from .csv_annotations import Row, check_labels, first_rows, is_number, is_table, read_rows, warn_if_alike
from .headers import IMAGE_SUFFIXES
from .image_folders import ImageFinder, folders_above, is_clutter
from .list_files import missing_hint, read_lines

__all__ = ['CustomDataset']

_SPLIT_NAMES = {'train', 'training', 'val', 'valid', 'validation', 'test', 'testing'}
_LOOSE = 'images beside the class folders'
_LOOKED_INTO = 3  # of so many class folders, the folders in them are looked at
_CHECKED_FILES = 20_000  # of more listed files, so many are looked up on the disk, evenly spread


@DATASETS.register_module()
class CustomDataset(BaseDataset):
    """Images in class folders, or listed in an annotation file.

    Without ``ann_file``, each folder in ``data_root/data_prefix`` is a class, and the classes are the folders' names in
    alphabetical order, unless ``classes`` are given: ::

        data/pets/train/          data_root='data/pets', data_prefix='train'
        ├── cat/
        │   ├── 01.jpg
        │   └── more/02.png       images are found at any depth
        └── dog/
            └── 03.gif

    Files of other kinds, hidden files and folders (``.ipynb_checkpoints``), those of systems (``__MACOSX``) and images
    beside the class folders are skipped, and the log names them. With ``ann_file``, each line is a path, relative to
    ``data_prefix``, and a label: ::

        cat/01.jpg cat            a class name (it may contain spaces) …
        my images/03.gif 1        … or its number among the classes

    A file that ends in .csv, .tsv, .json or .yaml is read by :func:`.csv_annotations.read_rows` (``path,label``). If
    ``classes`` are given, lines with a label that is not among them are left out, with a warning.

    Args:
        data_root: Folder that the others are relative to.
        data_prefix: Folder of the images.
        ann_file: File with one line per image, CSV, JSON or YAML; '' for class folders.
        with_label: Whether there are labels; if not, the folder is searched for images, or the lines are paths alone.
        extensions: Endings of image files, in any case. If they are not given, other files in class folders whose
            content is an image count too, for example ``.jfif``.
        exclude: Images to leave out, for example broken ones, by their paths relative to ``data_prefix``, with '/'.
        **kwargs: The other arguments of :class:`BaseDataset`, such as ``classes``, ``pipeline`` and ``test_mode``.

    Raises:
        MissingFileError: If the folder, the annotation file, or a listed image does not exist.
        DataError: If there are no images, labels and classes do not match, or an image is listed with two labels.
    """

    def __init__(self,
                 data_root: str = '',
                 data_prefix: str | dict = '',
                 ann_file: str = '',
                 with_label: bool = True,
                 extensions: Sequence[str] = IMAGE_SUFFIXES,
                 exclude: str | Sequence[str] = (),
                 **kwargs: Any) -> None:
        if not (data_root or data_prefix or ann_file):
            raise ConfigError(f'{type(self).__name__}: set data_root, data_prefix or ann_file to where the images are')
        self.with_label = with_label
        self.extensions = tuple(sorted({extension.lower() for extension in extensions}))
        self.empty_classes: list[str] = []  #: Classes whose folder has no images.
        self.exclude = frozenset(as_list(exclude))
        self.excluded = 0  #: How many images ``exclude`` has left out.
        self.finder = ImageFinder(self.extensions)  #: Finds the images in folders, and counts what else is there.
        self.skipped = self.finder.skipped
        super().__init__(ann_file=ann_file, data_root=data_root, data_prefix=data_prefix, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Return ``dict(img_path, gt_label)`` for every image."""
        if self.ann_file:
            return self._without_excluded(self._load_listed())
        if not os.path.isdir(self.img_prefix):
            hint = missing_hint(self.img_prefix)
            raise MissingFileError(f'no folder {self.img_prefix!r}{hint}; correct data_root and data_prefix')
        folders = self._class_folders() if self.with_label else []
        data_list = self._load_folders(folders)
        if self.skipped:
            counts = ', '.join(f'{what} ({count})' for what, count in sorted(self.skipped.items()))
            level = logging.WARNING if _LOOSE in self.skipped or self.finder.unread() else logging.INFO
            self.log(f'skipped in {self.img_prefix}: {counts}', level)
        if not data_list:
            raise DataError(f'no images in {self.img_prefix!r}: {self._why_none(folders)}')
        if self.empty_classes:
            self.log(f'no images in the folders {listed(self.empty_classes)} in {self.img_prefix}')
        return self._without_excluded(data_list)

    def is_valid_file(self, filename: str) -> bool:
        """Tell by its ending whether a file is an image."""
        return self.finder.has_ending(filename)

    def _class_folders(self) -> list[str]:
        """Return the names of the folders that may be classes, sorted."""
        folders, above = _folders_in(self.img_prefix), folders_above(os.path.join(self.img_prefix, 'class'))
        self.skipped.update(f'folder {name!r}' for name in folders if is_clutter(name))
        circles = [name for name in folders if os.path.realpath(os.path.join(self.img_prefix, name)) in above]
        self.skipped.update(f'link {name!r} to a folder above it' for name in circles)
        folders = [name for name in folders if not is_clutter(name) and name not in circles]
        if loose := folders and self._images_in(self.img_prefix):
            self.skipped[_LOOSE] += loose
        return folders

    def _load_folders(self, folders: list[str]) -> list[dict]:
        """Return the images of the class folders, with labels; or all images without any."""
        if not self.with_label:
            return [{'img_path': path} for path in self.finder.find(self.img_prefix)]
        names = self.folder_names(folders)
        if self.CLASSES is None:
            self._metainfo['classes'] = tuple(names)
        elif names:
            self.note_classes(names)
        data_list, class_to_idx = [], self.class_to_idx
        for folder, name in zip(folders, names):
            if name not in class_to_idx:
                continue
            paths = self.finder.find(os.path.join(self.img_prefix, folder))
            data_list += [{'img_path': path, 'gt_label': class_to_idx[name]} for path in paths]
            if not paths:
                self.empty_classes.append(name)
        return data_list

    def folder_names(self, folders: list[str]) -> list[str]:
        """Return the class name of each of the (sorted) class folders: here, the folder's own."""
        if self.given_classes is not None:
            return folders
        warn_if_alike(self.img_prefix, dict(zip(folders, map(repr, folders))))
        first = os.path.join(self.img_prefix, *folders[:1])
        if len(folders) == 1 and len(inner := _folders_in(first)) > 1 and not self._images_in(first):
            raise DataError(f'{self.img_prefix!r} has one class folder, {folders[0]!r}, and in it {listed(inner)}: add '
                            f'{folders[0]!r} to data_prefix, or set classes={folders!r} if they are one class')
        for folder in ['', *folders[:_LOOKED_INTO]]:
            path = os.path.join(self.img_prefix, folder)
            parts = [name for name in _folders_in(path) if name.lower() in _SPLIT_NAMES]
            if len(parts) > 1:
                raise DataError(f'{path!r} has the folders {listed(parts)}, parts of a dataset, not classes; put the '
                                'class folders into each part, and set data_prefix to one part')
        return folders

    def _why_none(self, folders: list[str]) -> str:
        """Return why the folder gives no images, and what to change."""
        endings = f'endings searched for: {", ".join(self.extensions)}'
        if folders:
            return f'none of its folders {listed(folders)} has any; {endings}'
        if not self.with_label:
            return endings
        if loose := self._images_in(self.img_prefix):
            return f'it has {loose} images but no class folders; make some, or set ann_file or with_label=False'
        return 'it has no class folders; expected one folder per class with the images in it'

    def _images_in(self, folder: str) -> int:
        return sum(self.is_valid_file(entry.name) and entry.is_file() for entry in os.scandir(folder))

    def _without_excluded(self, data_list: list[dict]) -> list[dict]:
        """Return the samples that ``exclude`` does not name, and log how many it has left out."""
        if not self.exclude:
            return data_list
        paths = self.image_names(data_list)
        kept = [info for info, path in zip(data_list, paths) if path not in self.exclude]
        self.excluded = len(data_list) - len(kept)
        absent = sorted(self.exclude.difference(paths))
        more = f'; not found: {listed(absent)}' if absent else ''
        self.log(f'{self.excluded} images in {self.img_prefix} left out by `exclude`{more}')
        return kept

    @property
    def drawn(self) -> str:
        """How the samples were drawn and what was left out, for the preflight; '' if they are all."""
        parts = [super().drawn]
        if self.excluded:
            parts.append(f'{self.excluded} left out by exclude')
        return '; '.join(filter(None, [*parts, *self.finder.describe()]))

    def _load_listed(self) -> list[dict]:
        """Return the images that the annotation file lists."""
        rows = self._rows()
        samples = [{'img_path': file} for file in self._files_of(rows)]
        if self.with_label:
            index_of = self._match_labels(rows)
            for row, info in zip(rows, samples):
                info['gt_label'] = index_of[row.labels[0]]
            self._warn_of_unknown([row for row in rows if index_of[row.labels[0]] is None])
            self._check_repeated(rows, samples)
        kept = [(row, info) for row, info in zip(rows, samples) if info.get('gt_label', 0) is not None]
        self._check_files([row for row, _ in kept], [info['img_path'] for _, info in kept])
        return [info for _, info in kept]

    def _files_of(self, rows: Sequence[Row]) -> list[str]:
        """Return the file of each row; a backslash is a separator, as on Windows, if the file is there that way."""
        files = [os.path.join(self.img_prefix, row.path) for row in rows]
        turned = {file: file.replace('\\', '/') for file in files if '\\' in file and not os.path.isfile(file)}
        if turned := {file: other for file, other in turned.items() if os.path.isfile(other)}:
            self.log(f'{self.ann_file}: {plural(len(turned), "path")} with backslashes, read as {"/"!r}')
        return [turned.get(file, file) for file in files]

    def _rows(self) -> list[Row]:
        """Return the rows of the annotation file; with labels, each has exactly one."""
        if not is_table(self.ann_file):
            return self._read_lines()
        rows = read_rows(self.ann_file, self.with_label)
        for row in rows:
            if self.with_label and len(row.labels) != 1:
                labels = listed(row.labels) or 'none'
                raise DataError(f'{self.ann_file}, {row.where}: {row.path!r} needs one label, has {labels}; correct '
                                'it, use MultiLabelDataset, or set with_label=False')
        return rows

    def _read_lines(self) -> list[Row]:
        """Return the rows of a text file with lines ``path label``."""
        numbered = enumerate(map(str.strip, read_lines(self.ann_file)), start=1)
        if not (lines := [(f'line {number}', line) for number, line in numbered if line]):
            raise DataError(f'{self.ann_file} is empty; expected a line `path label` for each image')
        if not self.with_label:
            return [Row(line, (), where) for where, line in lines]
        endings = '|'.join(map(re.escape, self.extensions))
        path_and_label = re.compile(rf'(.+(?:{endings}))\s+(.+)', flags=re.IGNORECASE)
        return [self._split_line(line, where, path_and_label) for where, line in lines]

    def _split_line(self, line: str, where: str, path_and_label: re.Pattern) -> Row:
        """Split a line into path and label: at the last tab, after the ending of an image, or at the last space."""
        parts = line.rsplit(maxsplit=1)
        if '\t' in line:
            parts = line.rsplit('\t', 1)
        elif found := path_and_label.fullmatch(line):
            parts = found.groups()
        if len(parts) != 2:
            raise DataError(f'{self.ann_file}, {where}: {line!r} has no label; add it after a space (with commas, name '
                            'the file .csv), or set with_label=False')
        return Row(parts[0].strip(), (parts[1].strip(), ), where)

    def _match_labels(self, rows: Sequence[Row], log_ignored: bool = False) -> dict[str, int | None]:
        """Return the index of each label in the file, None for a class that is left out.

        A label that is the name of a class is that class; another whole number is an index, unless classes are named by
        numbers. If no classes are given, the list of them is set here.

        Args:
            rows: The rows of the file.
            log_ignored: Whether to log the labels that are left out; False if the caller warns of them.
        """
        first_row = first_rows(rows)
        check_labels(self.ann_file, first_row, self.CLASSES)
        if self.CLASSES is None and all(map(str.isdecimal, first_row)):
            self._metainfo['classes'] = tuple(str(index) for index in range(max(map(int, first_row)) + 1))
            last = self.CLASSES[-1]
            self.log(f'the labels in {self.ann_file} are numbers, without `classes` they are called 0 to {last}')
        elif self.CLASSES is None:
            self._metainfo['classes'] = tuple(sorted(first_row))
        by_name = self.class_to_idx
        by_number = {str(index): index for index in range(len(self.CLASSES))}
        if any(map(is_number, self.CLASSES)):
            by_number = by_name
        numbers = {label: by_number.get(label.isdecimal() and str(int(label))) for label in first_row}
        index_of = {label: by_name.get(label, number) for label, number in numbers.items()}
        class_of = [label if index is None else self.CLASSES[index] for label, index in index_of.items()]
        self.note_classes(class_of, log_ignored)
        return index_of

    def _warn_of_unknown(self, rows: Sequence[Row]) -> None:
        """Warn of the rows that are left out because of their labels."""
        counts = Counter(row.labels[0] for row in rows)
        parts = []
        for label, row in first_rows(rows).items():
            hint = did_you_mean(label, self.CLASSES, most=1, lists=False)
            parts.append(f'{label!r} ({plural(counts[label], "row")}, first in {row.where}{hint})')
        if parts:
            why = f'because the label is not among the {len(self.CLASSES)} classes: {enumerate_names(parts, 8)}'
            self.log(f'{self.ann_file}: {plural(len(rows), "row")} left out, {why}', logging.WARNING)

    def _check_repeated(self, rows: Sequence[Row], samples: Sequence[dict]) -> None:
        """Refuse images that are listed with different labels, and warn of those listed again with the same ones."""
        files = [os.path.normpath(info['img_path']) for info in samples]
        if len(set(files)) == len(files):
            return
        excluded = {os.path.normpath(os.path.join(self.img_prefix, path)) for path in self.exclude}
        labelled = [(row, set(as_list(info['gt_label']))) for row, info in zip(rows, samples)]
        groups = grouped((file, one) for file, one in zip(files, labelled) if file not in excluded)
        again = [group for group in groups.values() if len(group) > 1]
        if wrong := [group for group in again if any(labels != group[0][1] for _, labels in group)]:
            (one, labels), *others = wrong[0]
            other = next(row for row, some in others if some != labels)
            remedy = 'put all labels into one row' if self.multi_label else 'correct it, or use MultiLabelDataset'
            labels = f'{listed(one.labels)} in {one.where} and {listed(other.labels)} in {other.where}'
            raise DataError(f'{self.ann_file} lists {other.path!r} twice with different labels: {labels} '
                            f'({plural(len(wrong), "image")} so); {remedy}')
        if again:
            one, other = again[0][0][0], again[0][1][0]
            text = f'{self.ann_file} lists {plural(len(again), "image")} more than once with the same label'
            self.log(f'{text}, such as {other.path!r} in {one.where} and {other.where}; each counts', logging.WARNING)

    def _check_files(self, rows: Sequence[Row], files: Sequence[str]) -> None:
        """Raise a MissingFileError if listed images do not exist; an OpenMMLab file has no rows."""
        checked = range(0, len(files), max(1, len(files) // _CHECKED_FILES))
        if absent := [index for index in checked if not os.path.isfile(files[index])]:
            names = [files[index] for index in absent]
            if rows:
                names = [f'{rows[index].path!r} ({rows[index].where})' for index in absent]
            raise MissingFileError(f'{self.ann_file} lists images that do not exist, {len(absent)} of {len(checked)} '
                                   f'checked: {enumerate_names(names, 3)}{self._remedy(files[absent[0]])}; paths are '
                                   f'relative to data_prefix, now {self.img_prefix!r}')

    def _remedy(self, path: str) -> str:
        """Return where a missing image is: below another folder, or beside it under a similar name."""
        listed_path = path.removeprefix(os.path.join(self.img_prefix, ''))
        parts = re.split(r'[\\/]', listed_path)
        for rest in ('/'.join(parts[first:]) for first in range(1, len(parts))):
            if os.path.isfile(os.path.join(self.img_prefix, rest)):
                return f'; {rest!r} is there: remove {listed_path[:-len(rest)]!r} from the paths'
        for folder in sorted(Path(self.img_prefix or '.').glob('*/')):
            if (folder / listed_path).is_file():
                return f'; it is in {str(folder)!r}: set data_prefix to this folder'
        target = Path(path)
        if not target.parent.is_dir():
            return missing_hint(path)
        # without the endings, by which each image resembles every other
        names = {entry.stem: entry.name for entry in sorted(target.parent.iterdir()) if self.is_valid_file(entry.name)}
        near = [repr(names[stem]) for stem in nearest(target.stem, names)]
        return f'; did you mean {" or ".join(near)}?' if near else ''


def _folders_in(path: str) -> list[str]:
    return sorted(name for name in os.listdir(path) if os.path.isdir(os.path.join(path, name)))
