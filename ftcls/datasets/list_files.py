"""Reading annotation files: where they are, and what is in them."""
import io
import os
from pathlib import Path
from typing import Any

from ftcls.utils import MissingFileError, did_you_mean
from ftcls.utils.errors import located
from ftcls.utils.plain_files import PLAIN_SUFFIXES, load_plain, read_text

__all__ = ['check_ann_file', 'is_data', 'missing_hint', 'read_data', 'read_lines']


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


def is_data(path: str) -> bool:
    """Tell by its ending whether :func:`read_data` reads a file: ``.json``, ``.yaml`` or ``.yml``."""
    return path.lower().endswith(PLAIN_SUFFIXES)


def read_data(path: str) -> Any:
    """Return the content of a JSON or YAML file.

    Raises:
        MissingFileError: If it does not exist.
        DataError: If it is of another kind, or cannot be read; the message names the line.
    """
    check_ann_file(path)
    with located(path):
        return load_plain(path)


def read_lines(path: str) -> list[str]:
    """Return the lines of a list, with their ends.

    Raises:
        MissingFileError: If it does not exist.
        DataError: If it is not text in UTF-8.
    """
    check_ann_file(path)
    with located(path):
        return io.StringIO(read_text(path), newline='').readlines()
