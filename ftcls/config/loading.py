"""Reading a config file, with its ``_base_`` files, and overriding parts of it from the command line."""
import ast
import copy
import os
import re
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from ftcls.registry import Registry
from ftcls.utils.arguments import argument_faults, matches_type, own_arguments
from ftcls.utils.errors import ConfigError, MissingFileError, OverrideError, UserError
from ftcls.utils.names import did_you_mean, missing_hint, nearest
from ftcls.utils.tree import as_list, find_paths, walk
from .reading import config_folder, is_foreign, lazy_bases, named, read_config, resolve_config_path, shipped_configs
from .schema import KEYS, TOP_LEVEL_KEYS, Key, default_type

__all__ = [
    'apply_overrides', 'config_folder', 'load_config', 'parse_override', 'parse_value', 'read_config',
    'resolve_config_path', 'shipped_configs', 'used_names'
]

_LOCAL = dict(type='LocalVisBackend')
_BACKENDS = dict(  # arguments of backends that are given by their names: MMEngine's folder is refused by MLflow 3
    WandbVisBackend=dict(define_metric_cfg=[dict(name='*', step_metric='iter')]),
    MLflowVisBackend=dict(tracking_uri=os.environ.get('MLFLOW_TRACKING_URI', 'sqlite:///mlflow.db')))
_QUOTED_OR_CHARACTER = re.compile(r'"[^"]*"?|\'[^\']*\'?|.', re.DOTALL)
_WORDS = {'true': True, 'false': False, 'none': None, 'null': None}


def load_config(path: str | Path | Mapping | Config,
                overrides: Mapping[str, Any] | Sequence[str] | None = None) -> Config:
    """Read a config file, or take a config, and apply overrides to it.

    A ``.py`` config is a program, which is run. One in JSON or YAML is data: it imports nothing, and each of its types
    must be registered, unless :func:`ftcls.utils.plain_files.allow_imports` was called.

    Args:
        path: A ``.py``, ``.json`` or ``.yaml`` config; one that comes with ftcls by a name of ``list_models()`` or as
            ``'ftcls::tutorial/…'``; or a config that is read already, which may be a plain dict.
        overrides: ``{'a.b.0.c': value}``, or ``['a.b.0.c=value', …]`` as typed on the command line.

    Raises:
        MissingFileError: If the file or one of its ``_base_`` files does not exist.
        ConfigError: For a syntax error, a circular ``_base_``, an override of something that does not exist, a
            variable of a ``_base_`` file that is set again where that changes nothing, or code in a JSON config.
    """
    if isinstance(path, Config):
        cfg = copy.deepcopy(path) if overrides else path
    elif isinstance(path, Mapping):
        if '_base_' in path:
            raise ConfigError(f'_base_={path["_base_"]!r}: only a config file has bases; read that by load_config')
        cfg = Config(named(path))
    else:
        cfg = _load_file(resolve_config_path(path))
    if not isinstance(overrides, Mapping):
        overrides = dict(map(parse_override, overrides or ()))
    apply_overrides(cfg, overrides)
    return _with_backends(cfg)


def _with_backends(cfg: Config) -> Config:
    """Return a config with a dict for each backend of the visualizer that is given by its name, beside the local one.

    Where there are others than the local one, training and validation are logged apart, both by iterations.
    """
    given = as_list(getattr(cfg.get('visualizer'), 'vis_backends', None) or [])
    if all(one == _LOCAL for one in given):
        return cfg
    backends = [dict(type=one, **_BACKENDS.get(one, {})) if isinstance(one, str) else one for one in given]
    if backends != given and _LOCAL not in backends:
        backends.insert(0, _LOCAL)
    cfg = copy.deepcopy(cfg)
    cfg.visualizer = {'type': 'UniversalVisualizer', **cfg.visualizer, 'vis_backends': backends}
    logger = {'type': 'LoggerHook', **((cfg.get('default_hooks') or {}).get('logger') or {})}
    logger['log_metric_by_epoch'] = False
    cfg.merge_from_dict({'log_processor.log_with_hierarchy': True, 'default_hooks.logger': logger})
    return cfg


def _load_file(path: Path) -> Config:
    files = _check_file(path, chain=())
    try:
        cfg = read_config(path)
    except UserError:
        raise
    except Exception as err:
        raise ConfigError(_reading_error(err, path, files)) from err
    _check_unused_variables(path, cfg)
    return cfg


