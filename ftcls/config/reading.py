"""From a config file and its bases to a config. A Python file is run; JSON and YAML are data, and run nothing."""
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.config import config as mmengine_config

from ftcls.utils.errors import ConfigError, MissingFileError, located
from ftcls.utils.names import did_you_mean
from ftcls.utils.plain_files import PLAIN_SUFFIXES, close_imports, imports, load_plain
from ftcls.utils.tree import as_list, walk

__all__ = ['config_folder', 'is_foreign', 'read_config', 'resolve_config_path']

# Begins the path of a config that comes with ftcls, as in ``_base_ = 'ftcls::_base_/models/resnet50.py'``.
_SHIPPED = 'ftcls::'
_PLAIN_RULE = ('a JSON or YAML config imports nothing, and its bases are JSON, YAML or `ftcls::…`. If you trust it, '
               'allow that with --allow-imports')


def config_folder() -> Path:
    """Return the folder of the configs that come with ftcls: inside an installed package, beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    if (package / 'configs').is_dir():
        return package / 'configs'
    return package.parent / 'configs'


def resolve_config_path(path: str | Path, folder: Path = Path()) -> Path:
    """Return the file that a path means: relative to ``folder``, or for ``ftcls::…`` to :func:`config_folder`.

    Raises:
        MissingFileError: If no config of this name comes with ftcls.
    """
    if not str(path).startswith(_SHIPPED):
        return folder / Path(path).expanduser()
    name = str(path).removeprefix(_SHIPPED)
    file = config_folder() / name
    if not file.is_file() or not file.resolve().is_relative_to(config_folder().resolve()):
        names = [one.relative_to(config_folder()).as_posix() for one in config_folder().rglob('*.py')]
        raise MissingFileError(f'{path}: ftcls has no such config{did_you_mean(name, names)}')
    return file


def read_config(path: Path) -> Config:
    """Read a config file and its bases, without other checks than that JSON and YAML run no code."""
    # MMEngine's guess whether a config is of the lazy-import kind is fooled by an import before `_base_`.
    with _own_readers():
        return Config.fromfile(path, lazy_import=False)


@contextmanager
def _own_readers() -> Iterator[None]:
    """Let MMEngine 0.10.7 find ``ftcls::…`` bases, for which it needs ``pkg_resources``, and read JSON as data."""
    originals = Config._get_cfg_path, Config._get_base_files, Config._file2dict, mmengine_config.load

    def find(base: str, filename: str) -> tuple[str, str | None]:
        if base.startswith(_SHIPPED):
            return str(resolve_config_path(base)), None
        if _is_plain(filename) and not imports.allowed and (is_foreign(base) or not _is_plain(base)):
            raise ConfigError(f'_base_={base!r} is Python, which would be run; {_PLAIN_RULE}')
        return originals[0](base, filename)

    def bases(filename: str) -> list[str]:
        return as_list(_load_config_data(filename).get('_base_', [])) if _is_plain(filename) else originals[1](filename)

    def read(filename: str, *args: Any, **kwargs: Any) -> tuple[dict, str, dict]:
        with located(filename):
            return originals[2](filename, *args, **kwargs)

    Config._get_cfg_path, Config._get_base_files, Config._file2dict = find, bases, read
    mmengine_config.load = _load_config_data
    try:
        yield
    finally:
        Config._get_cfg_path, Config._get_base_files, Config._file2dict, mmengine_config.load = originals


def _is_plain(path: str | Path) -> bool:
    return str(path).endswith(PLAIN_SUFFIXES)


def _load_config_data(path: str) -> Any:
    """Read what a JSON or YAML config holds, and let nothing of it become code."""
    content = load_plain(path)
    if not isinstance(content, dict):
        raise ConfigError(f'a config must be a dict, not a {type(content).__name__}')
    close_imports()
    if content.get('custom_imports') and not imports.allowed:
        raise ConfigError(f'custom_imports={content["custom_imports"]} would run code; {_PLAIN_RULE}')
    for where, node in walk(content):
        for key in node if isinstance(node, dict) else ():
            if set(str(key)) & set('\'"\\\n\r'):  # MMEngine writes keys unquoted into the config of a work dir
                raise ConfigError(f'{where or "top level"}: the key {key!r} must not have quotes or backslashes')
    return content


def is_foreign(base: str) -> bool:
    """Tell whether a base is in another installed package, as ``mmengine::…`` is."""
    return '::' in base and not base.startswith(_SHIPPED)
