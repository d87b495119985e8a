"""Which settings each parameter gets: the rules of ``paramwise_cfg``, apart from any optimizer."""
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from annotated_types import Interval
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from ftcls.utils import ConfigError, did_you_mean, is_regex, match_names
from ftcls.utils.arguments import check_arguments
from ftcls.utils.names import enumerate_names, name_parts
from ftcls.utils.tree import grouped

__all__ = ['LayerwiseCfg', 'ParamwiseCfg', 'Rules', 'Setting', 'merge_groups', 'named_settings']

Factor = Annotated[float, Interval(ge=0, lt=math.inf)]
PositiveFactor = Annotated[float, Interval(gt=0, lt=math.inf)]

_WHERE = 'optim_wrapper.paramwise_cfg'
_LAYERWISE = 'LearningRateDecayOptimWrapperConstructor'
_LAYERWISE_KEYS = ('layer_decay_rate', 'lr_mult_range')
_NORMS = (_BatchNorm, _InstanceNorm, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
_DCN_NAMES = {'DeformConv2d', 'ModulatedDeformConv2d'}


@dataclass(frozen=True)
class ParamwiseCfg:
    """The keys of ``paramwise_cfg``, see ``DefaultOptimWrapperConstructor``."""
    custom_keys: Mapping[str, Mapping[str, Any]] | None = None
    bias_lr_mult: Factor | None = None
    dcn_offset_lr_mult: Factor | None = None
    norm_decay_mult: Factor | None = None
    bias_decay_mult: Factor | None = None
    dwconv_decay_mult: Factor | None = None
    flat_decay_mult: Factor | None = None
    bypass_duplicate: bool = False


@dataclass(frozen=True)
class LayerwiseCfg(ParamwiseCfg):
    """The keys that ``LearningRateDecayOptimWrapperConstructor`` takes."""
    layer_decay_rate: PositiveFactor | None = None
    lr_mult_range: tuple[PositiveFactor, PositiveFactor] | None = None


@dataclass(frozen=True)
class Setting:
    """What one parameter is trained with: factors of the learning rate and the weight decay, and further options.

    The label is the custom key that decided, the kind of parameter (``'norm'``, ``'bias'`` …), or ``'default'``; after
    ``'stage0'`` … where rates differ by layer.
    """
    label: str = 'default'
    lr_mult: Factor = 1.
    decay_mult: Factor = 1.
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def values(self) -> tuple:
        """What makes two settings the same group: everything but the label."""
        return self.lr_mult, self.decay_mult, repr(sorted(self.options.items()))


class Rules:
    """The rules of a ``paramwise_cfg``, checked.

    Args:
        paramwise_cfg: As in the config.
        optimizer_options: Options of the optimizer that a custom key may set for its parameters.
        layerwise: Take the keys of ``LearningRateDecayOptimWrapperConstructor`` too.

    Raises:
        ConfigError: If a key is unknown, or a value has the wrong type or is out of bounds.
    """

    def __init__(self,
                 paramwise_cfg: Mapping[str, Any],
                 optimizer_options: Iterable[str] = (),
                 layerwise: bool = False) -> None:
        for key in _LAYERWISE_KEYS:
            if key in paramwise_cfg and not layerwise:
                raise ConfigError(f"{_WHERE}.{key}: needs optim_wrapper.constructor='{_LAYERWISE}'")
        schema = {True: LayerwiseCfg, False: ParamwiseCfg}[layerwise]
        check_arguments(schema, paramwise_cfg, _WHERE)
        self.cfg = schema(**paramwise_cfg)
        if layerwise and None not in (self.cfg.layer_decay_rate, self.cfg.lr_mult_range):
            raise ConfigError(f'{_WHERE}: layer_decay_rate and lr_mult_range exclude each other; give one of them')
        self.layerwise = layerwise
        given = {key: value for key, value in vars(self.cfg).items() if value is not None}
        self.mults = {key: value for key, value in given.items() if key.endswith('_mult')}
        custom_keys = self.cfg.custom_keys or {}
        self.custom = {key: custom_keys[key] for key in sorted(sorted(custom_keys), key=len, reverse=True)}
        allowed = ['lr_mult', 'decay_mult', *optimizer_options]
        for key, options in self.custom.items():
            for option in [option for option in options if option not in allowed]:
                raise ConfigError(f'{_path(key)}: unknown key {option!r}{did_you_mean(str(option), allowed)}')
            mults = {name: value for name, value in options.items() if name.endswith('_mult')}
            check_arguments(Setting, mults, _path(key))

    def multiplied(self, what: str) -> list[str]:
        """Return the config keys that multiply ``what``, ``'lr'`` or ``'decay'``, which must then be given."""
        end = f'{what}_mult'
        keys = [f'{_WHERE}.{key}' for key in self.mults if key.endswith(end)]
        if what == 'lr' and self.layerwise:
            keys.append(f'{_WHERE}.{" (or ".join(_LAYERWISE_KEYS)})')
        return keys + [f'{_path(key)}.{end}' for key, options in self.custom.items() if end in options]

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
                raise ConfigError(f'{_path(key)}: {err}') from None
            if not hits:
                raise ConfigError(f'{_path(key)}: matches no parameter{did_you_mean(key, name_parts(names))}')
            decided = dict.fromkeys(hits, key) | decided
        return decided

    def custom_setting(self, key: str) -> Setting:
        """Return the setting of a custom key, under which the other rules do not count."""
        options = dict(self.custom[key])
        return Setting(key, float(options.pop('lr_mult', 1.)), float(options.pop('decay_mult', 1.)), options)

    def kind_setting(self, module: nn.Module, name: str, param: nn.Parameter, in_dcn: bool) -> tuple[Setting, set[str]]:
        """Return the setting by the kind of parameter, and the rules that gave it; arguments as `owned_parameters`."""
        is_norm, is_conv = isinstance(module, _NORMS), isinstance(module, nn.Conv2d)
        is_bias = name.rpartition('.')[2] == 'bias'
        is_offset = in_dcn and is_conv and 'conv_offset' in name
        # A convolution from a single channel (LeNet's first) has in_channels == groups too, and is not depthwise.
        is_depthwise = is_conv and module.in_channels == module.groups > 1
        lr_rule = self._first(bias_lr_mult=is_bias and not is_norm and not in_dcn, dcn_offset_lr_mult=is_offset)
        decays = dict(norm_decay_mult=is_norm, bias_decay_mult=is_bias and not in_dcn, dwconv_decay_mult=is_depthwise)
        decay_rule = self._first(**decays, flat_decay_mult=param.ndim == 1 and not in_dcn)
        rules = [rule for rule in (lr_rule, decay_rule) if rule]
        # 'norm_decay_mult' -> 'norm', 'dcn_offset_lr_mult' -> 'dcn_offset'
        kinds = dict.fromkeys(rule.removesuffix('_mult').rpartition('_')[0] for rule in rules)
        lr_mult, decay_mult = self.mults.get(lr_rule, 1.), self.mults.get(decay_rule, 1.)
        return Setting('+'.join(kinds) or 'default', float(lr_mult), float(decay_mult)), set(rules)

    def _first(self, **rules: bool) -> str | None:
        """Return the first rule that applies and is given."""
        return next((rule for rule, applies in rules.items() if applies and rule in self.mults), None)

    def at_layer(self, setting: Setting, layer: int, top: int) -> Setting:
        """Return a setting with its rate multiplied by the factor of a layer: 0 the stem, ``top`` neck and head."""
        lr_mult = setting.lr_mult * self._layer_factor(layer, top)
        if layer == top:
            return replace(setting, lr_mult=lr_mult)
        label = f'stage{layer}' if setting.label == 'default' else f'stage{layer} {setting.label}'
        return replace(setting, label=label, lr_mult=lr_mult)

    def _layer_factor(self, layer: int, top: int) -> float:
        if self.cfg.lr_mult_range is None:
            return float(self.cfg.layer_decay_rate or 1.)**(top - layer)
        first, last = map(float, self.cfg.lr_mult_range)
        return last if layer == top else first * (last / first)**(layer / top)


def layers_of_parameters(model: nn.Module) -> tuple[dict[int, int], int]:
    """Return the layer of each of the backbone's parameters, by ``id``: its stage; and that of all others, the last.

    Raises:
        ConfigError: If the model has no backbone with stages.
    """
    backbone = getattr(model, 'backbone', None)
    if not hasattr(backbone, 'stage_of_parameters'):
        raise ConfigError(f'optim_wrapper.constructor={_LAYERWISE!r}: needs the stages of model.backbone, and '
                          f'{type(model).__name__} has no backbone that is a BaseBackbone')
    stage_of = backbone.stage_of_parameters()
    return {id(param): stage_of[name] for name, param in backbone.named_parameters()}, backbone.num_stages_total + 1


def _path(key: str) -> str:
    return f'{_WHERE}.custom_keys[{key!r}]'


def _matches(key: str, names: Iterable[str]) -> list[str]:
    """Return the names that a key matches; as in MMEngine, '.cls_token' matches 'cls_token' of the model itself."""
    if is_regex(key):
        return match_names(key, names)
    return [name for name in names if key in name or '.' not in name and key in f'.{name}']


def owned_parameters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter, nn.Module, bool]]:
    """Yield every parameter under every name: (name, parameter, its module, whether that is a child of a DCN)."""
    modules = dict(model.named_modules(remove_duplicate=False))
    for path, module in modules.items():
        parent = modules[path.rpartition('.')[0]]
        in_dcn = parent is not module and any(cls.__name__ in _DCN_NAMES for cls in type(parent).__mro__)
        for name, param in module.named_parameters(prefix=path, recurse=False):
            yield name, param, module, in_dcn