def _reading_error(err: Exception, path: Path, files: set[Path]) -> str:
    """Return what went wrong while a config was executed, with the file and line of it that the exception came from."""
    if 'import custom modules' in str(err):  # MMEngine's own text lists all of sys.path
        cause = err.__cause__ or err.__context__ or err
        return f'{path}: custom_imports: {cause} ({cause.__context__}); is the folder of the module in PYTHONPATH?'
    where = str(path)
    for frame in traceback.extract_tb(err.__traceback__):
        if Path(frame.filename).resolve() in files:
            where = f'{frame.filename}, line {frame.lineno}'
    text = err.args[0] if isinstance(err, KeyError) else err  # which quotes its text
    return f'{where}: {type(err).__name__}: {text}'


def _check_file(path: Path, chain: tuple[Path, ...]) -> set[Path]:
    """Check that a config and its bases exist, are valid Python and do not include one another; return them all."""
    if (resolved := path.resolve()) in chain:
        ring = ' -> '.join(p.name for p in chain[chain.index(resolved):] + (resolved, ))
        raise ConfigError(f'{path}: circular `_base_`: {ring}; remove one of these')
    if not path.is_file():
        raise MissingFileError(_missing_file(path, chain))
    files = {resolved}
    if path.suffix != '.py':
        return files
    for base in _bases(path):
        if not is_foreign(base) and '{{' not in base:
            files |= _check_file(resolve_config_path(base, path.parent), chain + (resolved, ))
    return files


def _missing_file(path: Path, chain: tuple[Path, ...]) -> str:
    text = f'config file {path}' + ''.join(f' (a `_base_` of {base})' for base in chain[-1:])
    if path.is_dir():
        return f'{text} is a folder, not a config file'
    if not chain and not path.suffix:
        near = nearest(path.name, os.listdir(path.parent)) if path.parent != Path() and path.parent.is_dir() else []
        hint = did_you_mean(str(path), [str(path.with_name(name)) for name in near])
        hint = hint or did_you_mean(path.name, shipped_configs(), lists=False) or missing_hint(path)
        return f'{path} is no config, work dir or name of list_models(){hint}'
    shipped = f'_base_{path.as_posix().rpartition("_base_")[2]}'
    if (config_folder() / shipped).is_file():
        return f'{text} does not exist; did you mean \'ftcls::{shipped}\'?'
    return f'{text} does not exist{missing_hint(path)}'


def _parse(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_text(encoding='utf-8'))
    except SyntaxError as err:
        raise ConfigError(f'{path}, line {err.lineno}: syntax error: {err.msg}: {(err.text or "").strip()}') from None
    except ValueError as err:
        raise ConfigError(f'{path} is not text in UTF-8 ({err}); is it the config file?') from None


def _bases(path: Path) -> list[str]:
    """Return what a Python config assigns to ``_base_``, or imports as its bases."""
    for node in _parse(path).body:
        if isinstance(node, ast.Assign) and '_base_' in [getattr(target, 'id', '') for target in node.targets]:
            try:
                return as_list(ast.literal_eval(node.value))
            except ValueError:
                where = f'{path}, line {node.lineno}'
                raise ConfigError(f'{where}: `_base_` must be a plain string or a list of them') from None
    return lazy_bases(path)


def used_names(path: str | Path | None) -> set[str] | None:
    """Return the variables that a config file and its bases use, None where there is no file."""
    if path is None or not Path(path).is_file():
        return None
    used: set[str] = set()
    for file in _check_file(Path(path), chain=()):
        used.update(re.findall(r'_base_\.(\w+)', file.read_text(encoding='utf-8')))
        if file.suffix == '.py':
            used |= _used(_parse(file))
    return used


def _used(tree: ast.Module) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}


def _check_unused_variables(path: Path, cfg: Config) -> None:
    """Refuse a variable that a base has used already, and that is set to another value here, where nothing uses it."""
    if path.suffix != '.py':
        return
    tree = _parse(path)
    used = _used(tree)
    unused: dict[str, int] = {}
    for node in tree.body:
        for target in getattr(node, 'targets', ()):
            name = getattr(target, 'id', None)
            if name in cfg and name not in used and name not in TOP_LEVEL_KEYS:
                unused[name] = node.lineno
    for base in [one for one in _bases(path) if unused and not is_foreign(one)]:
        base_cfg = read_config(resolve_config_path(base, path.parent))
        for name, line in unused.items():
            if name in base_cfg and base_cfg[name] != cfg[name]:
                raise ConfigError(f'{path}, line {line}: {_variable_advice(base_cfg, [name], base)}')


