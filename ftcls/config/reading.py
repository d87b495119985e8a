"""From a config file and its bases to a config. A Python file is run; JSON and YAML are data, and run nothing."""
import ast
import functools
import os
import re
from collections import Counter
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import FunctionType
from typing import Any

from mmengine.config import Config
from mmengine.config import config as mmengine_config
from mmengine.config.lazy import LazyAttr, LazyObject
from mmengine.logging import print_log
from mmengine.registry import registry as mmengine_registry

from ftcls import registry
from ftcls.registry import PEERS
from ftcls.utils.errors import ConfigError, MissingFileError, located
from ftcls.utils.names import did_you_mean, shipped_folder
from ftcls.utils.plain_files import PLAIN_SUFFIXES, distrust, imports, load_plain
from ftcls.utils.tree import as_list, walk

__all__ = [
    'config_folder', 'is_foreign', 'lazy_bases', 'named', 'read_config', 'resolve_config_path', 'shipped_configs'
]

_SHIPPING = ('ftcls', *PEERS)  # before '::' in the path of a config of ftcls: 'ftcls::_base_/models/resnet50.py'
_ENVIRONMENT = re.compile(r'''\{\{[\'"]?\s*\$(\w+)\s*:\s*(\S*?)\s*[\'"]?\}\}''')
_log_once = functools.cache(lambda text: print_log(text, logger='current'))
_RUN = ('custom_imports', 'compile.options')  # the options of torch.compile name the compiler
_PLAIN_RULE = 'a JSON or YAML config imports nothing, and its bases are such or `ftcls::…`, without --allow-imports'


def config_folder() -> Path:
    """Return the folder of the configs that come with ftcls."""
    return shipped_folder('configs')


def shipped_configs() -> dict[str, Path]:
    """Return name to file of the configs of ftcls, ``folder/name`` if two folders have a file of that name."""
    files = {path[:-len('.py')]: file for path, file in _files(config_folder()).items() if '_base_' not in path}
    stems = Counter(file.stem for file in files.values())
    return {file.stem if stems[file.stem] == 1 else path: file for path, file in files.items()}


def _files(folder: Path) -> dict[str, Path]:
    return {file.relative_to(folder).as_posix(): file for file in sorted(folder.rglob('*.py'))}


def resolve_config_path(path: str | Path, folder: Path = Path()) -> Path:
    """Return the file that a path means: relative to ``folder``, in :func:`config_folder` for ``ftcls::…``, or a name.

    ``mmpretrain::…`` and ``mmcls::…`` mean the config of ftcls with this name, else that of the installed package.

    Raises:
        MissingFileError: If no config of this name comes with ftcls.
    """
    package, _, name = str(path).rpartition('::')
    if package not in _SHIPPING:
        file = folder / Path(path).expanduser()
        return file if package or folder != Path() or file.exists() else shipped_configs().get(str(path), file)
    files = _files(config_folder())
    if package in PEERS and find_spec(package):
        files = _files(Path(_package_folder(package), '.mim', 'configs')) | files
    if name not in files:
        raise MissingFileError(f'{path}: ftcls has no such config{did_you_mean(name, files)}')
    if package in PEERS:
        _log_once(f'{path} is read from {files[name]}')
    return files[name]


def lazy_bases(path: str | Path) -> list[str]:
    """Return the files that a config imports inside ``with read_base():``, relative to its own folder."""
    blocks = [node for node in ast.parse(Path(path).read_text(encoding='utf-8')).body if isinstance(node, ast.With)]
    files = []
    for module in Config._get_base_modules([one for one in blocks if 'read_base' in ast.dump(one.items[0])]):
        name = module.lstrip('.')
        folder = '../' * (len(module) - len(name) - 1)
        if name == module:
            package, _, name = module.partition('.')
            folder = f'{_package_folder(package)}/'
        files.append(f'{folder}{name.replace(".", "/")}.py')
    return files


