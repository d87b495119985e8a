"""The classification head of Vision Transformers."""
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

from torch import nn

from ftcls.registry import MODELS
from ftcls.utils.types import PositiveInt
from ..layers import build_act
from ..weight_init import InitCfg
from .cls_head import ClsHead, TopK
from .stacked_head import StackedLinearClsHead

__all__ = ['VisionTransformerClsHead', 'ViTClsHead']


@MODELS.register_module()
class VisionTransformerClsHead(StackedLinearClsHead):
    """Linear classifier, with a hidden layer if asked for; the layers are ``layers.pre_logits`` and ``layers.head``.

    Args:
        hidden_dim: Length of the hidden layer's output; None for none.
        act_cfg: After the hidden layer.
        init_cfg: None for a classifier that starts at 0. The hidden layer starts from a truncated normal distribution
            of variance 1 / ``in_channels``.
        num_classes, in_channels, loss, topk, cal_acc: See :class:`LinearClsHead`.

    Example:
        >>> VisionTransformerClsHead(num_classes=10, in_channels=192)((torch.rand(2, 192), )).shape
        torch.Size([2, 10])
    """

    default_init: ClassVar[Sequence[dict]] = (dict(type='Constant', layer='Linear', val=0), )

    def __init__(self,
                 num_classes: PositiveInt,
                 in_channels: PositiveInt,
                 hidden_dim: PositiveInt | None = None,
                 act_cfg: Mapping = MappingProxyType(dict(type='Tanh')),
                 init_cfg: InitCfg = None,
                 loss: dict | nn.Module | None = None,
                 topk: TopK = (1, ),
                 cal_acc: bool = False) -> None:
        ClsHead.__init__(self, loss, topk, cal_acc, init_cfg)
        self.num_classes, self.in_channels, self.hidden_dim = num_classes, in_channels, hidden_dim
        layers = OrderedDict()
        if hidden_dim:
            layers.update(pre_logits=nn.Linear(in_channels, hidden_dim), act=build_act(act_cfg))
        layers['head'] = nn.Linear(hidden_dim or in_channels, num_classes)
        self.layers = nn.Sequential(layers)

    def init_weights(self) -> None:
        """Start the weights; the hidden layer in its own way."""
        super().init_weights()
        if self.hidden_dim:
            nn.init.trunc_normal_(self.layers.pre_logits.weight, std=self.in_channels**-0.5)
            nn.init.zeros_(self.layers.pre_logits.bias)


@MODELS.register_module()
class ViTClsHead(VisionTransformerClsHead):
    """:class:`VisionTransformerClsHead`, by its short name."""