def parse_override(item: str) -> tuple[str, Any]:
    """Split ``'key.path=value'`` and parse the value.

    Example:
        >>> parse_override('train_dataloader.batch_size=8')
        ('train_dataloader.batch_size', 8)
    """
    key, sep, value = item.partition('=')
    if not sep or not key.strip():
        raise ConfigError(f'--cfg-options: {item!r} must be key=value, for example train_dataloader.batch_size=8')
    return key.strip(), parse_value(value)


def parse_value(text: str) -> Any:
    """Parse a command-line value: a Python literal, ``dict(…)``, ``[a,b]`` without quotes, ``true``, ``null`` or text.

    Example:
        >>> parse_value('1e-3'), parse_value('[a, 2]'), parse_value('dict(type="SGD", lr=0.1)'), parse_value('true')
        (0.001, ['a', 2], {'type': 'SGD', 'lr': 0.1}, True)
    """
    text = text.strip()
    try:
        node = ast.parse(text, mode='eval').body
        value = ast.literal_eval(_Literals().visit(node))
    except (SyntaxError, ValueError):
        return _parse_unquoted(text)
    if isinstance(node, ast.Tuple) and node.elts and node.elts[0].col_offset == 0:  # no brackets, as in MMEngine
        return list(value)
    return value


class _Literals(ast.NodeTransformer):
    """Makes literals of ``dict(a=1)``, ``true``, ``false``, ``none`` and ``null``."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Turn ``dict(a=1)``, and ``dict({'a.b': 1})`` as MMEngine writes it, into ``{'a': 1}``."""
        self.generic_visit(node)
        literals = [one for one in node.args if isinstance(one, ast.Dict)]
        if getattr(node.func, 'id', '') != 'dict' or literals != node.args or len(literals) > 1:
            return node
        given = next(iter(literals), ast.Dict([], []))
        keys = [*given.keys, *(one.arg and ast.Constant(one.arg) for one in node.keywords)]  # None: **, no literal
        return ast.Dict(keys, [*given.values, *(one.value for one in node.keywords)])

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """Turn a word into its value."""
        return ast.Constant(_WORDS.get(node.id.lower())) if node.id.lower() in _WORDS else node


def _parse_unquoted(text: str) -> Any:
    """Parse a list or tuple of words without quotes, or return the text itself."""
    kind = {'()': tuple, '[]': list}.get(text[:1] + text[-1:])
    parts = _split_commas(text[1:-1] if kind else text)
    if kind or len(parts) > 1:
        return (kind or list)(map(parse_value, parts))
    return text


def _split_commas(text: str) -> list[str]:
    """Split at the commas that are not inside brackets or quotes."""
    parts, depth = [''], 0
    for token in _QUOTED_OR_CHARACTER.findall(text):
        depth += (token in '([{') - (token in ')]}')
        if token == ',' and depth == 0:
            parts.append('')
        else:
            parts[-1] += token
    return [part for part in parts if part.strip()]


def apply_overrides(cfg: Config, overrides: Mapping[str, Any]) -> None:
    """Set nested keys and list items of a config in place, then take back what is None.

    ``a.b._delete_=True`` replaces the dict at ``a.b`` by the other keys that are set in it. A None for an argument that
    does not take None means its default; a None in a list of components removes that item. Whether a *new* last key is
    one that its component accepts is checked with the whole config, by ``validate_config``.

    Raises:
        OverrideError: If paths lead nowhere, or end at an intermediate variable that nothing reads any more; the others
            are set.
    """
    faults = {path: text for path in overrides if (text := _path_fault(cfg, path))}
    fitting = {path: value for path, value in overrides.items() if path not in faults}
    for path, value in sorted(fitting.items(), key=lambda item: not item[0].endswith('._delete_')):
        top, *keys = path.split('.')
        try:
            cfg[top] = _with(cfg.get(top), keys, value)
        except (AttributeError, LookupError, TypeError, ValueError) as err:
            raise ConfigError(f'--cfg-options: cannot set {path}: {err}') from err
    for name, value in list(cfg.items()):
        key = TOP_LEVEL_KEYS.get(name, Key())
        if value is None and not matches_type(None, key.type):
            del cfg._cfg_dict[name]
        if name != 'arms':  # which are overrides themselves
            _take_back(name, value, key.registry)
    if faults:
        err = OverrideError('\n'.join(f'--cfg-options {path}: {text}' for path, text in faults.items()))
        err.cfg = cfg
        raise err