def named_settings(model: nn.Module, rules: Rules) -> tuple[dict[str, tuple[nn.Parameter, Setting]], list[str]]:
    """Decide the setting of each trainable parameter of ``model``.

    Returns:
        ``{name: (parameter, setting)}`` in the model's order, a parameter that is shared under its first name; and
        sentences on rules without effect, and on shared parameters whose names ask for different settings.

    Raises:
        ConfigError: If a custom key matches nothing, nothing is trainable, or a shared parameter has two settings and
            ``bypass_duplicate`` is off.
    """
    owned = list(owned_parameters(model))
    layers, top = layers_of_parameters(model) if rules.layerwise else ({}, 0)
    decided = rules.match(name for name, *_ in owned)
    settings: dict[str, tuple[nn.Parameter, Setting]] = {}
    first_names: dict[int, str] = {}
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
        first = first_names.setdefault(id(param), name)
        kept = settings.setdefault(first, (param, setting))[1]
        if kept.values == setting.values:
            continue
        clash = (f'{first} and {name} are one shared parameter, with different settings in {_WHERE} '
                 f'({kept.label!r}, {setting.label!r})')
        if not rules.cfg.bypass_duplicate:
            raise ConfigError(f'{clash}; give both the same, or set {_WHERE}.bypass_duplicate=True to keep the first')
        notes.append(f'{clash}; those of the first are kept')
    if not settings:
        raise ConfigError(f'nothing to train: all {len(owned)} parameters of {type(model).__name__} are frozen')
    return settings, notes + _idle_rules(rules, owned, decided, used)


