"""Lists of pictures and labels: CSV with a header, or JSON."""
import csv
import json
import os
import re
from dataclasses import dataclass
from typing import Any

from mmengine.logging import print_log

from ftcls.utils import DataError, MissingFileError, nearest
from .base_dataset import listed, missing_hint

__all__ = ['Row', 'is_table', 'place', 'read_rows', 'row_name']

_ENDINGS = ('.csv', '.tsv', '.json')
_PATH_NAMES = ('path', 'img_path', 'filename')
_LABEL_NAME = re.compile(r'(gt_)?labels?[ _]?\d*', flags=re.IGNORECASE)


@dataclass(frozen=True)
class Row:
    """One picture of a list.

    Attributes:
        path: As it stands in the file.
        labels: Its labels, each once, in the file's order; numbers as text; () where it has none.
        line: Number of its line in a CSV file, of its entry in a JSON list, from 1.
    """
    path: str
    labels: tuple[str, ...]
    line: int


def is_table(ann_file: str) -> bool:
    """Tell by its ending whether :func:`read_rows` reads a file: ``.csv``, ``.tsv`` or ``.json``."""
    return ann_file.lower().endswith(_ENDINGS)


def place(ann_file: str, line: int) -> str:
    """Return how a message names a row: ``x.csv, line 3``, or ``x.json, entry 3``."""
    return f'{ann_file}, {row_name(ann_file, line)}'


def row_name(ann_file: str, line: int) -> str:
    """Return what a row is called in its file: ``line 3``, or ``entry 3`` of a JSON file."""
    return f'{"entry" if ann_file.lower().endswith(".json") else "line"} {line}'


def read_rows(ann_file: str) -> list[Row]:
    """Read a list of pictures: ::

        path,label          path,label,label2          [{"path": "a.jpg", "label": "cat"},
        a.jpg,cat           a.jpg,cat,                  {"path": "b.jpg", "labels": ["cat", "dog"]}]
        b.jpg,cat;dog       b.jpg,cat,dog

    A CSV file has a header; commas, tabs or semicolons part its columns, and ``;`` the labels in a cell. The pictures stand
    under ``path`` (``img_path``, ``filename``), the labels under ``label``, ``labels``, ``label2`` …; other columns are passed
    over, and the log says so. A JSON file is a list of dicts with the same keys, a label being text, a whole number, or a
    list of such.

    Raises:
        MissingFileError: If there is no such file.
        DataError: If it cannot be read so, naming the line.
    """
    if not os.path.isfile(ann_file):
        raise MissingFileError(
            f'ann_file={ann_file!r}: no such file{missing_hint(ann_file)}; check data_root and ann_file')
    try:
        with open(ann_file, encoding='utf-8-sig', newline='') as file:
            text = file.read()
    except UnicodeDecodeError as err:
        raise DataError(f'{ann_file} is not in UTF-8 ({err.reason} at byte {err.start}); save it as UTF-8') from None
    rows = _from_json(ann_file, text) if ann_file.lower().endswith('.json') else _from_csv(ann_file, text)
    if not rows:
        raise DataError(f'{ann_file} lists no picture; expected a line `path,label` for each, below the header')
    return rows


def _from_csv(ann_file: str, text: str) -> list[Row]:
    head = text.lstrip().split('\n', 1)[0]
    delimiter = next((mark for mark in ',\t;' if mark in head), ',')
    reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter, strict=True)
    rows: list[Row] = []
    header: list[str] | None = None
    try:
        for cells in reader:
            cells = [cell.strip() for cell in cells]
            if not any(cells):
                continue
            if header is None:
                header = cells
                path_column, label_columns = _columns(ann_file, header)
                continue
            here = place(ann_file, reader.line_num)
            if len(cells) > len(header):
                raise DataError(f'{here}: {len(cells)} columns below a header of {len(header)}; put a path or a label '
                                f'that holds {delimiter!r} into double quotes')
            cells += [''] * (len(header) - len(cells))
            labels = [part for column in label_columns for part in cells[column].split(';')]
            rows.append(_row(here, cells[path_column], labels, reader.line_num))
    except csv.Error as err:
        raise DataError(f'{place(ann_file, reader.line_num)}: {err}; is a double quote left open?') from None
    return rows


def _columns(ann_file: str, header: list[str]) -> tuple[int, list[int]]:
    """Return the column of the paths and those of the labels."""
    names = [name.lower() for name in header]
    path_column = next((names.index(name) for name in _PATH_NAMES if name in names), None)
    if path_column is None:
        near = [(name, *nearest(name, _PATH_NAMES, most=1)) for name in header]
        hint = next((f'; did you mean {pair[1]!r} by {pair[0]!r}?' for pair in near if len(pair) == 2), '')
        raise DataError(
            f'{ann_file}: its first line must name the columns, `path,label`, and names {listed(header)}'
            f'; understood are {", ".join(_PATH_NAMES)} for the pictures, and label, labels, gt_label, label2, '
            f'… for their labels{hint}')
    labels = [column for column, name in enumerate(names) if _LABEL_NAME.fullmatch(name)]
    others = [name for column, name in enumerate(header) if column not in labels and column != path_column]
    if others:
        print_log(f'{ann_file}: passed over the columns {listed(others)}', logger='current')
    return path_column, labels


def _from_json(ann_file: str, text: str) -> list[Row]:
    try:
        entries = json.loads(text)
    except json.JSONDecodeError as err:
        raise DataError(f'{ann_file}, line {err.lineno}: this is not JSON: {err.msg}') from None
    if not isinstance(entries, list):
        of_openmmlab = isinstance(entries, dict) and 'data_list' in entries
        hint = ' (this is an OpenMMLab 2.0 annotation file: BaseDataset reads it)' if of_openmmlab else ''
        raise DataError(f'{ann_file} must hold a list of {{"path": …, "label": …}}{hint}')
    rows = []
    for number, entry in enumerate(entries, start=1):
        here = place(ann_file, number)
        if not isinstance(entry, dict):
            raise DataError(f'{here}: expected {{"path": …, "label": …}}, got {str(entry)[:100]!r}')
        path = next((entry[name] for name in _PATH_NAMES if name in entry), '')
        if not isinstance(path, str):
            raise DataError(f'{here}: "path" must be text, got {path!r}')
        labels = [text for key, value in entry.items() if _LABEL_NAME.fullmatch(key) for text in _texts(here, value)]
        rows.append(_row(here, path, labels, number))
    return rows


def _texts(here: str, value: Any) -> list[str]:
    """Return the labels of a JSON value as text."""
    values = value if isinstance(value, list) else [] if value is None else [value]
    for one in values:
        if not isinstance(one, str | int) or isinstance(one, bool):
            raise DataError(f'{here}: a label must be text or a whole number, or a list of such; got {value!r}')
    return [str(one) for one in values]


def _row(here: str, path: str, labels: list[str], line: int) -> Row:
    if not path.strip():
        raise DataError(f'{here}: has no path; expected the picture\'s under `path`')
    return Row(path.strip(), tuple(dict.fromkeys(label.strip() for label in labels if label.strip())), line)
