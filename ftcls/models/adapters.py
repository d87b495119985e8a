"""LoRA and its kin: small layers that learn beside the frozen ones of a backbone; all of them are peft's."""
import copy
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from torch import nn

from ftcls.registry import MODELS
from ftcls.utils import ConfigError, did_you_mean, match_names
from ftcls.utils.arguments import argument_faults
from ftcls.utils.checkpoint.adapter_files import plain_name
from ftcls.utils.names import enumerate_names, name_parts, plural
from ftcls.utils.tree import as_list
from ftcls.utils.types import NonNegativeFloat, PositiveInt, Probability
from .freezing import FreezeRecord

__all__ = ['adapted_layers', 'add_adapter', 'describe_adapter', 'lora_model', 'merge_adapters', 'restart_adapter']

_TUNERS = ('LORA', 'LOHA', 'LOKR', 'IA3', 'OFT', 'HRA', 'MISS', 'DELORA', 'RANDLORA')  # any layers, by the loss alone
# Limits of their arguments: in others than these, weights beside the adapter's would change, or none would learn.
_UNSET = ('layer_replication', 'modules_to_save', 'target_parameters', 'trainable_token_indices')
_LIMITS = dict.fromkeys(_UNSET, Literal[None]) | dict(bias=Literal['none'])
_LIMITS['init_lora_weights'] = bool | Literal['gaussian', 'orthogonal']
_LIMITS |= dict(r=PositiveInt, lora_alpha=NonNegativeFloat, lora_dropout=Probability, inference_mode=Literal[False])


def _peft_config(settings: Mapping[str, Any]) -> tuple[type, dict[str, Any]]:
    """Return peft's config class for the settings of an adapter, and its arguments apart from the layers."""
    try:
        from peft import PeftType
        from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
    except ImportError as err:
        raise ConfigError(f'model.adapter needs peft ({err}): run `pip install peft`') from None
    kind = str(settings.get('type')).upper()
    if kind not in _TUNERS:
        raise ConfigError(f'model.adapter.type={settings.get("type")!r}{did_you_mean(kind, _TUNERS)}')
    config, given = PEFT_TYPE_TO_CONFIG_MAPPING[PeftType[kind]], {}
    fields = config.__dataclass_fields__
    for key in settings.keys() - {'type', 'target_modules'}:
        longer = f'{kind.lower()}_{key}'  # `alpha` is `lora_alpha`
        given[longer if longer in fields and key not in fields else key] = settings[key]
    if faults := list(argument_faults(config, given, 'model.adapter', annotations=_LIMITS)):
        raise ConfigError('\n'.join(faults))
    return config, given


def _layers(backbone: nn.Module) -> dict[str, nn.Module]:
    """Return the layers that can have an adapter: torch's own, no subclasses, that learn and that are called.

    The weights of the linear layers in ``nn.MultiheadAttention``, and of timm's ``qkv`` whose bias is in two parts, are
    read by their parents, past an adapter.
    """
    layers = {}
    for name, layer in backbone.named_modules():
        parent, _, key = name.rpartition('.')
        is_read = key == 'qkv' and getattr(backbone.get_submodule(parent), 'q_bias', None) is not None
        if type(layer) in (nn.Linear, nn.Conv2d) and layer.weight.requires_grad and not is_read:
            layers[name] = layer
    return layers


def _find_targets(backbone: nn.Module, wanted: str | Sequence[str]) -> list[str]:
    """Return the names of the layers that ``target_modules`` means."""
    layers, names = _layers(backbone), []
    for pattern in as_list(wanted):
        if pattern == 'auto':
            linear = [name for name, layer in layers.items() if isinstance(layer, nn.Linear)]
            convs = [name for name, layer in layers.items() if getattr(layer, 'groups', 0) == 1]
            hits = max(linear, convs, key=lambda names: sum(layers[name].weight.numel() for name in names))
        else:
            hits = match_names(pattern, layers)
        if not hits:
            near = did_you_mean(pattern, name_parts(f'{name}.weight' for name in layers))
            raise ValueError(f'target_modules={pattern!r} matches no layer that freeze and frozen_stages leave{near}')
        names += hits
    return names


