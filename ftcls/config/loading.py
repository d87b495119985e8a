"""Reading a config file, with its ``_base_`` files, and overriding parts of it from the command line."""
import ast
import textwrap
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ftcls.utils import ConfigError, MissingFileError, did_you_mean
from .schema import TOP_LEVEL_KEYS

__all__ = ['load_config', 'apply_overrides', 'differing_keys', 'parse_override', 'parse_value']

_NOT_SET = 'not set'


def load_config(path: str | Path, overrides: Mapping[str, Any] | Sequence[str] | None = None) -> Config:
    """Read a config file and apply overrides to it.

    Args:
        path: A ``.py``, ``.json`` or ``.yaml`` config.
        overrides: ``{'a.b.0.c': value}``, or ``['a.b.0.c=value', …]`` as typed on the command line.

    Raises:
        MissingFileError: If the file or one of its ``_base_`` files does not exist.
        ConfigError: For a syntax error, a circular ``_base_``, an override of something that does not exist, or a variable
            of a ``_base_`` file that is set anew where that changes nothing.
    """
    path = Path(path).expanduser()
    files = _check_file(path, chain=())
    try:
        # MMEngine's guess whether a config is of the lazy-import kind is fooled by an import before `_base_`.
        cfg = Config.fromfile(path, lazy_import=False)
    except Exception as err:
        if 'import custom modules' in str(err):  # MMEngine's own text lists all of sys.path
            cause = err.__cause__ or err.__context__ or err
            raise ConfigError(
                f'{path}: custom_imports: {cause}; is the folder that holds the module in PYTHONPATH?') from err
        raise ConfigError(
            f'{_where(err, path, files)}: {type(err).__name__}: {err.args[0] if isinstance(err, KeyError) else err}'
        ) from err
    _check_idle_variables(path, cfg)
    if overrides:
        if not isinstance(overrides, Mapping):
            overrides = dict(parse_override(item) for item in overrides)
        apply_overrides(cfg, overrides)
    return cfg


def _where(err: Exception, path: Path, files: set[Path]) -> str:
    """Return the config file and its line that an exception came from, as ``'config.py, line 3'``."""
    for frame in reversed(traceback.extract_tb(err.__traceback__)):
        file = Path(frame.filename).resolve()
        if file in files:
            return f'{path if file == path.resolve() else file}, line {frame.lineno}'
    return str(path)


def _check_file(path: Path, chain: tuple[Path, ...]) -> set[Path]:
    """Check that a config and its bases exist, are valid Python and do not include one another; return them all."""
    resolved = path.resolve()
    if resolved in chain:
        ring = ' -> '.join(p.name for p in chain[chain.index(resolved):] + (resolved, ))
        raise ConfigError(f'{path}: circular `_base_`: {ring}; remove one of these')
    if not path.is_file():
        by = f' (a `_base_` of {chain[-1]})' if chain else ''
        siblings = [p.name for p in path.parent.glob('*.*')] if path.parent.is_dir() else []
        what = 'is a folder, not a config file' if path.is_dir() else 'does not exist'
        raise MissingFileError(f'config file {path}{by} {what}{did_you_mean(path.name, siblings) if siblings else ""}')
    if path.suffix != '.py':
        return {resolved}
    try:
        tree = ast.parse(path.read_text(encoding='utf-8'))
    except (UnicodeDecodeError, ValueError) as err:
        raise ConfigError(f'{path} is no text in UTF-8 ({err}); is it the config file?') from None
    except SyntaxError as err:
        raise ConfigError(f'{path}, line {err.lineno}: syntax error: {err.msg}: {(err.text or "").strip()}') from None
    files = {resolved}
    for base in _bases(tree, path):
        if '::' not in base:  # `mmengine::…` names a config inside an installed package
            files |= _check_file(path.parent / base, chain + (resolved, ))
    return files


