"""Several linear layers over the features."""
from collections.abc import Sequence

import torch
from torch import nn

from ftcls.registry import MODELS
from ftcls.utils import ConfigError
from ..default_init import InitCfg
from ..layers import build_act, build_norm
from .cls_head import ClsHead, Feats, check_num_classes

__all__ = ['StackedLinearClsHead']

_RELU = object()  # stands for the default, since None means no activation


class LinearBlock(nn.Module):
    """A linear layer ``fc`` with ``norm``, ``act`` and ``dropout`` where they are wanted.

    Args:
        in_channels: Length of the input vectors.
        out_channels: Length of the output vectors.
        dropout_rate: Probability of setting an output to 0 in training.
        norm_cfg: See :func:`ftcls.models.layers.build_norm`; None for none.
        act_cfg: See :func:`ftcls.models.layers.build_act`; None for none.
    """

    def __init__(self, in_channels: int, out_channels: int, dropout_rate: float, norm_cfg: dict | None,
                 act_cfg: dict | None) -> None:
        super().__init__()
        self.fc = nn.Linear(in_channels, out_channels)
        self.norm = None if norm_cfg is None else build_norm(norm_cfg, out_channels)
        self.act = None if act_cfg is None else build_act(act_cfg)
        self.dropout = nn.Dropout(dropout_rate) if dropout_rate > 0 else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Take (N, in_channels) float to (N, out_channels) float."""
        for layer in (self.fc, self.norm, self.act, self.dropout):
            x = x if layer is None else layer(x)
        return x


@MODELS.register_module()
class StackedLinearClsHead(ClsHead):
    """Classifier of several linear layers, called ``layers.0.fc``, ``layers.1.fc`` …

    Args:
        num_classes: Number of classes.
        in_channels: Length of the feature vectors.
        mid_channels: Length of the output of each hidden layer.
        dropout_rate: Dropout after each hidden layer.
        norm_cfg: Normalization after each hidden layer, ``dict(type='BN1d')``; None for none.
        act_cfg: Activation after each hidden layer; ReLU by default, None for none.
        loss: The loss; None for ``dict(type='CrossEntropyLoss', loss_weight=1.0)``.
        topk: The k for which ``cal_acc`` gives the accuracy.
        cal_acc: Give the accuracy of each training batch, too.
        init_cfg: Where the weights come from; None for PyTorch's default.

    Raises:
        ConfigError: If ``num_classes`` is not positive, or ``mid_channels`` is no sequence or empty.
    """

    def __init__(self,
                 num_classes: int,
                 in_channels: int,
                 mid_channels: Sequence[int],
                 dropout_rate: float = 0.,
                 norm_cfg: dict | None = None,
                 act_cfg: dict | None | object = _RELU,
                 loss: dict | nn.Module | None = None,
                 topk: int | Sequence[int] = (1, ),
                 cal_acc: bool = False,
                 init_cfg: InitCfg = None) -> None:
        super().__init__(loss, topk, cal_acc, init_cfg)
        self.num_classes = check_num_classes(num_classes)
        self.in_channels = in_channels
        if not isinstance(mid_channels, Sequence) or not mid_channels:
            raise ConfigError(f'mid_channels={mid_channels!r}: must list the width of each hidden layer, [512] for one')
        self.mid_channels = tuple(mid_channels)
        act_cfg = dict(type='ReLU') if act_cfg is _RELU else act_cfg
        widths = (in_channels, *self.mid_channels)
        hidden = [LinearBlock(a, b, dropout_rate, norm_cfg, act_cfg) for a, b in zip(widths, widths[1:])]
        self.layers = nn.ModuleList([*hidden, LinearBlock(widths[-1], num_classes, 0., None, None)])

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
