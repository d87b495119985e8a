"""Which settings each parameter gets: the rules of ``paramwise_cfg``, apart from any optimizer."""
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from ftcls.utils import ConfigError, did_you_mean, is_regex, match_names

__all__ = ['PARAMWISE_KEYS', 'Setting', 'Rules', 'named_settings', 'merge_groups']

WHERE = 'optim_wrapper.paramwise_cfg'
_LR_MULTS = ('bias_lr_mult', 'dcn_offset_lr_mult')
_DECAY_MULTS = ('norm_decay_mult', 'bias_decay_mult', 'dwconv_decay_mult', 'flat_decay_mult')
PARAMWISE_KEYS = ('custom_keys', *_LR_MULTS, *_DECAY_MULTS, 'bypass_duplicate')
_NORMS = (_BatchNorm, _InstanceNorm, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
_DCN_NAMES = {'DeformConv2d', 'ModulatedDeformConv2d'}


@dataclass(frozen=True)
class Setting:
    """What one parameter is trained with.

    Attributes:
        label: The custom key that decided, or the kind of parameter (``'norm'``, ``'bias'`` …), or ``'default'``.
        lr_mult: Factor of the optimizer's learning rate.
        decay_mult: Factor of the optimizer's weight decay.
        options: Further options of the optimizer for this parameter, from its custom key.
    """
    label: str = 'default'
    lr_mult: float = 1.
    decay_mult: float = 1.
    options: Mapping[str, Any] = field(default_factory=dict)


def _check_mult(value: Any, where: str) -> None:
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= value < float('inf'):
        raise ConfigError(f'{where} = {value!r}: must be a number >= 0')


def _check_keys(given: Iterable[str], allowed: Iterable[str], where: str) -> None:
    for key in given:
        if key not in allowed:
            raise ConfigError(f'{where}: unknown key {key!r}{did_you_mean(str(key), allowed)}')


class Rules:
    """The rules of a ``paramwise_cfg``, checked.

    Args:
        paramwise_cfg: As in the config; see ``DefaultOptimWrapperConstructor`` for the keys.
        optimizer_options: Options of the optimizer that a custom key may set for its parameters.

    Raises:
        ConfigError: If a key is unknown or a value of the wrong kind.
    """

    def __init__(self, paramwise_cfg: Mapping[str, Any], optimizer_options: Iterable[str] = ()) -> None:
        _check_keys(paramwise_cfg, PARAMWISE_KEYS, WHERE)
        self.mults = {key: paramwise_cfg[key] for key in _LR_MULTS + _DECAY_MULTS if paramwise_cfg.get(key) is not None}
        for key, value in self.mults.items():
            _check_mult(value, f'{WHERE}.{key}')
        self.bypass_duplicate = bool(paramwise_cfg.get('bypass_duplicate', False))
        custom_keys = paramwise_cfg.get('custom_keys') or {}
        if not isinstance(custom_keys, Mapping):
            raise ConfigError(f'{WHERE}.custom_keys must be a dict from name to options, got {custom_keys!r}')
        # The longest key wins; of two equally long ones, the first in the alphabet.
        self.custom = {key: custom_keys[key] for key in sorted(sorted(custom_keys), key=len, reverse=True)}
        allowed = ['lr_mult', 'decay_mult', *(o for o in optimizer_options if o not in ('lr_mult', 'decay_mult'))]
        for key, options in self.custom.items():
            where = f'{WHERE}.custom_keys[{key!r}]'
            if not isinstance(options, Mapping):
                raise ConfigError(f'{where} must be a dict such as dict(lr_mult=0.1), got {options!r}')
            _check_keys(options, allowed, where)
            for mult in ('lr_mult', 'decay_mult'):
                _check_mult(options.get(mult, 1.), f'{where}.{mult}')

    def multiplied(self, what: str) -> list[str]:
        """Return the places that multiply ``what``, ``'lr'`` or ``'decay'``, which must then be given."""
        end = f'{what}_mult'
        keys = [f'{WHERE}.{key}' for key in self.mults if key.endswith(end)]
        return keys + [f'{WHERE}.custom_keys[{key!r}].{end}' for key, options in self.custom.items() if end in options]

    def match(self, names: Iterable[str]) -> dict[str, str]:
        """Return, for each name that a custom key matches, the key that decides.

        Raises:
            ConfigError: If a key matches no name, or is not a valid regular expression.
        """
        names = list(names)
        decided: dict[str, str] = {}
        for key in self.custom:
            try:
                hits = _matches(key, names)
            except ValueError as err:
                raise ConfigError(f'{WHERE}.custom_keys[{key!r}]: {err}') from None
            if not hits:
                hint = did_you_mean(key, _name_parts(names))
                raise ConfigError(f'{WHERE}.custom_keys[{key!r}]: matches no parameter{hint}')
            for name in hits:
                decided.setdefault(name, key)
        return decided

    def custom_setting(self, key: str) -> Setting:
        """Return the setting of a custom key, under which the other rules do not count."""
        options = dict(self.custom[key])
        return Setting(key, float(options.pop('lr_mult', 1.)), float(options.pop('decay_mult', 1.)), options)

    def kind_setting(self, module: nn.Module, name: str, param: nn.Parameter, in_dcn: bool) -> tuple[Setting, set[str]]:
        """Return the setting by the kind of parameter, and the rules that gave it.

        Args:
            module: The module that owns the parameter.
            name: The parameter's full name.
            param: The parameter.
            in_dcn: Whether the module is a child of a deformable convolution.
        """
        is_norm = isinstance(module, _NORMS)
        is_bias = name.rpartition('.')[2] == 'bias'
        # A convolution from a single channel (LeNet's first) has in_channels == groups too, and is not depthwise.
        is_dwconv = isinstance(module, nn.Conv2d) and module.in_channels == module.groups > 1
        lr_rules = (('dcn_offset_lr_mult', in_dcn and 'conv_offset' in name
                     and isinstance(module, nn.Conv2d)), ('bias_lr_mult', is_bias and not is_norm and not in_dcn))
        decay_rules = (('norm_decay_mult', is_norm), ('bias_decay_mult', is_bias and not in_dcn),
                       ('dwconv_decay_mult', is_dwconv), ('flat_decay_mult', param.ndim == 1 and not in_dcn))
        lr_rule = next((rule for rule, holds in lr_rules if holds and rule in self.mults), None)
        decay_rule = next((rule for rule, holds in decay_rules if holds and rule in self.mults), None)
        rules = {rule for rule in (lr_rule, decay_rule) if rule}
        if not rules:
            return Setting(), rules
        # 'norm_decay_mult' -> 'norm', 'dcn_offset_lr_mult' -> 'dcn_offset'
        kinds = dict.fromkeys(rule.removesuffix('_mult').rpartition('_')[0] for rule in (lr_rule, decay_rule) if rule)
        return Setting('+'.join(kinds), float(self.mults.get(lr_rule, 1.)), float(self.mults.get(decay_rule,
                                                                                                 1.))), rules


def _matches(key: str, names: Iterable[str]) -> list[str]:
    """Return the names that a key matches; as in MMEngine, a plain '.cls_token' matches 'cls_token' of the model itself."""
    if is_regex(key):
        return match_names(key, names)
    return [name for name in names if match_names(key, [name if '.' in name else f'.{name}'])]


def _name_parts(names: Iterable[str]) -> list[str]:
    """Return the modules and the last components that occur in parameter names: what a key can have meant."""
    parts: dict[str, None] = {}
    for name in names:
        pieces = name.split('.')
        parts.update((piece, None) for piece in pieces if not piece.isdigit())
        parts.update(('.'.join(pieces[:end]), None) for end in range(2, len(pieces)))
    return list(parts)


def owned_parameters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter, nn.Module, bool]]:
    """Yield every parameter under every name it has: (name, parameter, owner, whether the owner is inside a DCN).

    The order is that of the modules in the model, hence the same in each run.
    """

    def walk(module: nn.Module, prefix: str, in_dcn: bool) -> Iterator[tuple[str, nn.Parameter, nn.Module, bool]]:
        for name, param in module.named_parameters(recurse=False):
            yield prefix + name, param, module, in_dcn
        is_dcn = bool(_DCN_NAMES & {cls.__name__ for cls in type(module).__mro__})
        for name, child in module.named_children():
            yield from walk(child, f'{prefix}{name}.', is_dcn)

    return walk(model, '', False)


