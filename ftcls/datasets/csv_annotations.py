"""Lists of images and labels: CSV with a header, or JSON."""
import csv
import json
import re
from dataclasses import dataclass
from typing import Any

from mmengine.logging import print_log

from ftcls.utils import DataError, nearest
from ftcls.utils.tree import as_list
from .base_dataset import check_ann_file, listed

__all__ = ['Row', 'is_table', 'read_rows']

_PATH_NAMES = ('path', 'img_path', 'filename')
_LABEL_NAME = re.compile(r'(gt_)?labels?[ _]?\d*', flags=re.IGNORECASE)


@dataclass(frozen=True)
class Row:
    """One image of a list.

    Attributes:
        path: As in the file.
        labels: Its labels, each once, in the file's order; numbers as text; () without any.
        where: Where it is in the file, from 1: ``'line 3'``, in JSON ``'entry 3'``.
    """
    path: str
    labels: tuple[str, ...]
    where: str


def is_table(ann_file: str) -> bool:
    """Tell by its ending whether :func:`read_rows` reads a file: ``.csv``, ``.tsv`` or ``.json``."""
    return ann_file.lower().endswith(('.csv', '.tsv', '.json'))


def read_rows(ann_file: str) -> list[Row]:
    """Read a list of images: ::

        path,label          path,label,label2          [{"path": "a.jpg", "label": "cat"},
        a.jpg,cat           a.jpg,cat,                  {"path": "b.jpg", "labels": ["cat", "dog"]}]
        b.jpg,cat;dog       b.jpg,cat,dog

    A CSV file has a header; commas, tabs or semicolons separate its columns, and ``;`` the labels in a cell. The
    images are in the column ``path`` (``img_path``, ``filename``), the labels in ``label``, ``labels``, ``label2`` …;
    other columns are skipped, and the log names them. A JSON file is a list of dicts with the same keys; a label is
    text, a whole number, or a list of these.

    Raises:
        MissingFileError: If the file does not exist.
        DataError: If it has another form; the message names the line.
    """
    check_ann_file(ann_file)
    try:
        with open(ann_file, encoding='utf-8-sig', newline='') as file:
            text = file.read()
    except UnicodeDecodeError as err:
        raise DataError(f'{ann_file} is not in UTF-8 ({err.reason} at byte {err.start}); save it as UTF-8') from None
    rows = _from_json(ann_file, text) if ann_file.lower().endswith('.json') else _from_csv(ann_file, text)
    if not rows:
        raise DataError(f'{ann_file} lists no images; it needs a header and a line `path,label` for each image')
    return rows


def _from_csv(ann_file: str, text: str) -> list[Row]:
    first_line = text.lstrip().split('\n', 1)[0]
    delimiter = next((mark for mark in ',\t;' if mark in first_line), ',')
    reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter, strict=True)
    try:
        lines = [(f'line {reader.line_num}', [cell.strip() for cell in cells]) for cells in reader]
    except csv.Error as err:
        raise DataError(f'{ann_file}, line {reader.line_num}: {err}; is a double quote left open?') from None
    lines = [(where, cells) for where, cells in lines if any(cells)]
    if not lines:
        return []
    _, header = lines[0]
    path_column, label_columns = _columns(ann_file, header)
    rows = []
    for where, cells in lines[1:]:
        if len(cells) > len(header):
            raise DataError(
                f'{ann_file}, {where}: {len(cells)} columns below a header of {len(header)}; put a cell that '
                f'contains {delimiter!r} into double quotes')
        cells += [''] * (len(header) - len(cells))
        labels = ';'.join(cells[column] for column in label_columns).split(';')
        rows.append(_row(ann_file, where, cells[path_column], labels))
    return rows


def _columns(ann_file: str, header: list[str]) -> tuple[int, list[int]]:
    """Return the column of the paths and those of the labels."""
    names = [name.lower() for name in header]
    path_names = [name for name in _PATH_NAMES if name in names]
    if not path_names:
        near = {name: nearest(name, _PATH_NAMES, most=1) for name in header}
        hint = next((f'; did you mean {names[0]!r} by {name!r}?' for name, names in near.items() if names), '')
        raise DataError(f'{ann_file}: the first line must name the columns, `path,label`, and names {listed(header)}; '
                        f'allowed are {", ".join(_PATH_NAMES)}, and label, labels, gt_label, label2 …{hint}')
    path_column = names.index(path_names[0])
    labels = [column for column, name in enumerate(names) if _LABEL_NAME.fullmatch(name)]
    others = [name for column, name in enumerate(header) if column not in (path_column, *labels)]
    if others:
        print_log(f'{ann_file}: skipped the columns {listed(others)}', logger='current')
    return path_column, labels


def _from_json(ann_file: str, text: str) -> list[Row]:
    try:
        entries = json.loads(text)
    except json.JSONDecodeError as err:
        raise DataError(f'{ann_file}, line {err.lineno}: this is not JSON: {err.msg}') from None
    if isinstance(entries, dict) and 'data_list' in entries:
        raise DataError(f'{ann_file} is an OpenMMLab 2.0 annotation file: use BaseDataset to read it')
    if not isinstance(entries, list):
        raise DataError(f'{ann_file} must hold a list of {{"path": …, "label": …}}')
    rows = []
    for number, entry in enumerate(entries, start=1):
        where = f'entry {number}'
        if not isinstance(entry, dict):
            raise DataError(f'{ann_file}, {where}: expected {{"path": …, "label": …}}, got {str(entry)[:100]!r}')
        path = next((entry[name] for name in _PATH_NAMES if name in entry), '')
        if not isinstance(path, str):
            raise DataError(f'{ann_file}, {where}: "path" must be text, got {path!r}')
        labels: list[str] = []
        for key, value in entry.items():
            if _LABEL_NAME.fullmatch(key) and value is not None:
                labels += _texts(f'{ann_file}, {where}', value)
        rows.append(_row(ann_file, where, path, labels))
    return rows


def _texts(place: str, value: Any) -> list[str]:
    """Return the labels of a JSON value as text."""
    labels = as_list(value)
    for label in labels:
        if not isinstance(label, str | int) or isinstance(label, bool):
            raise DataError(f'{place}: a label must be text, a whole number, or a list of these; got {value!r}')
    return [str(label) for label in labels]


def _row(ann_file: str, where: str, path: str, labels: list[str]) -> Row:
    if not path.strip():
        raise DataError(f'{ann_file}, {where}: has no path; give the image\'s under `path`')
    return Row(path.strip(), tuple(dict.fromkeys(label.strip() for label in labels if label.strip())), where)
