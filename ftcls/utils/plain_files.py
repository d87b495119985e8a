"""JSON and YAML files, read as data: nothing in them is executed or imported.

What MMEngine 0.10.7 leaves open is closed by importing this module: its datasets run pickles and build any Python
object of YAML, and its registries import the module that a `type` such as ``os.system`` names. ``imports`` tells
whether JSON and YAML configs may import code in this process, and what is written in them, which no registry imports.
"""
import contextlib
import json
from collections import Counter
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import yaml
from mmengine.dataset import base_dataset
from mmengine.registry import registry
from mmengine.utils import get_object_from_string

from ftcls.utils.errors import DataError
from ftcls.utils.tree import walk

__all__ = ['PLAIN_SUFFIXES', 'allow_imports', 'distrust', 'imports', 'is_distrusted', 'load_plain', 'read_text']

PLAIN_SUFFIXES = ('.json', '.yaml', '.yml')
# How files of Excel, LibreOffice and Parquet begin, and other archives.
_BINARY = (b'PK\x03\x04', b'\xd0\xcf\x11\xe0', b'PAR1', b'\x1f\x8b', b'SQLite', b'\x89HDF')
imports = SimpleNamespace(allowed=False, distrusted=set())


def allow_imports() -> None:
    """Let the JSON and YAML configs of this process import and run Python code, as ``--allow-imports`` does."""
    imports.allowed = True
    imports.distrusted.clear()


def distrust(content: Any) -> None:
    """From now on, let no registry import what a text in ``content`` names, unless imports are allowed."""
    if not imports.allowed:
        imports.distrusted.update(node for _, node in walk(content) if isinstance(node, str))


def is_distrusted(name: Any) -> bool:
    """Tell whether a name, perhaps without its scope, comes from a JSON or YAML config."""
    return any(str(name) in text for text in imports.distrusted)


def _unique(pairs: Sequence[tuple[Any, Any]]) -> dict:
    """Return a dict, in which no key may be given twice."""
    if len(result := dict(pairs)) < len(pairs):
        (key, _), = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f'the key {key!r} is given twice')
    return result


class _Loader(yaml.SafeLoader):
    """Reads plain types, and tuples, which MMEngine writes into the YAML config of a work dir."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        """Return a mapping, in which no key may be given twice."""
        _unique([(str(key.value), None) for key, _ in node.value])
        return super().construct_mapping(node, deep)

    def construct_tuple(self, node: yaml.SequenceNode) -> tuple:
        """Return a sequence as a tuple."""
        return tuple(self.construct_sequence(node, deep=True))


_Loader.add_constructor('tag:yaml.org,2002:python/tuple', _Loader.construct_tuple)


def load_plain(path: str | Path) -> Any:
    """Return the content of a JSON or YAML file.

    Raises:
        DataError: If it is another kind of file, or cannot be read.
    """
    if (suffix := Path(path).suffix.lower()) not in PLAIN_SUFFIXES:
        raise DataError('must be .json, .yaml or .yml; other kinds, such as pickles, can run code; convert it yourself')
    text = read_text(path)
    try:
        if suffix == '.json':
            return json.loads(text, object_pairs_hook=_unique)
        return yaml.load(text, _Loader)
    except (ValueError, yaml.YAMLError, RecursionError) as err:
        raise DataError(f'cannot be read as {suffix[1:]}: {" ".join(str(err).split())}') from None


def read_text(path: str | Path) -> str:
    """Return the text of a file in UTF-8, with or without a byte order mark; line ends are kept.

    Raises:
        DataError: If it is a spreadsheet or another binary file, or has another encoding.
    """
    data = Path(path).read_bytes()
    if data.startswith(_BINARY):
        raise DataError('this is a spreadsheet, a table of Parquet or an archive, not text; save the table as CSV')
    at, guess = data.find(b'\0'), 'UTF-16'
    if at < 0:
        try:
            return data.decode('utf-8-sig')
        except UnicodeDecodeError as err:
            at, guess = err.start, 'WINDOWS-1252'
            with contextlib.suppress(UnicodeDecodeError):  # in which accents of Europe never come in pairs
                data.decode('gb2312')
                guess = 'GB18030'
    line = data.count(b'\n', 0, at) + 1
    raise DataError(
        f'line {line}: byte {at} ({data[at]:#04x}) is not text in UTF-8; save the file as UTF-8, for '
        f'example by `iconv -f {guess} -t UTF-8` (a guess; others are common too: GB18030, SHIFT_JIS, WINDOWS-1252)')


def _import_package(name: str) -> ModuleType:
    if is_distrusted(name.removesuffix('.registry')) and not name.startswith(('ftcls.', 'mmengine.')):
        raise ImportError(f'{name} is not imported for a JSON or YAML config')
    return import_module(name)


def _find_object(name: str) -> Any:
    return None if is_distrusted(name) else get_object_from_string(name)


base_dataset.load = load_plain
registry.import_module, registry.get_object_from_string = _import_package, _find_object