def _idle_rules(rules: Rules, owned: list[tuple], decided: Mapping[str, str], used: set[str]) -> list[str]:
    """Return a sentence for each rule that decides nothing for any trainable parameter."""
    trainable = [name for name, param, *_ in owned if param.requires_grad]
    notes = []
    for key in [key for key in rules.custom if key not in used]:
        why = 'all parameters that it matches are frozen'
        winners = sorted({decided[name] for name in _matches(key, trainable)})
        if winners:
            why = f'longer keys decide for all parameters that it matches ({", ".join(map(repr, winners))})'
        notes.append(f'{_path(key)} has no effect: {why}')
    parts = {name.partition('.')[0] for name in trainable}
    for key in [key for key in rules.custom if key in parts]:
        also = [name for name in _matches(key, trainable) if decided[name] == key and not name.startswith(f'{key}.')]
        if also:
            notes.append(f"{_path(key)} also matches {enumerate_names(also, 2)}; '^{key}' matches {key} alone")
    notes += [f'{_WHERE}.{key} has no effect on any trainable parameter' for key in rules.mults if key not in used]
    if rules.layerwise and rules.cfg.layer_decay_rate in (None, 1.) and rules.cfg.lr_mult_range is None:
        notes.append(f'{_LAYERWISE} has no effect: {_WHERE} has neither layer_decay_rate nor lr_mult_range')
    return notes


def merge_groups(settings: Mapping[str, tuple[nn.Parameter, Setting]], base_lr: float | None,
                 base_wd: float | None) -> list[dict[str, Any]]:
    """Merge parameters with equal settings into the optimizer's groups.

    ``base_lr`` and ``base_wd`` are its learning rate and weight decay; None leaves them to the optimizer.

    Returns:
        One dict per group: ``params``, ``name``, ``param_names``, ``lr_mult``, ``decay_mult``, and ``lr``,
        ``weight_decay`` and further options. The default group, if any, comes first, the others in the model's order.
    """
    members = grouped((setting.values, name) for name, (_, setting) in settings.items())
    groups = []
    for names in members.values():
        setting = settings[names[0]][1]
        labels = dict.fromkeys(settings[name][1].label for name in names)
        label = 'default' if 'default' in labels else ', '.join(labels)
        group = dict(params=[settings[name][0] for name in names], name=label, param_names=names)
        group |= dict(lr_mult=setting.lr_mult, decay_mult=setting.decay_mult)
        if base_lr is not None:
            group['lr'] = base_lr * setting.lr_mult
        if base_wd is not None:
            group['weight_decay'] = base_wd * setting.decay_mult
        groups.append({**group, **setting.options})
    return sorted(groups, key=lambda group: group['name'] != 'default')