def named_settings(model: nn.Module, rules: Rules) -> tuple[dict[str, tuple[nn.Parameter, Setting]], list[str]]:
    """Decide the setting of each trainable parameter of ``model``.

    Returns:
        ``{name: (parameter, setting)}`` in the model's order, a parameter that is shared under its first name; and what
        the user should know, as sentences: rules without effect, shared parameters whose names ask for different things.

    Raises:
        ConfigError: If a custom key matches nothing, nothing is trainable, or a shared parameter is asked to have two
            settings and ``bypass_duplicate`` is off.
    """
    owned = list(owned_parameters(model))
    decided = rules.match(name for name, *_ in owned)
    settings: dict[str, tuple[nn.Parameter, Setting]] = {}
    first_name: dict[int, str] = {}
    used: set[str] = set()
    notes: list[str] = []
    for name, param, module, in_dcn in owned:
        if not param.requires_grad:
            continue
        if name in decided:
            setting, by = rules.custom_setting(decided[name]), {decided[name]}
        else:
            setting, by = rules.kind_setting(module, name, param, in_dcn)
        used |= by
        first = first_name.setdefault(id(param), name)
        if first == name:
            settings[name] = (param, setting)
        elif _values(settings[first][1]) != _values(setting):
            clash = f'{first} and {name} are one shared parameter, and {WHERE} gives them different settings'
            if not rules.bypass_duplicate:
                raise ConfigError(
                    f'{clash} ({settings[first][1].label!r} and {setting.label!r}); give both the same, or '
                    f'set {WHERE}.bypass_duplicate=True to keep those of the first name')
            notes.append(f'{clash}; those of the first are kept')
    if not settings:
        raise ConfigError(f'nothing to train: all {len(owned)} parameters of {type(model).__name__} are frozen'
                          if owned else f'nothing to train: {type(model).__name__} has no parameters')
    return settings, notes + _idle_rules(rules, owned, decided, used)


