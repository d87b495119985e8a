"""Which settings each parameter gets: the rules of ``paramwise_cfg``, apart from any optimizer."""
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from ftcls.utils import ConfigError, did_you_mean, is_regex, match_names
from ftcls.utils.names import name_parts

__all__ = ['LAYERWISE_KEYS', 'PARAMWISE_KEYS', 'Setting', 'Rules', 'named_settings', 'merge_groups']

WHERE = 'optim_wrapper.paramwise_cfg'
_LR_MULTS = ('bias_lr_mult', 'dcn_offset_lr_mult')
_DECAY_MULTS = ('norm_decay_mult', 'bias_decay_mult', 'dwconv_decay_mult', 'flat_decay_mult')
PARAMWISE_KEYS = ('custom_keys', *_LR_MULTS, *_DECAY_MULTS, 'bypass_duplicate')
LAYERWISE_KEYS = ('layer_decay_rate', 'lr_mult_range')
_LAYERWISE = 'LearningRateDecayOptimWrapperConstructor'
_NORMS = (_BatchNorm, _InstanceNorm, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
_DCN_NAMES = {'DeformConv2d', 'ModulatedDeformConv2d'}


@dataclass(frozen=True)
class Setting:
    """What one parameter is trained with.

    Attributes:
        label: The custom key that decided, or the kind of parameter (``'norm'``, ``'bias'`` …), or ``'default'``; behind
            ``'stage0'`` … where rates differ by layer.
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
        layerwise: Take the keys of ``LearningRateDecayOptimWrapperConstructor`` too.

    Raises:
        ConfigError: If a key is unknown or a value of the wrong kind.
    """

    def __init__(self,
                 paramwise_cfg: Mapping[str, Any],
                 optimizer_options: Iterable[str] = (),
                 layerwise: bool = False) -> None:
        for key in LAYERWISE_KEYS:
            if key in paramwise_cfg and not layerwise:
                raise ConfigError(f"{WHERE}.{key}: needs optim_wrapper.constructor='{_LAYERWISE}'")
        _check_keys(paramwise_cfg, PARAMWISE_KEYS + LAYERWISE_KEYS * layerwise, WHERE)
        self.layerwise = layerwise
        self.layer_range = _layer_range(paramwise_cfg) if layerwise else None
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
        keys += [f'{WHERE}.{LAYERWISE_KEYS[0]} (or {LAYERWISE_KEYS[1]})'] * (what == 'lr' and self.layerwise)
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
                hint = did_you_mean(key, name_parts(names))
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

    def at_layer(self, setting: Setting, layer: int, top: int) -> Setting:
        """Return a setting with its learning rate multiplied by the factor of a layer, 0 the stem, ``top`` neck and head."""
        first, last = self.layer_range
        if first is None:  # the rate of decay
            factor = last**(top - layer)
        else:
            factor = last if layer == top else first * (last / first)**(layer / top)
        if layer == top:
            return replace(setting, lr_mult=setting.lr_mult * factor)
        label = f'stage{layer}' if setting.label == 'default' else f'stage{layer} {setting.label}'
        return replace(setting, label=label, lr_mult=setting.lr_mult * factor)


def _layer_range(paramwise_cfg: Mapping[str, Any]) -> tuple[float | None, float]:
    """Return the factors of the first layer and of the last, or None and the rate of decay from one layer to the one below."""
    rate, span = (paramwise_cfg.get(key) for key in LAYERWISE_KEYS)
    if rate is not None and span is not None:
        raise ConfigError(
            f'{WHERE}: layer_decay_rate and lr_mult_range say the same thing in two ways; give one of them')
    values = (1. if rate is None else rate, ) if span is None else span
    good = isinstance(values, list | tuple) and len(values) == (1 if span is None else 2)
    if not good or not all(isinstance(v, Real) and not isinstance(v, bool) and 0 < v < float('inf') for v in values):
        raise ConfigError(
            f'{WHERE}.layer_decay_rate = {rate!r}: must be a number above 0, such as 0.75' if span is
            None else f'{WHERE}.lr_mult_range = {span!r}: must be two numbers above 0, the factors of the stem and of '
            'the head, such as (0.01, 1)')
    return (None, float(values[0])) if span is None else (float(values[0]), float(values[1]))


def layers_of_parameters(model: nn.Module) -> tuple[dict[int, int], int]:
    """Return the layer of each of the backbone's parameters, by ``id``: its stage; and that of all others, the last.

    Raises:
        ConfigError: If the model's backbone does not say what its stages are.
    """
    backbone = getattr(model, 'backbone', None)
    if not hasattr(backbone, 'stage_of_parameters'):
        raise ConfigError(f'optim_wrapper.constructor={_LAYERWISE!r} goes by the stages of model.backbone, and '
                          f'{type(model).__name__} has no backbone that is a BaseBackbone')
    params = dict(backbone.named_parameters())
    return {id(params[name]): stage for name, stage in backbone.stage_of_parameters().items()}, len(backbone.stages())


def _matches(key: str, names: Iterable[str]) -> list[str]:
    """Return the names that a key matches; as in MMEngine, a plain '.cls_token' matches 'cls_token' of the model itself."""
    if is_regex(key):
        return match_names(key, names)
    return [name for name in names if match_names(key, [name if '.' in name else f'.{name}'])]


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
    layers, top = layers_of_parameters(model) if rules.layerwise else ({}, 0)
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
        if rules.layerwise:
            setting = rules.at_layer(setting, layers.get(id(param), top), top)
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
    if rules.layerwise and rules.layer_range == (None, 1.):
        notes.append(
            f'{_LAYERWISE} has no effect: {WHERE} has neither layer_decay_rate (such as 0.75) nor lr_mult_range')
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