def add_adapter(backbone: nn.Module, settings: Mapping[str, Any]) -> None:
    """Put an adapter into a backbone, in place, and freeze everything else of it.

    The state dict has the names of the backbone without adapter, so that files load as ever.

    Args:
        backbone: The backbone; layers that are frozen already get no adapter.
        settings: ``type``, a tuner of peft; ``target_modules``, 'auto', or parts of names of layers or regular
            expressions; and the arguments of peft's config, where ``alpha`` is ``lora_alpha`` and so on.

    Raises:
        ConfigError: If peft is missing, an argument is wrong, or no layer can have an adapter.
    """
    kind, given = _peft_config(settings)
    try:
        names = _find_targets(backbone, settings.get('target_modules', 'auto'))
        FreezeRecord.of(backbone).freeze(backbone.parameters(), 'model.adapter')
        _inject(kind(**given, target_modules='|'.join(map(re.escape, names))), backbone)  # peft takes a regex
    except (TypeError, ValueError, NotImplementedError) as err:
        raise ConfigError(f'model.adapter: {err}') from err
    backbone.register_state_dict_post_hook(_to_plain_names)
    backbone.register_load_state_dict_pre_hook(_from_plain_names)


def _inject(config: Any, backbone: nn.Module) -> None:
    from peft import inject_adapter_in_model
    inject_adapter_in_model(config, backbone)


def _to_plain_names(backbone: nn.Module, state: dict, prefix: str, metadata: object) -> None:
    for name in list(state):  # all, so that their order is kept
        state[plain_name(name) if name.startswith(prefix) else name] = state.pop(name)


def _from_plain_names(backbone: nn.Module, state: dict, prefix: str, *others: object) -> None:
    for name, _ in (*backbone.named_parameters(prefix[:-1]), *backbone.named_buffers(prefix[:-1])):
        if plain_name(name) in state:
            state[name] = state.pop(plain_name(name))


def adapted_layers(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield the name and peft's layer for each layer with an adapter."""
    return ((name, layer) for name, layer in model.named_modules() if hasattr(layer, 'base_layer'))


def merge_adapters(model: nn.Module) -> None:
    """Add adapters to the weights beneath them and take them out, in place."""
    for name, layer in list(adapted_layers(model)):
        layer.merge(safe_merge=True)
        model.set_submodule(name, layer.base_layer)


def restart_adapter(backbone: nn.Module) -> None:
    """Set an adapter, if there is one, to its start for the weights now beneath it: DoRA takes their norms."""
    if hasattr(backbone, 'peft_config'):
        fresh = copy.deepcopy(backbone)
        for name, layer in list(adapted_layers(fresh)):
            fresh.set_submodule(name, layer.base_layer)
        _inject(vars(fresh).pop('peft_config')['default'], fresh)
        backbone.load_state_dict(fresh.state_dict())


def describe_adapter(model: nn.Module) -> list[str]:
    """Return which layers have an adapter: ``'4 layers: backbone.blocks.*.attn.qkv (2), backbone.…'``."""
    kinds = Counter(re.sub(r'\b\d+\b', '*', name) for name, _ in adapted_layers(model))
    names = enumerate_names(f'{name} ({count})' for name, count in kinds.items())
    return [f'{plural(sum(kinds.values()), "layer")}: {names}'] if kinds else []


@MODELS.register_module(name='LoRAModel')
def lora_model(module: dict | nn.Module,
               alpha: int = 1,
               rank: int = 0,
               drop_rate: float = 0.,
               targets: Sequence[Mapping[str, Any]] = ()) -> nn.Module:
    """Build a backbone with LoRA from mmpretrain's arguments; ``model.adapter`` does the same for any backbone.

    Args:
        module: The backbone's config.
        alpha, rank, drop_rate: Those of :func:`add_adapter`: ``alpha``, ``r`` and ``dropout``.
        targets: ``dict(type='qkv')``: the end of layers' names, or a regular expression for the whole; with an
            ``alpha`` and a ``rank`` of their own if they differ.
    """
    if others := {key for one in targets for key in one} - {'type', 'rank', 'alpha'}:
        raise ConfigError(f'LoRAModel.targets: each takes type, rank and alpha, not {enumerate_names(sorted(others))}')
    backbone = MODELS.build(module) if isinstance(module, Mapping) else module
    patterns = {f'^(?:{one["type"]}|.*{re.escape(one["type"])})$': one for one in targets}
    ranks, alphas = ({key: one[name] for key, one in patterns.items() if name in one} for name in ('rank', 'alpha'))
    settings = dict(type='LoRA', r=rank, alpha=alpha, dropout=drop_rate, target_modules=list(patterns))
    add_adapter(backbone, dict(settings, rank_pattern=ranks, alpha_pattern=alphas))
    return backbone
