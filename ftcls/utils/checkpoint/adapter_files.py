"""Checkpoints of a model with an adapter: names as without it, and files without the frozen weights beneath it."""
from collections.abc import Mapping
from itertools import chain
from typing import Any

import torch
from torch import nn

from ftcls.utils.digest import digest
from ftcls.utils.errors import CheckpointError, ConfigError
from .reading import checkpoint_meta
from .report import fold_names

__all__ = ['add_base', 'check_base', 'drop_base', 'frozen_base', 'is_adapter', 'is_adapter_config', 'plain_name']

_KEY = 'adapter_base'  # in a file's meta: the digest of the weights that it was saved without
_STARTS = dict(state_dict='', ema_state_dict='module.')  # of names


def is_adapter(name: str) -> bool:
    """Tell whether a tensor is one of an adapter: peft puts the adapter's name, ``default``, into the tensor's.

    Example:
        >>> is_adapter('backbone.blocks.0.attn.qkv.lora_A.default.weight'), is_adapter('head.fc.weight')
        (True, False)
    """
    return 'default' in name.split('.')


def plain_name(name: str) -> str:
    """Return the name of a tensor without peft's ``base_layer``, as without adapter; checkpoints have these names."""
    return name.replace('.base_layer.', '.')


def is_adapter_config(model: Mapping[str, Any]) -> bool:
    """Tell whether the model that a config describes has an adapter."""
    return bool(model.get('adapter')) or (model.get('backbone') or {}).get('type') == 'LoRAModel'


def frozen_base(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return the tensors of the backbone that do not learn beside an adapter, by their plain name; none without one."""
    learning = {plain_name(name) for name, param in model.named_parameters() if param.requires_grad}
    tensors = model.state_dict()
    if not any(map(is_adapter, tensors)):
        return {}
    return {k: v for k, v in tensors.items() if k.startswith('backbone.') and k not in learning and not is_adapter(k)}


def _digest(base: Mapping[str, torch.Tensor]) -> str:
    return digest(*chain.from_iterable(sorted(base.items())))


def check_base(model: nn.Module, sources: Mapping[str, str]) -> None:
    """Raise a ConfigError if there are no weights beneath an adapter, or not all are from ``sources``, by name."""
    base = frozen_base(model)
    lost = [name for name in base if name not in sources and not name.endswith('num_batches_tracked')]
    if lost or not base:
        raise ConfigError('default_hooks.checkpoint.adapter_only=True: needs model.adapter, and all weights beneath it '
                          f'from model.backbone.init_cfg; not from there: {fold_names(lost)}')


def drop_base(model: nn.Module, checkpoint: dict[str, Any]) -> None:
    """Take the frozen weights of a model with an adapter out of a checkpoint, in place, and note their digest."""
    base = frozen_base(model)
    checkpoint['meta'][_KEY] = _digest(base)
    for key, start in _STARTS.items():
        for name in base:
            checkpoint.get(key, {}).pop(start + name, None)


def add_base(model: nn.Module, checkpoint: dict[str, Any]) -> None:
    """Put the frozen weights, which :func:`drop_base` took out, into a checkpoint again, in place: those of the model.

    The model is initialised before, if it is not, so that it loads its ``Pretrained`` weights.

    Raises:
        CheckpointError: If they are not those that the adapter was trained on.
    """
    if (wanted := checkpoint_meta(checkpoint).get(_KEY)) is None or not frozen_base(model):
        return
    if not model.is_init:
        model.init_weights()
    base = frozen_base(model)
    if _digest(base) != wanted:
        raise CheckpointError('the checkpoint has an adapter without the weights beneath it, and those of the model '
                              'are others than in its training: load the same by model.backbone.init_cfg')
    for key, start in _STARTS.items():
        checkpoint.get(key, {}).update({start + name: tensor for name, tensor in base.items()})
