"""From a config file and its bases to a config. A Python file is run; JSON and YAML are data, and run nothing."""
import os
import re
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.config import config as mmengine_config

from ftcls.utils.errors import ConfigError, MissingFileError, located
from ftcls.utils.names import did_you_mean
from ftcls.utils.plain_files import PLAIN_SUFFIXES, distrust, imports, load_plain
from ftcls.utils.tree import as_list, walk

__all__ = ['config_folder', 'is_foreign', 'read_config', 'resolve_config_path']

_SHIPPED = 'ftcls::'  # begins the path of a config of ftcls, as in 'ftcls::_base_/models/resnet50.py'
_ENVIRONMENT = re.compile(r'''\{\{[\'"]?\s*\$(\w+)\s*:\s*(\S*?)\s*[\'"]?\}\}''')
_RUN = ('custom_imports', 'compile.options')  # the options of torch.compile name the compiler
_PLAIN_RULE = ('a JSON or YAML config imports nothing, and its bases are JSON, YAML or `ftcls::…`. If you trust it, '
               'allow that with --allow-imports')


def config_folder() -> Path:
    """Return the folder of the configs that come with ftcls: inside an installed package, beside it in a checkout."""
    inside, beside = (Path(__file__).resolve().parents[depth] / 'configs' for depth in (1, 2))
    return inside if inside.is_dir() else beside


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
    return Config.fromfile(path, lazy_import=False)  # MMEngine's guess is fooled by an import before `_base_`


def _find(base: str, filename: str) -> tuple[str, str | None]:
    if base.startswith(_SHIPPED):
        return str(resolve_config_path(base)), None
    if _is_plain(filename) and not imports.allowed and (is_foreign(base) or not _is_plain(base)):
        raise ConfigError(f'_base_={base!r} is Python, which would be run; {_PLAIN_RULE}')
    return _find_base(base, filename)


def _bases(filename: str) -> list[str]:
    if not _is_plain(filename):
        return _python_bases(filename)
    bases = as_list(_load_dict(filename).get('_base_', []))
    if not all(isinstance(base, str) for base in bases):
        raise ConfigError('`_base_` must be a plain string or a list of them')
    return bases


def _read(filename: str, *args: Any, **kwargs: Any) -> tuple[dict, str, dict]:
    with located(filename):
        try:
            result = _read_file(filename, *args, **kwargs)
        except RecursionError:
            raise ConfigError('nested too deeply, or circular `_base_`') from None
        if _is_plain(filename):
            _check_plain(result[0])
        return result


def _is_plain(path: str | Path) -> bool:
    return str(path).endswith(PLAIN_SUFFIXES)


def _load_dict(path: str) -> dict:
    content = load_plain(path)
    if not isinstance(content, dict):
        raise ConfigError(f'a config must be a dict, not a {type(content).__name__}')
    return content


def _check_plain(content: dict) -> None:
    """Let nothing in a JSON or YAML config, its bases included, become code."""
    distrust(content)
    for where, node in walk(content):
        if where in _RUN and node and not imports.allowed:
            raise ConfigError(f'{where}={node} would run code; {_PLAIN_RULE}')
        for key in node if isinstance(node, dict) else ():
            if set(str(key)) & set('\'"\\\n\r'):  # MMEngine writes keys unquoted into the config of a work dir
                raise ConfigError(f'{where or "top level"}: the key {key!r} must not have quotes or backslashes')


def _substitute_environment(filename: str, target: str) -> dict[str, str]:
    """Write a config with the values of the environment, or the defaults, in place of ``{{$NAME:default}}``."""
    used: dict[str, str] = {}

    def value(match: re.Match) -> str:
        name, default = match.groups()
        used[name] = os.environ.get(name, default)
        if not used[name]:
            raise ConfigError(f'{match[0]}: {name} is not in the environment; set it, or give a default')
        return used[name]

    text = Path(filename).read_text(encoding='utf-8')
    Path(target).write_text(_ENVIRONMENT.sub(value, text), encoding='utf-8')
    return used


def is_foreign(base: str) -> bool:
    """Tell whether a base is in another installed package, as ``mmengine::…`` is."""
    return '::' in base and not base.startswith(_SHIPPED)


# MMEngine 0.10.7 needs `pkg_resources` for `ftcls::…` bases, lets JSON run code, and takes the default in
# `{{$NAME:default}}` for a regular expression, so that the name of a folder in a config can become code.
_find_base, _python_bases, _read_file = Config._get_cfg_path, Config._get_base_files, Config._file2dict
Config._get_cfg_path, Config._get_base_files = staticmethod(_find), staticmethod(_bases)
Config._file2dict = staticmethod(_read)
Config._substitute_env_variables = staticmethod(_substitute_environment)
mmengine_config.load = _load_dict
