"""Lists of images and labels: CSV with a header, JSON or YAML."""
import csv
import itertools
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmengine.logging import print_log

from ftcls.utils import DataError
from ftcls.utils.log import warn
from ftcls.utils.tree import as_list
from .base_dataset import listed
from .list_files import is_data, read_data, read_lines

__all__ = ['Row', 'check_labels', 'first_rows', 'is_number', 'is_table', 'read_rows', 'warn_if_alike']

_PATH_NAMES = ('path', 'img_path', 'filename')
_LABEL_NAME = re.compile(r'(gt_)?labels?[ _]?\d*', flags=re.IGNORECASE)
_IMAGE_NAME = re.compile(r'.+\.(jpe?g|png|bmp|gif|tiff?|webp|p[gp]m)', flags=re.IGNORECASE)
_NUMBERS = re.compile(r'[-+]?\d*\.?\d+\.?(\s+[-+]?\d*\.?\d+\.?)*')
_FLAGS = {'': False, '0': False, '0.0': False, 'false': False, '1': True, '1.0': True, 'true': True}

_Entry = tuple[str, list[tuple[str, Any]]]  # where in the file, and cells: (name of the column, value)


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
        images = [name for name, cell in entries[0][1] if _IMAGE_NAME.fullmatch(str(cell))]
        fixes = [f'rename {name!r} to path' for name in images if not _IMAGE_NAME.fullmatch(name)]
        fixes.append('let line 1 name the columns: `path,label`')
        raise DataError(f'{ann_file}: no column is named path, img_path or filename among {listed(names)}; {fixes[0]}')
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
    if lines and re.fullmatch(r'"?sep=.?"?\s*', lines[0]):  # Excel's own line
        lines[0] = '\n'
    delimiter = max(',\t;|', key=next((line for line in lines if line.strip()), '').count)
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
            if any(cells[len(header):]):
                raise DataError(f'{ann_file}, {where}: {len(cells)} columns below a header of {len(header)}; put a '
                                f'cell that contains {delimiter!r} into double quotes')
            named = itertools.zip_longest(header, cells[:len(header)], fillvalue='')
            yield where, [(name, cell.split(';') if _LABEL_NAME.fullmatch(name) else cell) for name, cell in named]
    except csv.Error as err:
        raise DataError(f'{ann_file}, line {reader.line_num}: {err}; is a double quote left open?') from None


def _from_data(ann_file: str) -> Iterator[_Entry]:
    entries = read_data(ann_file)
    if not isinstance(entries, list):
        raise DataError(f'{ann_file} must be a list of {{"path": …, "label": …}}; for OpenMMLab 2.0 use BaseDataset')
    for number, entry in enumerate(entries, start=1):
        where = f'entry {number}'
        if not isinstance(entry, Mapping):
            raise DataError(f'{ann_file}, {where}: expected {{"path": …, "label": …}}, got {str(entry)[:100]!r}')
        yield where, [(str(name), value) for name, value in entry.items()]


def _flag_columns(ann_file: str, names: Sequence[str], entries: Sequence[_Entry]) -> list[str]:
    """Return the columns of 0 and 1, one for each class, that have a 1.

    Raises:
        DataError: If there are less than two of 0 and 1.
    """
    values: dict[str, set] = {name: set() for name in names}
    for _, cells in entries:
        for name, value in cells:
            values.get(name, set()).add(_FLAGS.get(str(value).strip().lower()))
    flags = [name for name in names if None not in values[name]]
    if len(flags) < 2:
        raise DataError(f'{ann_file} has no column of labels: name it label, labels, gt_label or label2 …, or give a '
                        f'column of 0 and 1 for each class; there is {listed(names) or "none but the paths"}')
    flags = [name for name in flags if True in values[name]]
    print_log(f'{ann_file}: read the classes from the columns of 0 and 1, {listed(flags)}', logger='current')
    return flags


def _row(ann_file: str, entry: _Entry, paths: Sequence[str], flags: Sequence[str]) -> Row:
    where, cells = entry
    path = next((value for wanted in paths for name, value in cells if name == wanted and value), '')
    if not isinstance(path, str) or not path.strip():
        raise DataError(f'{ann_file}, {where}: has no path; give the image\'s as text under `path`, got {path!r}')
    labels = [name for name, value in cells if name in flags and _FLAGS[str(value).strip().lower()]]
    for name, value in cells:
        if _LABEL_NAME.fullmatch(name) and value is not None:
            labels += as_list(value)
    for label in labels:
        if not isinstance(label, str | int) or isinstance(label, bool):
            raise DataError(f'{ann_file}, {where}: a label is text (in quotes), an integer or a list; got {label!r}')
    texts = [str(label).strip() for label in labels]
    if len(texts) > 2 and set(texts) == {'0', '1'}:
        raise DataError(f'{ann_file}, {where}: {texts} are flags, not labels; write the classes that the image has')
    return Row(path.strip(), tuple(dict.fromkeys(filter(None, texts))), where)


def first_rows(rows: Iterable[Row]) -> dict[str, Row]:
    """Return each label with the first row that has it."""
    first: dict[str, Row] = {}
    for row in rows:
        for label in row.labels:
            first.setdefault(label, row)
    return first


def check_labels(ann_file: str, first_row: Mapping[str, Row], classes: Sequence[str] | None) -> None:
    """Refuse numbers that are no classes; without ``classes``, also those with large gaps.

    Args:
        ann_file: The file.
        first_row: Each label with the first row that has it.
        classes: The names of the classes, if they are given. With a number among them, numbers are names.

    Raises:
        DataError: Naming the row.
    """
    numbers = [label for label in first_row if is_number(label)]
    if classes is None:
        warn_if_alike(ann_file, {label: f'{label!r} ({row.where})' for label, row in first_row.items()})
    if any(map(is_number, classes or ())) or (classes is None and len(numbers) < len(first_row)):
        return
    whole = sorted({int(label) for label in numbers if label.isdecimal()})
    hint, size = '', len(classes or ()) or 2 * len(whole)
    if whole and whole[0] > 0 and whole[-1] == len(classes or whole):
        hint, size = '; they count from 1: subtract 1', whole[-1]
    allowed = '0, 1, 2 … without gaps, names that `classes` lists'
    if classes:
        allowed = f'0 to {size - 1}, a class name'
    for label in numbers:
        if not label.isdecimal() or int(label) >= size:
            raise DataError(f'{ann_file}, {first_row[label].where}: label {label!r} is no class; allowed are '
                            f'{allowed}, or in CSV a column of 0 and 1 for each class{hint}')


def is_number(name: str) -> bool:
    """Tell whether a label is a number, or several with spaces between them."""
    return _NUMBERS.fullmatch(name) is not None


def warn_if_alike(place: str, names: Mapping[str, str]) -> None:
    """Warn of classes, longer than a letter, that differ only in case, spaces or invisible characters.

    Args:
        place: Where they are.
        names: What each is called in the warning.
    """
    first: dict[str, str] = {}
    for name in names:
        folded = re.sub(r'[\s\u200b-\u200d\ufeff_-]+', ' ', unicodedata.normalize('NFC', name).lower()).strip()
        other = first.setdefault(folded, name)
        if other != name and len(name) > 1:
            text = f'{names[other]} and {names[name]} differ only in case or spaces; correct one if one class is meant'
            warn(f'{place}: {text}')
