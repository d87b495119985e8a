"""What a hyper-parameter search draws from: a distribution for each config key."""
import ast
import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ftcls.config.loading import apply_overrides, parse_value
from ftcls.config.validation import validate_config
from ftcls.utils import ConfigError, MissingFileError, did_you_mean

__all__ = ['Dimension', 'read_space', 'check_space', 'with_values']

_KINDS = {'uniform': 2, 'loguniform': 2, 'int': 2, 'choice': 1}
_EXAMPLE = "'optim_wrapper.optimizer.lr=loguniform(1e-4, 1e-1)'"


@dataclass(frozen=True)
class Dimension:
    """One config key and what its value is drawn from.

    Attributes:
        key: The config key; several, joined by ``&``, get the same value.
        kind: 'uniform' or 'loguniform' (a number from ``low`` to ``high``), 'int' (a whole one, both ends included), or 'choice'.
        low: Least value of a number.
        high: Greatest value of a number.
        choices: The values to choose from, as written in a config (``"dict(type='Adam')"``).
    """
    key: str
    kind: str
    low: float = 0.
    high: float = 0.
    choices: tuple[str, ...] = ()

    @classmethod
    def parse(cls, key: str, text: str) -> 'Dimension':
        """Read ``'loguniform(1e-4, 1e-1)'``, ``'uniform(0, 0.5)'``, ``'int(1, 8)'`` or ``'choice(a, b, c)'``.

        Raises:
            ConfigError: If it is of another form, or no range.
        """
        where = f'--space {key}={text}'
        name, bracket, rest = text.strip().partition('(')
        if name.strip() not in _KINDS or not bracket or not rest.endswith(')'):
            raise ConfigError(f'{where}: expected one of {", ".join(f"{k}(…)" for k in _KINDS)}, {_EXAMPLE} for one'
                              f'{did_you_mean(name.strip(), _KINDS)}')
        kind = name.strip()
        if kind == 'choice':
            choices = _arguments(rest[:-1], where)
            if len(choices) < 2 or len(set(choices)) < len(choices):
                raise ConfigError(f'{where}: give at least two values, each once')
            return cls(key, kind, choices=tuple(choices))
        values = parse_value(f'[{rest[:-1]}]')
        is_number = isinstance(values, list) and len(values) == 2 and all(
            isinstance(v, int if kind == 'int' else int | float) and not isinstance(v, bool) for v in values)
        if not is_number:
            raise ConfigError(f'{where}: {kind} takes the least and the greatest {"whole " * (kind == "int")}number')
        low, high = values
        if not low < high:
            raise ConfigError(f'{where}: the first number must be below the second')
        if kind == 'loguniform' and low <= 0:
            raise ConfigError(f'{where}: loguniform needs numbers above 0')
        return cls(key, kind, low, high)

    def value(self, drawn: Any) -> Any:
        """Return what goes into the config for a drawn number or text of a choice."""
        return parse_value(drawn) if self.kind == 'choice' else drawn

    def samples(self) -> Sequence[Any]:
        """Return values to check the config with: all choices, or both ends."""
        return self.choices if self.kind == 'choice' else (self.low, self.high)

    def __str__(self) -> str:
        inside = ', '.join(self.choices) if self.kind == 'choice' else f'{self.low:g}, {self.high:g}'
        return f'{self.key}={self.kind}({inside})'


def _arguments(text: str, where: str) -> list[str]:
    """Return the choices as they are written: split at the commas outside of brackets and quotes."""
    try:
        call = ast.parse(f'f({text})', mode='eval').body
    except SyntaxError:
        raise ConfigError(f'{where}: cannot be read; values are written as in a config') from None
    if call.keywords:
        raise ConfigError(f'{where}: values are written as in a config, without names before them')
    return [ast.unparse(argument) for argument in call.args]


def read_space(items: Sequence[str]) -> list[Dimension]:
    """Read a search space from ``'key=distribution'`` items and from files.

    Args:
        items: Such items, or paths of Python or JSON files that hold ``space = {'key': 'distribution', …}`` (JSON: the dict alone).

    Raises:
        MissingFileError: If a file is not there.
        ConfigError: If something is no distribution, or a key stands twice.
    """
    space: dict[str, Dimension] = {}
    for item in items:
        for key, text in (_read_file(Path(item)) if '=' not in item else [_split(item)]):
            if key in space:
                raise ConfigError(f'--space: {key} stands there twice')
            space[key] = Dimension.parse(key, text)
    if not space:
        raise ConfigError(f'--space is empty: what shall be searched? {_EXAMPLE} for one')
    return list(space.values())


def _split(item: str) -> tuple[str, str]:
    key, _, text = item.partition('=')
    return key.strip(), text


def _read_file(path: Path) -> list[tuple[str, str]]:
    if path.suffix not in ('.py', '.json'):
        raise ConfigError(f'--space {path}: neither key=distribution nor a .py or .json file; {_EXAMPLE} for one')
    if not path.is_file():
        raise MissingFileError(f'--space {path}: no such file')
    try:
        content = json.loads(path.read_text(encoding='utf-8')) if path.suffix == '.json' else Config.fromfile(
            path, lazy_import=False).get('space')
    except (SyntaxError, ValueError) as err:
        raise ConfigError(f'--space {path}: cannot be read: {err}') from None
    if not isinstance(content, Mapping) or not all(isinstance(text, str) for text in content.values()):
        raise ConfigError(f"--space {path}: must hold space = {{'key': 'distribution', …}}")
    return list(content.items())


def with_values(cfg: Config, values: Mapping[str, Any], space: Sequence[Dimension]) -> Config:
    """Return a copy of a config with one value for each dimension.

    Args:
        cfg: The config; it is not changed.
        values: What was drawn, by ``Dimension.key``.
        space: The dimensions.
    """
    cfg = copy.deepcopy(cfg)
    for dimension in space:
        value = dimension.value(values[dimension.key])
        apply_overrides(cfg, {key.strip(): copy.deepcopy(value) for key in dimension.key.split('&')})
    return cfg


def check_space(cfg: Config, space: Sequence[Dimension]) -> None:
    """Validate the config with both ends, or every choice, of each dimension.

    Raises:
        ConfigError: If a key is unknown, or takes no such value.
    """
    first = {dimension.key: dimension.samples()[0] for dimension in space}
    for dimension in space:
        for sample in dimension.samples():
            try:
                validate_config(with_values(cfg, {**first, dimension.key: sample}, space))
            except ConfigError as err:
                text = str(err).replace('--cfg-options', '--space')
                raise ConfigError(text if '--space' in text else f'--space {dimension}: {text}') from None
