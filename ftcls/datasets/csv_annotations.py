"""Lists of images and labels: CSV with a header, JSON or YAML."""
import csv
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmengine.logging import print_log

from ftcls.utils import DataError, nearest
from ftcls.utils.tree import as_list
from .base_dataset import listed
from .list_files import is_data, read_data, read_lines

__all__ = ['Row', 'alike', 'check_labels', 'first_rows', 'is_table', 'read_rows']

_PATH_NAMES = ('path', 'img_path', 'filename')
_LABEL_NAME = re.compile(r'(gt_)?labels?[ _]?\d*', flags=re.IGNORECASE)
_IMAGE_NAME = re.compile(r'.+\.(jpe?g|png|bmp|gif|tiff?|webp|p[gp]m)', flags=re.IGNORECASE)
_NUMBER = re.compile(r'[-+.\d\s]*\d[-+.\d\s]*')
_FLAGS = {'': False, '0': False, '0.0': False, 'false': False, '1': True, '1.0': True, 'true': True}

# Where an entry of a list is in the file, and its cells: (name of the column, value).
_Entry = tuple[str, list[tuple[str, Any]]]


@dataclass(frozen=True)
class Row:
    """One image of a list.

    Attributes:
        path: As in the file.
        labels: Its labels, each once, in the file's order; numbers as text; () without any.
        where: Where it is in the file, from 1: ``'line 3'``, in JSON and YAML ``'entry 3'``.
    """
    path: str
    labels: tuple[str, ...]
    where: str


def is_table(ann_file: str) -> bool:
    """Tell by its ending whether :func:`read_rows` reads a file: .csv, .tsv, .json, .yaml or .yml."""
    return ann_file.lower().endswith(('.csv', '.tsv')) or is_data(ann_file)


def read_rows(ann_file: str, with_label: bool = True) -> list[Row]:
    """Read a list of images: ::

        path,label          path,label,label2       path,cat,dog        [{"path": "a.jpg", "label": "cat"},
        a.jpg,cat           a.jpg,cat,              a.jpg,1,0            {"path": "b.jpg", "labels": ["cat", "dog"]}]
        b.jpg,cat;dog       b.jpg,cat,dog           b.jpg,1,1

    A CSV file has a header; commas, tabs, semicolons or bars separate its columns, and ``;`` the labels in a cell. The
    images are in the column ``path`` (``img_path``, ``filename``), the labels in ``label``, ``labels``, ``label2`` …;
    without these, columns of 0 and 1 are classes. Other columns are skipped, and the log names them. A JSON or YAML
    file is a list of dicts with the same keys; a label is text, a whole number, or a list of these.

    Args:
        ann_file: The file.
        with_label: Whether labels are needed.

    Raises:
        MissingFileError: If the file does not exist.
        DataError: If it has another form; the message names the line.
    """
    entries = list(_from_data(ann_file) if is_data(ann_file) else _from_csv(ann_file))
    if not entries:
        raise DataError(f'{ann_file} lists no images; it needs a header and a line `path,label` for each image')
    names = list(dict.fromkeys(name for _, cells in entries for name, _ in cells))
    paths = [name for path_name in _PATH_NAMES for name in names if name.lower() == path_name]
    if not paths:
        raise _no_path_column(ann_file, names, entries)
    labels = [name for name in names if _LABEL_NAME.fullmatch(name)]
    others = [name for name in names if name not in (*paths, *labels)]
    flags = []
    if with_label and not labels:
        flags = _flag_columns(ann_file, others, entries)
    if skipped := [name for name in others if name not in flags]:
        print_log(f'{ann_file}: skipped the columns {listed(skipped)}', logger='current')
    return [_row(ann_file, entry, paths, flags) for entry in entries]


