"""Reading annotation files: where they are, and what is in them."""
import io
import os
import re
from typing import Any

from mmengine.logging import print_log

from ftcls.utils import MissingFileError
from ftcls.utils.errors import located
from ftcls.utils.names import missing_hint, plural
from ftcls.utils.plain_files import PLAIN_SUFFIXES, load_plain, read_text

__all__ = ['is_data', 'missing_hint', 'read_data', 'read_lines']


def is_data(path: str) -> bool:
    """Tell by its ending whether :func:`read_data` reads a file: ``.json``, ``.yaml`` or ``.yml``."""
    return path.lower().endswith(PLAIN_SUFFIXES)


def read_data(path: str) -> Any:
    """Return the content of a JSON or YAML file.

    Raises:
        MissingFileError: If it does not exist.
        DataError: If it is of another kind, or cannot be read; the message names the line.
    """
    with located(path):
        return load_plain(_existing(path))


def read_lines(path: str) -> list[str]:
    """Return the lines of a list, with their ends; comments, which begin with ``#`` and a space, are empty lines.

    Raises:
        MissingFileError: If the file does not exist.
        DataError: If it is not text in UTF-8.
    """
    with located(path):
        text, comments = re.subn(r'(?m)^# [^\r\n]*', '', read_text(_existing(path)))
    if comments:
        print_log(f'{path}: skipped {plural(comments, "line")} of comments', 'current')
    return io.StringIO(text, newline='').readlines()


def _existing(path: str) -> str:
    if not os.path.isfile(path):
        raise MissingFileError(f'no such file{missing_hint(path)}; check data_root and ann_file')
    return path
