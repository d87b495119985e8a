"""What a hyper-parameter search draws from: a distribution for each config key."""
import ast
import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ftcls.config.loading import apply_overrides, parse_value, read_config
from ftcls.config.validation import validate_config
from ftcls.utils import ConfigError, MissingFileError, did_you_mean
from ftcls.utils.errors import located
from ftcls.utils.plain_files import distrust, load_plain

__all__ = ['Dimension', 'read_space', 'check_space', 'with_values']

_KINDS = ('uniform', 'loguniform', 'int', 'choice')
_EXAMPLE = "for example 'optim_wrapper.optimizer.lr=loguniform(1e-4, 1e-1)'"


@dataclass(frozen=True)
class Dimension:
    """A config key and what its value is drawn from: a number from ``low`` to ``high``, both included, or a choice.

    Attributes:
        key: The config key; several, joined by ``&``, get the same value.
        kind: 'uniform', 'loguniform', 'int' or 'choice'.
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
            ConfigError: If it has another form, or is no range.
        """
        with located(f'--space {key}={text}'):
            kind, values = _read_call(text)
            if kind != 'choice':
                return cls(key, kind, *_read_range(values, kind))
            if len(values) < 2 or len(set(values)) < len(values):
                raise ConfigError('give at least two values, each once')
            return cls(key, kind, choices=tuple(values))

    def suggest(self, trial: Any) -> Any:
        """Draw a number, or the text of a choice, from a trial of Optuna's."""
        if self.kind == 'choice':
            return trial.suggest_categorical(self.key, self.choices)
        if self.kind == 'int':
            return trial.suggest_int(self.key, self.low, self.high)
        return trial.suggest_float(self.key, self.low, self.high, log=self.kind == 'loguniform')

    def value(self, drawn: Any) -> Any:
        """Return what the config gets for a drawn number or text of a choice."""
        return parse_value(drawn) if self.kind == 'choice' else drawn

    def samples(self) -> Sequence[Any]:
        """Return values to check the config with: all choices, or both ends."""
        return self.choices or (self.low, self.high)

    def __str__(self) -> str:
        inside = ', '.join(self.choices or (f'{self.low:g}', f'{self.high:g}'))
        return f'{self.key}={self.kind}({inside})'


def _read_call(text: str) -> tuple[str, list[str]]:
    """Return the kind of a distribution and its values, as they are written."""
    try:
        call = ast.parse(text.strip(), mode='eval').body
        kind, values = ast.unparse(call.func), list(map(ast.unparse, call.args))
    except (SyntaxError, AttributeError):
        kind, values = text.partition('(')[0].strip(), None
    if kind not in _KINDS or values is None or call.keywords:
        forms = ', '.join(f'{kind}(…)' for kind in _KINDS)
        hint = did_you_mean(kind, _KINDS)
        raise ConfigError(f'cannot be read; expected one of {forms}, values without names, {_EXAMPLE}{hint}')
    return kind, values


def _read_range(texts: Sequence[str], kind: str) -> tuple[float, float]:
    values = list(map(parse_value, texts))
    noun, types = ('whole number', {int}) if kind == 'int' else ('number', {int, float})
    if len(values) != 2 or not {type(value) for value in values} <= types:
        raise ConfigError(f'{kind} takes the least and the greatest {noun}')
    low, high = values
    if not low < high:
        raise ConfigError('the first number must be below the second')
    if kind == 'loguniform' and low <= 0:
        raise ConfigError('loguniform needs numbers above 0')
    return low, high


def read_space(items: Sequence[str]) -> list[Dimension]:
    """Read a search space from ``'key=distribution'`` items and paths of files.

    A Python file has ``space = {'key': 'distribution', …}``, a JSON file the dict alone.

    Raises:
        MissingFileError: If a file does not exist.
        ConfigError: If something is no distribution, or a key is given twice.
    """
    space: dict[str, Dimension] = {}
    for item in items:
        key, is_item, text = item.partition('=')
        found = [(key.strip(), text)] if is_item else _read_file(Path(item)).items()
        for key, text in found:
            if key in space:
                raise ConfigError(f'--space: {key} is given twice')
            space[key] = Dimension.parse(key, text)
            if item.endswith('.json'):
                distrust([space[key].value(one) for one in space[key].samples()])
    if not space:
        raise ConfigError(f'--space is empty: name the keys to search, {_EXAMPLE}')
    return list(space.values())


def _read_file(path: Path) -> Mapping[str, str]:
    with located(f'--space {path}'):
        if path.suffix not in ('.py', '.json'):
            raise ConfigError(f'neither key=distribution nor a .py or .json file, {_EXAMPLE}')
        if not path.is_file():
            raise MissingFileError('no such file')
        try:
            if path.suffix == '.json':
                space = load_plain(path)
            else:
                space = read_config(path).get('space')
        except SyntaxError as err:
            raise ConfigError(str(err)) from None
        if not isinstance(space, Mapping) or not all(isinstance(text, str) for text in space.values()):
            raise ConfigError("must hold space = {'key': 'distribution', …}")
    return space


def with_values(cfg: Config, values: Mapping[str, Any], space: Sequence[Dimension]) -> Config:
    """Return a copy of a config with the value that was drawn for each dimension, by its key."""
    cfg = copy.deepcopy(cfg)
    for dimension in space:
        for key in dimension.key.split('&'):
            apply_overrides(cfg, {key.strip(): dimension.value(values[dimension.key])})
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
                if '--space' not in text:
                    text = f'--space {dimension}: {text}'
                raise ConfigError(text) from None