def _package_folder(package: str) -> str:
    """Return the folder that a package's modules are in; of ``ftcls`` the one that its configs are in.

    Raises:
        ConfigError: If it is not installed.
    """
    if package == 'ftcls':
        return str(config_folder().parent)
    if (spec := find_spec(package)) is None:
        raise ConfigError(f'{package} is not installed; install it, or import from ftcls.configs what is there too')
    return next(iter(spec.submodule_search_locations))


def named(value: Any, key: str = '') -> Any:
    """Return a part of a config, at ``key``, with classes by their names, so that it can be written to a file."""
    if isinstance(value, Mapping):
        return {name: named(item, name) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(named(item, key) for item in value)
    if isinstance(value, LazyObject | LazyAttr):
        path = f'{value.module}.{value}'
        package, _, rest = path.partition('.')
        if package in PEERS and (ours := mmengine_registry.get_object_from_string(f'ftcls.{rest}')):
            _log_once(f'{path} is read as ftcls.{rest}')
            value = ours
        elif package in PEERS and not find_spec(package):
            raise ConfigError(f'{path}: ftcls.{rest} does not exist, and {package} is not installed')
        else:
            value = value.build()
    if not isinstance(value, type | FunctionType):
        return value
    path = f'{value.__module__}.{value.__qualname__}'
    if path.startswith(('ftcls.', 'mmengine.', 'torch.')):  # others are registered only once they are imported
        ours = [one for one in vars(registry).values() if isinstance(one, mmengine_registry.Registry)]
        known = [one.module_dict.get(value.__name__) for mine in ours for one in (mine, mine.parent) if one]
        if value in known:
            return value.__name__
    if key == 'type' and mmengine_registry.get_object_from_string(path) is value:
        return path
    return value


def read_config(path: Path) -> Config:
    """Read a config file and its bases, without other checks than that JSON and YAML run no code."""
    is_lazy = path.suffix == '.py' and bool(lazy_bases(path))  # MMEngine's guess is fooled by an import before `_base_`
    cfg = Config.fromfile(path, lazy_import=is_lazy)
    content = {name: value for name, value in cfg._to_lazy_dict().items() if not isinstance(value, type)}
    return Config(named(content), cfg.text, str(path), cfg.env_variables)


def _find(base: str, filename: str) -> tuple[str, str | None]:
    is_trusted = imports.allowed or base.startswith('ftcls::') or not _is_plain(filename)
    if not is_trusted and (is_foreign(base) or not _is_plain(base)):
        raise ConfigError(f'_base_={base!r} is Python, which would be run; {_PLAIN_RULE}')
    if base.partition('::')[0] in _SHIPPING:
        return str(resolve_config_path(base)), None
    return _find_base(base, filename)


def _bases(filename: str) -> list[str]:
    if not _is_plain(filename):
        if lazy_bases(filename):
            raise ConfigError(
                'has `with read_base()`, and the config of which it is a `_base_` has not; write both alike')
        return _python_bases(filename)
    bases = as_list(_load_dict(filename).get('_base_', []))
    if all(isinstance(base, str) for base in bases):
        return bases
    raise ConfigError('`_base_` must be a plain string or a list of them')


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
    if not isinstance(content := load_plain(path), dict):
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
    return '::' in base and base.partition('::')[0] not in _SHIPPING


# MMEngine 0.10.7 needs `pkg_resources`, lets JSON run code, and takes `{{$NAME:default}}` for a regular expression.
_find_base, _python_bases, _read_file = Config._get_cfg_path, Config._get_base_files, Config._file2dict
Config._get_cfg_path, Config._get_base_files = staticmethod(_find), staticmethod(_bases)
Config._file2dict = staticmethod(_read)
Config._substitute_env_variables = staticmethod(_substitute_environment)
mmengine_config.load = _load_dict
mmengine_config.is_installed, mmengine_config.get_installed_path = find_spec, _package_folder
