"""Classifiers that are whole networks of timm."""
from functools import partial
from typing import Any

import torch
from torch import nn

from ftcls.registry import MODELS
from ..backbones.timm_backbone import build_timm
from ..heads import ClsHead
from ..weight_init import InitCfg
from .base import BaseClassifier

__all__ = ['TimmClassifier']


@MODELS.register_module()
class TimmClassifier(BaseClassifier):
    """A whole network of `timm <https://github.com/huggingface/pytorch-image-models>`_, its classifier included.

    The names in its state dict are timm's: files of timm load, and timm loads ours. There is no ``backbone``, so
    ``frozen_stages``, layer-wise rates and unfreezing are for an :class:`ImageClassifier` with :class:`TIMMBackbone`.

    Args:
        model_name, pretrained: See :class:`TIMMBackbone`; ``num_classes`` is one of the further arguments.
        loss: None for ``dict(type='CrossEntropyLoss', loss_weight=1.0)``.
        with_cp: Recompute activations in the backward pass to save memory.
        train_cfg, data_preprocessor, init_cfg, freeze: See :class:`ImageClassifier`.
        **kwargs: Further arguments of ``timm.create_model``.

    Raises:
        ConfigError: If timm does not have the network, or it does not take an argument.

    Example:
        >>> TimmClassifier('resnet18', num_classes=10)(torch.rand(2, 3, 64, 64)).shape
        torch.Size([2, 10])
    """

    accepts_extra_arguments = True

    def __init__(self,
                 model_name: str,
                 pretrained: bool = False,
                 *,
                 loss: dict | nn.Module | None = None,
                 train_cfg: dict | None = None,
                 with_cp: bool = False,
                 data_preprocessor: dict | nn.Module | None = None,
                 init_cfg: InitCfg = None,
                 freeze: str | list[str] | None = None,
                 **kwargs: Any) -> None:
        super().__init__(init_cfg, data_preprocessor, train_cfg)
        self.model = build_timm(model_name, 'TimmClassifier', pretrained=pretrained, **kwargs)
        self.model.is_init = True  # timm has started its weights, or loaded them
        self.head = ClsHead(loss)
        if with_cp:
            self.model.set_grad_checkpointing()
        self.register_state_dict_post_hook(partial(_rename, 'model.', ''))
        self.register_load_state_dict_pre_hook(partial(_rename, '', 'model.'))
        self.freeze(freeze)

    def extract_feat(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return timm's features before the pooling, (N, C, H', W') or (N, L, C) float, of (N, C, H, W) float."""
        return self.model.forward_features(inputs)

    def _head_inputs(self, inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (self.model(inputs), )


def _rename(old: str, new: str, module: nn.Module, state: dict, prefix: str, *args: Any) -> None:
    """Put ``new`` in the place of ``old`` in the names of this module's tensors."""
    for name in [name for name in state if name.startswith(prefix + old)]:
        state[prefix + new + name.removeprefix(prefix + old)] = state.pop(name)