def _with(node: Any, keys: Sequence[str], value: Any) -> Any:
    """Return a copy of a node of a config with the value at a path inside it; a dict is merged into a dict."""
    if keys == ['_delete_'] and value:
        return ConfigDict(_delete_=True)
    if keys and isinstance(node, list | tuple):
        items = list(node)
        items[int(keys[0])] = _with(items[int(keys[0])], keys[1:], value)
        return type(node)(items)
    if keys:
        node = node or {}
        return ConfigDict({**node, keys[0]: _with(node.get(keys[0]), keys[1:], value)})
    value = copy.deepcopy(value)  # what is taken back from it stays in the caller's
    if not isinstance(value, Mapping) or value.get('_delete_') or not isinstance(node, list | Mapping):
        return value
    if isinstance(node, list) and 'type' in value:  # one component in place of several
        return value
    return Config._merge_a_into_b(value, node, allow_list_keys=True)


def _take_back(key: str, node: Any, registry: Registry | None) -> None:
    """Remove from a node ``_delete_`` and each None by which nothing is set.

    Args:
        key: The name of the node.
        node: A part of a config.
        registry: Where the components in it are looked up.
    """
    if isinstance(node, list) and (KEYS.get(key, Key()).registry or any(isinstance(item, Mapping) for item in node)):
        node[:] = [item for item in node if item is not None]
    if isinstance(node, list | tuple):
        for item in node:
            _take_back(key, item, registry)
    if not isinstance(node, Mapping):
        return
    absent = {name for name, value in node.items() if value is None and _is_unset(key, node, name, registry)}
    if node.get('split', '') is None:
        absent |= {'val_fraction', 'split_seed'}
    for name in absent | {'_delete_'}:
        node.pop(name, None)
    for name, value in node.items():
        _take_back(name, value, KEYS.get(name, Key()).registry or registry)


def _is_unset(key: str, node: Mapping, name: str, registry: Registry | None) -> bool:
    """Tell whether None stands for a default: the builder reads the item, or the annotation allows no None."""
    if name in ('constructor', 'priority'):
        return True
    if (kind := node.get('type', default_type(key, node))) is None:
        annotation = KEYS.get(key, Key()).items.get(name)
        return annotation in (Any, dict | None) or annotation is not None and not matches_type(None, annotation)
    component = registry.get(kind) if registry else kind
    parameter = own_arguments(component).get(name) if callable(component) else None
    is_optional = parameter is not None and parameter.default is not parameter.empty
    return is_optional and any(argument_faults(component, {name: None}, name))


def _path_fault(cfg: Config, path: str) -> str | None:
    """Return why the path of an override leads nowhere, or None if it does not."""
    keys = path.split('.')
    top = keys[0]
    if top not in TOP_LEVEL_KEYS:
        if top in cfg:
            return _variable_advice(cfg, keys)
        return f'the config has no key {top!r}{_full_keys(cfg, keys) or did_you_mean(top, TOP_LEVEL_KEYS)}'
    node: Any = cfg._cfg_dict
    for depth, key in enumerate(keys):
        here = '.'.join(keys[:depth])
        if isinstance(node, Mapping):
            node = node.get(key)
        elif isinstance(node, list | tuple):
            if not key.lstrip('-').isdigit() or not -len(node) <= int(key) < len(node):
                return f'{here} has the indices 0 to {len(node) - 1}, not {key!r}'
            node = node[int(key)]
        elif node is not None:  # None is new: the validation decides whether the component takes it
            return f'{here} is the {type(node).__name__} {node!r}; set {here} itself'
    return None


def _full_keys(cfg: Config, keys: Sequence[str], most: int = 3) -> str:
    """Return a hint at the first places of a config that end in a key which was given without its path, or ``''``."""
    roots = {name: value for name, value in cfg.items() if name in TOP_LEVEL_KEYS and name != 'arms'}
    ends = [path for path, _ in walk(roots) if path.rpartition('.')[2] == keys[0]]
    if not ends:
        return ''
    return f'; did you mean {" or ".join(repr(".".join([path, *keys[1:]])) for path in ends[:most])}?'


def _variable_advice(cfg: Config, keys: list[str], file: str = 'the config file') -> str:
    """Return where the value of an intermediate variable was copied to, which is where to override it."""
    name, *inner = keys
    value = cfg[name]
    paths = [path for path in find_paths(cfg._cfg_dict, value) if path.split('.')[0] in TOP_LEVEL_KEYS]
    text = f'{name!r} is a variable of {file}; it was copied when that was read, so setting it would change nothing'
    if paths and not isinstance(value, bool) and value is not None:
        return f'{text}; set {" and ".join(".".join([path, *inner]) for path in paths[:4])} instead'
    return f'{text}; edit the config file, or set the key that uses it'