def _check_idle_variables(path: Path, cfg: Config) -> None:
    """Refuse a variable that a base used when it was read, and that is set to something else here, where nothing uses it."""
    if path.suffix != '.py':
        return
    tree = ast.parse(path.read_text(encoding='utf-8'))
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    assigned = {
        target.id: node.lineno
        for node in tree.body if isinstance(node, ast.Assign) for target in node.targets
        if isinstance(target, ast.Name)
    }
    idle = [name for name in assigned if name in cfg and name not in used and name not in TOP_LEVEL_KEYS]
    for base in _bases(tree, path) if idle else ():
        base_cfg = Config.fromfile(path.parent / base, lazy_import=False) if '::' not in base else {}
        for name in idle:
            if name in base_cfg and base_cfg[name] != cfg[name]:
                raise ConfigError(f'{path}, line {assigned[name]}: {_intermediate_advice(base_cfg, [name], base)}')


def _bases(tree: ast.Module, path: Path) -> list[str]:
    """Return what a config assigns to ``_base_``."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == '_base_' for t in node.targets):
            try:
                value = ast.literal_eval(node.value)
            except ValueError:
                raise ConfigError(
                    f'{path}, line {node.lineno}: `_base_` must be a plain string or list of them') from None
            return [value] if isinstance(value, str) else list(value)
    return []


def parse_override(item: str) -> tuple[str, Any]:
    """Split ``'key.path=value'`` and parse the value.

    Example:
        >>> parse_override('train_dataloader.batch_size=8')
        ('train_dataloader.batch_size', 8)
    """
    key, sep, value = item.partition('=')
    if not sep or not key.strip():
        raise ConfigError(
            f'--cfg-options: {item!r} is not of the form key=value, for example train_dataloader.batch_size=8')
    return key.strip(), parse_value(value)


def parse_value(text: str) -> Any:
    """Parse a command-line value: any Python literal, ``dict(…)``, ``[a,b]`` without quotes, ``true``, ``null``, a string.

    Example:
        >>> parse_value('1e-3'), parse_value('[a, 2]'), parse_value('dict(type="SGD", lr=0.1)'), parse_value('true')
        (0.001, ['a', 2], {'type': 'SGD', 'lr': 0.1}, True)
    """
    text = text.strip()
    words = {'true': True, 'false': False, 'none': None, 'null': None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        node = ast.parse(text, mode='eval').body
        value = _literal(node)
    except (SyntaxError, ValueError):
        pass
    else:
        # `1,2,3` without brackets is a list for MMEngine's users, `(1,2,3)` a tuple.
        bare = isinstance(node, ast.Tuple) and node.elts and node.elts[0].col_offset == 0
        return list(value) if bare else value
    parts = _split_commas(text[1:-1] if text[:1] in '[(' and text[-1:] in '])' else text)
    if text[:1] == '[' and text[-1:] == ']':
        return [parse_value(p) for p in parts]
    if text[:1] == '(' and text[-1:] == ')':
        return tuple(parse_value(p) for p in parts)
    return [parse_value(p) for p in parts] if len(parts) > 1 else text


def _literal(node: ast.AST) -> Any:
    """Evaluate a literal; ``dict(a=1)``, ``true``, ``false`` and ``null`` count as literals."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict' and not node.args:
        return {kw.arg: _literal(kw.value) for kw in node.keywords}
    if isinstance(node, ast.List):
        return [_literal(item) for item in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(_literal(item) for item in node.elts)
    if isinstance(node, ast.Dict):
        return {_literal(k): _literal(v) for k, v in zip(node.keys, node.values)}
    if isinstance(node, ast.Name) and node.id in ('true', 'false', 'null'):
        return {'true': True, 'false': False, 'null': None}[node.id]
    return ast.literal_eval(node)


def _split_commas(text: str) -> list[str]:
    """Split at the commas that are not inside brackets or quotes."""
    parts, depth, quote, start = [], 0, '', 0
    for i, char in enumerate(text):
        if quote:
            quote = '' if char == quote else quote
        elif char in '\'"':
            quote = char
        elif char in '([{':
            depth += 1
        elif char in ')]}':
            depth -= 1
        elif char == ',' and depth == 0:
            parts.append(text[start:i])
            start = i + 1
    return [p for p in parts + [text[start:]] if p.strip()]


def apply_overrides(cfg: Config, overrides: Mapping[str, Any]) -> None:
    """Set nested keys and list items of a config in place.

    Whether a *new* last key is one that its component accepts is checked with the whole config, by ``validate_config``.

    Raises:
        ConfigError: If the path leads nowhere, or ends at an intermediate variable that nothing reads any more.
    """
    for path, value in overrides.items():
        _check_override_path(cfg, path)
    try:
        cfg.merge_from_dict(dict(overrides), allow_list_keys=True)
    except (KeyError, TypeError, ValueError) as err:
        raise ConfigError(f'--cfg-options: cannot set {", ".join(overrides)}: {err}') from err


def _check_override_path(cfg: Config, path: str) -> None:
    keys = path.split('.')
    top = keys[0]
    if top not in TOP_LEVEL_KEYS:
        if top in cfg:
            raise ConfigError(f'--cfg-options {path}: {_intermediate_advice(cfg, keys)}')
        raise ConfigError(f'--cfg-options {path}: the config has no key {top!r}{did_you_mean(top, TOP_LEVEL_KEYS)}')
    node: Any = cfg._cfg_dict
    for depth, key in enumerate(keys):
        here = '.'.join(keys[:depth]) or 'the config'
        if isinstance(node, Mapping):
            if key not in node:
                return  # new: the validation decides whether the component takes it
            node = node[key]
        elif isinstance(node, list | tuple):
            if not key.lstrip('-').isdigit() or not -len(node) <= int(key) < len(node):
                raise ConfigError(
                    f'--cfg-options {path}: {here} is a list of {len(node)}; {key!r} is not one of its indices '
                    f'0 to {len(node) - 1}')
            node = node[int(key)]
        elif node is None:
            return
        else:
            raise ConfigError(
                f'--cfg-options {path}: {here} is the {type(node).__name__} {node!r}, which has nothing inside it '
                f'to set; set {here} itself')


def _intermediate_advice(cfg: Config, keys: list[str], file: str = 'the config file') -> str:
    """Say where the value of an intermediate variable ended up, which is where to override it."""
    value = cfg[keys[0]]
    places = [p for p in find_paths(cfg._cfg_dict, value) if p != keys[0] and p.split('.')[0] in TOP_LEVEL_KEYS]
    rest = ''.join('.' + k for k in keys[1:])
    text = f'{keys[0]!r} is a variable of {file}; it was copied when that was read, so that setting it now would change ' \
           'nothing'
    if places and not isinstance(value, bool) and value is not None:
        return text + '; set ' + ' or '.join(f'{p}{rest}' for p in places[:4]) + ' instead'
    return text + '; edit the config file, or set the key that uses it'


def find_paths(node: Any, value: Any, path: str = '') -> list[str]:
    """Return the paths inside ``node`` at which ``value`` stands."""
    found = [path] if path and type(node) is type(value) and node == value else []
    if isinstance(node, Mapping):
        items = list(node.items())
    elif isinstance(node, list | tuple):
        items = list(enumerate(node))
    else:
        items = []
    for key, child in items:
        found += find_paths(child, value, f'{path}.{key}' if path else str(key))
    return found


def differing_keys(before: Any, now: Any, path: str = '') -> Iterator[str]:
    """Yield, of two configs as plain dicts, each key whose value differs, with the old and the new one.

    Example:
        >>> list(differing_keys({'lr': 0.1, 'steps': [1, 2]}, {'lr': 0.2, 'steps': [1, 2]}))
        ['lr: 0.1 there, 0.2 here']
    """
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in dict.fromkeys([*before, *now]):
            yield from differing_keys(before.get(key, _NOT_SET), now.get(key, _NOT_SET), f'{path}.{key}'.lstrip('.'))
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for i, (old, new) in enumerate(zip(before, now)):
            yield from differing_keys(old, new, f'{path}.{i}')
    elif before != now:
        old, new = (value if value is _NOT_SET else textwrap.shorten(repr(value), 80) for value in (before, now))
        yield f'{path}: {old} there, {new} here'