def _from_csv(ann_file: str) -> Iterator[_Entry]:
    lines = read_lines(ann_file)
    first_line = next((line for line in lines if line.strip()), '')
    delimiter = max(',\t;|', key=first_line.count)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    header: list[str] = []
    try:
        for cells in reader:
            cells = [cell.strip() for cell in cells]
            if not any(cells):
                continue
            if not header:
                header = cells
                continue
            where = f'line {reader.line_num}'
            if len(cells) > len(header):
                raise DataError(
                    f'{ann_file}, {where}: {len(cells)} columns below a header of {len(header)}; put a cell that '
                    f'contains {delimiter!r} into double quotes')
            other = next((mark for mark in '\t|;' if mark in cells[0]), None)
            if len(cells) == 1 < len(header) and other:
                raise DataError(
                    f'{ann_file}, {where}: {other!r} separates the columns here, {delimiter!r} in the header')
            cells += [''] * (len(header) - len(cells))
            yield where, [(name, cell.split(';') if _LABEL_NAME.fullmatch(name) else cell)
                          for name, cell in zip(header, cells)]
    except csv.Error as err:
        raise DataError(f'{ann_file}, line {reader.line_num}: {err}; is a double quote left open?') from None


def _from_data(ann_file: str) -> Iterator[_Entry]:
    entries = read_data(ann_file)
    if isinstance(entries, dict) and 'data_list' in entries:
        raise DataError(f'{ann_file} is an OpenMMLab 2.0 annotation file: use BaseDataset to read it')
    if not isinstance(entries, list):
        raise DataError(f'{ann_file} must hold a list of {{"path": …, "label": …}}')
    for number, entry in enumerate(entries, start=1):
        where = f'entry {number}'
        if not isinstance(entry, Mapping):
            raise DataError(f'{ann_file}, {where}: expected {{"path": …, "label": …}}, got {str(entry)[:100]!r}')
        yield where, [(str(name), value) for name, value in entry.items()]


def _no_path_column(ann_file: str, names: Sequence[str], entries: Sequence[_Entry]) -> DataError:
    """Return the error on a list none of whose columns is named as paths are."""
    where, cells = entries[0]
    if any(map(_IMAGE_NAME.fullmatch, names)):
        return DataError(
            f'{ann_file}, line 1: {listed(names)} are no names of columns; add the line `path,label` above')
    near = next((name for name in names if nearest(name, _PATH_NAMES)), None)
    of_images = next((name for name, value in cells if _IMAGE_NAME.fullmatch(str(value))), near)
    hint = f'; rename {of_images!r} to path' if of_images else ''
    return DataError(f'{ann_file}: no column is named path, among {listed(names)}; '
                     f'allowed are {", ".join(_PATH_NAMES)}, and label, labels, gt_label, label2 …{hint}')


def _flag_columns(ann_file: str, names: Sequence[str], entries: Sequence[_Entry]) -> list[str]:
    """Return the columns that have only 0 and 1, one for each class.

    Raises:
        DataError: If there are less than two.
    """
    others = {name for _, cells in entries for name, value in cells if str(value).strip().lower() not in _FLAGS}
    flags = [name for name in names if name not in others]
    if len(flags) < 2:
        hint = f'; rename {names[0]!r} to label' if len(names) == 1 else ''
        raise DataError(f'{ann_file} has no column of labels: name it label, labels, gt_label or label2 …, or give a '
                        f'column of 0 and 1 for each class; there is {listed(names) or "none but the paths"}{hint}')
    empty = set(flags) - {name for _, cells in entries for name, value in cells if _is_set(value)}
    hint = f'; no image has {listed(sorted(empty))}, which are classes only if `classes` says so' if empty else ''
    print_log(f'{ann_file}: read the classes from the columns of 0 and 1, {listed(flags)}{hint}', logger='current')
    return flags


def _is_set(value: Any) -> bool:
    return _FLAGS.get(str(value).strip().lower(), False)