def _idle_rules(rules: Rules, owned: list[tuple], decided: Mapping[str, str], used: set[str]) -> list[str]:
    """Return a sentence for each rule that decides nothing for any trainable parameter."""
    notes = []
    trainable = [name for name, param, *_ in owned if param.requires_grad]
    for key in rules.custom:
        if key in used:
            continue
        if _matches(key, trainable):
            winners = sorted({decided[name] for name in _matches(key, trainable)})
            why = f'longer keys decide for all parameters that it matches ({", ".join(map(repr, winners))})'
        else:
            why = 'all parameters that it matches are frozen'
        notes.append(f'{WHERE}.custom_keys[{key!r}] has no effect: {why}')
    notes += [f'{WHERE}.{key} has no effect on any trainable parameter' for key in rules.mults if key not in used]
    return notes


def _values(setting: Setting) -> tuple:
    """Return what makes two settings the same group: all but the label."""
    return setting.lr_mult, setting.decay_mult, repr(sorted(setting.options.items()))


def merge_groups(settings: Mapping[str, tuple[nn.Parameter, Setting]], base_lr: float | None,
                 base_wd: float | None) -> list[dict[str, Any]]:
    """Merge parameters with equal settings into the optimizer's groups.

    Args:
        settings: As from ``named_settings``.
        base_lr: The optimizer's learning rate; None leaves it to the optimizer.
        base_wd: The optimizer's weight decay; None leaves it to the optimizer.

    Returns:
        One dict a group: ``params``, ``name``, ``param_names``, ``lr_mult``, ``decay_mult``, and ``lr``,
        ``weight_decay`` and further options. The default group, where there is one, comes first, the rest in the model's
        order.
    """
    groups: dict[tuple, dict[str, Any]] = {}
    labels: dict[tuple, dict[str, None]] = {}
    for name, (param, setting) in settings.items():
        key = _values(setting)
        if key not in groups:
            groups[key] = dict(
                params=[], name='', param_names=[], lr_mult=setting.lr_mult, decay_mult=setting.decay_mult)
            if base_lr is not None:
                groups[key]['lr'] = base_lr * setting.lr_mult
            if base_wd is not None:
                groups[key]['weight_decay'] = base_wd * setting.decay_mult
            groups[key].update(setting.options)
        groups[key]['params'].append(param)
        groups[key]['param_names'].append(name)
        labels.setdefault(key, {})[setting.label] = None
    for key, group in groups.items():
        group['name'] = 'default' if 'default' in labels[key] else ', '.join(labels[key])
    return sorted(groups.values(), key=lambda group: group['name'] != 'default')
