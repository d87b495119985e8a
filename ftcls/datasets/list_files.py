"""Reading annotation files: where they are, in which encoding, and the plain data in them."""
import json
import os
from pathlib import Path
from typing import Any

from ftcls.utils import DataError, MissingFileError, did_you_mean

__all__ = ['check_ann_file', 'is_data', 'missing_hint', 'read_data', 'read_text']

# How files of Excel, LibreOffice and Parquet begin, and other archives.
_BINARY = (b'PK\x03\x04', b'\xd0\xcf\x11\xe0', b'PAR1', b'\x1f\x8b', b'SQLite', b'\x89HDF')
_DATA = ('.json', '.yaml', '.yml')


def check_ann_file(path: str) -> None:
    """Raise a MissingFileError if there is no annotation file at ``path``."""
    if not os.path.isfile(path):
        raise MissingFileError(f'ann_file={path!r}: no such file{missing_hint(path)}; check data_root and ann_file')


def missing_hint(path: str) -> str:
    """Return a hint at a file or folder beside ``path`` with a similar name, or at the first part that is missing."""
    target = Path(path)
    parent = target.parent
    if parent.is_dir():
        return did_you_mean(target.name, [entry.name for entry in parent.iterdir()])
    while not parent.exists() and parent != parent.parent:
        target, parent = parent, parent.parent
    return f' (already {str(target)!r} is missing)'


def read_text(path: str) -> str:
    """Return the text of a file in UTF-8, with or without a byte order mark; line ends are kept.

    Raises:
        DataError: If it is a spreadsheet or another binary file, or has another encoding.
    """
    data = Path(path).read_bytes()
    if data.startswith(_BINARY):
        raise DataError(f'{path} is a spreadsheet, a table of Parquet or an archive, not text; save the table as CSV')
    at, guess = 0, 'UTF-16'
    if data[:2] not in (b'\xff\xfe', b'\xfe\xff'):
        guess = {0: 'UTF-16BE', 1: 'UTF-16LE'}.get(data[:2].find(b'\0'))
    if guess is None:
        try:
            return data.decode('utf-8-sig')
        except UnicodeDecodeError as err:
            at, guess = err.start, 'WINDOWS-1252'
    line = data.count(b'\n', 0, at) + 1
    raise DataError(
        f'{path}, line {line}: byte {at} ({data[at]:#04x}) is not UTF-8; save the file as UTF-8: from {guess}, '
        f'for example, by `iconv -f {guess} -t UTF-8`')


def is_data(path: str) -> bool:
    """Tell by its ending whether :func:`read_data` reads a file: ``.json``, ``.yaml`` or ``.yml``."""
    return path.lower().endswith(_DATA)


def read_data(path: str) -> Any:
    """Return the dicts, lists, text and numbers of a JSON or YAML file; nothing in it is executed.

    Raises:
        MissingFileError: If it does not exist.
        DataError: If it has another ending or form; the message names the line.
    """
    import yaml

    check_ann_file(path)
    if not is_data(path):
        raise DataError(f'{path}: must end in {", ".join(_DATA)}; for other lists use CustomDataset')
    text = read_text(path)
    try:
        return json.loads(text) if path.lower().endswith('.json') else yaml.safe_load(text)
    except json.JSONDecodeError as err:
        hint = ''
        if err.msg == 'Extra data':
            hint = '; one JSON value per line? Put them into one list: [..., ...]'
        raise DataError(f'{path}, line {err.lineno}: this is not JSON: {err.msg}{hint}') from None
    except yaml.YAMLError as err:
        mark = getattr(err, 'problem_mark', None)
        line = mark.line + 1 if mark else 1
        raise DataError(f'{path}, line {line}: this is not YAML: {getattr(err, "problem", err)}') from None