def _row(ann_file: str, entry: _Entry, paths: Sequence[str], flags: Sequence[str]) -> Row:
    where, cells = entry
    by_name = dict(cells)
    path = next((by_name[name] for name in paths if by_name.get(name) not in (None, '')), '')
    if not isinstance(path, str):
        raise DataError(f'{ann_file}, {where}: "path" must be text, got {path!r}; put it into quotes')
    if not path.strip():
        raise DataError(f'{ann_file}, {where}: has no path; give the image\'s under `path`')
    labels: list[str] = []
    for name, value in cells:
        if _LABEL_NAME.fullmatch(name) and value is not None:
            labels += _texts(f'{ann_file}, {where}', value)
        elif name in flags and _is_set(value):
            labels.append(name)
    return Row(path.strip(), tuple(dict.fromkeys(label.strip() for label in labels if label.strip())), where)


def _texts(place: str, value: Any) -> list[str]:
    """Return the labels of a cell as text."""
    labels = as_list(value)
    for label in labels:
        if not isinstance(label, str | int) or isinstance(label, bool):
            raise DataError(f'{place}: a label must be text (in quotes), a whole number, or a list of these; got '
                            f'{value!r}')
    return [str(label) for label in labels]


def first_rows(rows: Iterable[Row]) -> dict[str, Row]:
    """Return each label with the first row that has it."""
    first: dict[str, Row] = {}
    for row in rows:
        for label in row.labels:
            first.setdefault(label, row)
    return first


def check_labels(ann_file: str, first_row: Mapping[str, Row], classes: Sequence[str] | None) -> None:
    """Refuse numbers that are no classes; without ``classes``, also gaps, and names that differ in case or spaces.

    Args:
        ann_file: The file.
        first_row: Each label with the first row that has it.
        classes: The names of the classes, if they are given.

    Raises:
        DataError: Naming the row.
    """
    numbers = [label for label in first_row if _NUMBER.fullmatch(label) and label not in (classes or ())]
    is_numbered = len(numbers) == len(first_row)
    for label in numbers:
        if is_numbered and not label.isdecimal():
            raise DataError(
                f'{ann_file}, {first_row[label].where}: label {label!r} is a number, but no whole one from 0 '
                'on; write 0, 1, 2 …, or names that are among `classes`, or in CSV a column of 0 and 1 '
                'for each class')
    if is_numbered or classes is not None:
        _check_numbers(ann_file, {int(n): first_row[n] for n in numbers if re.fullmatch(r'-?\d+', n)}, classes)
        return
    if pair := alike(first_row):
        rows = [f'{label!r} ({first_row[label].where})' for label in pair]
        raise DataError(
            f'{ann_file}: the labels {" and ".join(rows)} differ only in case or spaces; correct one, or set '
            '`classes` if both are meant')


def alike(names: Iterable[str]) -> tuple[str, str] | None:
    """Return two names, longer than a letter, that differ only in case, spaces or invisible characters."""
    first: dict[str, str] = {}
    for name in names:
        folded = re.sub(r'[\s\u200b-\u200d\ufeff_-]+', ' ', unicodedata.normalize('NFKC', name).casefold()).strip()
        other = first.setdefault(folded, name)
        if other != name and len(name) > 1:
            return other, name
    return None


def _check_numbers(ann_file: str, first_row: Mapping[int, Row], classes: Sequence[str] | None) -> None:
    """Refuse numbers out of the range of the classes, and without ``classes`` gaps in the numbers."""
    if not first_row:
        return
    highest = max(first_row)
    size = len(classes or range(highest + 1))
    hint = '; number the classes from 0 on without gaps'
    if 0 not in first_row and highest == len(classes or first_row):
        hint = '; they count from 1: subtract 1'
    for number, row in first_row.items():
        if not 0 <= number < size:
            raise DataError(f'{ann_file}, {row.where}: label {number} is not among the {size} classes; allowed: 0 to '
                            f'{size - 1}, or a class name{hint}')
    if classes is None and len(first_row) < size:
        gap = next(number for number in range(size) if number not in first_row)
        raise DataError(
            f'{ann_file}: its labels are numbers up to {highest} ({first_row[highest].where}), and no image '
            f'has {gap}{hint}, or set `classes`')
