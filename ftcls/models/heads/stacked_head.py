"""Several linear layers over the features."""
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated

import torch
from annotated_types import MinLen
from torch import nn

from ftcls.registry import MODELS
from ftcls.utils.types import PositiveInt, Probability
from ..layers import build_act, build_norm
from ..weight_init import InitCfg
from .cls_head import ClsHead, Feats, TopK

__all__ = ['StackedLinearClsHead']


class LinearBlock(nn.Sequential):
    """A linear layer ``fc``, then ``norm``, ``act`` and ``dropout`` if they are given; (N, C) float to (N, C')."""

    def __init__(self,
                 in_channels: int,
                 out_channels: int,
                 dropout_rate: float = 0.,
                 norm_cfg: dict | None = None,
                 act_cfg: dict | None = None) -> None:
        super().__init__()
        self.fc = nn.Linear(in_channels, out_channels)
        if norm_cfg is not None:
            self.norm = build_norm(norm_cfg, out_channels)
        if act_cfg is not None:
            self.act = build_act(act_cfg)
        if dropout_rate > 0:
            self.dropout = nn.Dropout(dropout_rate)


@MODELS.register_module()
class StackedLinearClsHead(ClsHead):
    """Classifier of several linear layers, called ``layers.0.fc``, ``layers.1.fc`` …

    Args:
        mid_channels: Length of the output of each hidden layer, [512] for one.
        dropout_rate, norm_cfg, act_cfg: After each hidden layer; ``norm_cfg=dict(type='BN1d')``, None for none.
        num_classes, in_channels, loss, topk, cal_acc, init_cfg: See :class:`LinearClsHead`.
    """

    def __init__(self,
                 num_classes: PositiveInt,
                 in_channels: PositiveInt,
                 mid_channels: Annotated[Sequence[PositiveInt], MinLen(1)],
                 dropout_rate: Probability = 0.,
                 norm_cfg: dict | None = None,
                 act_cfg: Mapping | None = MappingProxyType(dict(type='ReLU')),
                 loss: dict | nn.Module | None = None,
                 topk: TopK = (1, ),
                 cal_acc: bool = False,
                 init_cfg: InitCfg = None) -> None:
        super().__init__(loss, topk, cal_acc, init_cfg)
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.mid_channels = tuple(mid_channels)
        widths = (in_channels, *self.mid_channels)
        hidden = [LinearBlock(a, b, dropout_rate, norm_cfg, act_cfg) for a, b in zip(widths, widths[1:])]
        self.layers = nn.ModuleList([*hidden, LinearBlock(widths[-1], num_classes)])

    @property
    def fc(self) -> nn.Module:
        """The last layer."""
        return self.layers[-1]

    def pre_logits(self, feats: Feats) -> torch.Tensor:
        """Return the last hidden layer's output, (N, mid_channels[-1]) float."""
        x = super().pre_logits(feats)
        for layer in self.layers[:-1]:
            x = layer(x)
        return x

    def forward(self, feats: Feats) -> torch.Tensor:
        """Return the logits (N, num_classes) float."""
        return self.fc(self.pre_logits(feats))
