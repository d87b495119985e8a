"""A linear layer over the features."""
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import nn

from ftcls.registry import MODELS
from ..default_init import InitCfg
from .cls_head import ClsHead, Feats, check_num_classes

__all__ = ['LinearClsHead']


@MODELS.register_module()
class LinearClsHead(ClsHead):
    """Linear classifier, its layer is called ``fc``.

    Args:
        num_classes: Number of classes.
        in_channels: Length of the feature vectors.
        init_cfg: Where the weights come from; None for a normal distribution of standard deviation 0.01.
        loss: The loss; None for ``dict(type='CrossEntropyLoss', loss_weight=1.0)``.
        topk: The k for which ``cal_acc`` gives the accuracy.
        cal_acc: Give the accuracy of each training batch, too.

    Raises:
        ConfigError: If ``num_classes`` is not positive.

    Example:
        >>> import torch
        >>> from ftcls.models.heads import LinearClsHead
        >>> LinearClsHead(num_classes=10, in_channels=512)((torch.rand(2, 512), )).shape
        torch.Size([2, 10])
    """

    default_init: ClassVar[Sequence[dict]] = (dict(type='Normal', layer='Linear', std=0.01), )

    def __init__(self,
                 num_classes: int,
                 in_channels: int,
                 init_cfg: InitCfg = None,
                 loss: dict | nn.Module | None = None,
                 topk: int | Sequence[int] = (1, ),
                 cal_acc: bool = False) -> None:
        super().__init__(loss, topk, cal_acc, init_cfg)
        self.num_classes = check_num_classes(num_classes)
        self.in_channels = in_channels
        self.fc = nn.Linear(in_channels, num_classes)

    def forward(self, feats: Feats) -> torch.Tensor:
        """Return the logits (N, num_classes) float."""
        return self.fc(self.pre_logits(feats))
