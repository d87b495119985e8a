"""Classifiers of images: backbone, neck and head together."""
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from ftcls.registry import MODELS
from ftcls.utils import ConfigError
from ..freezing import NormPolicy
from ..headed_model import build_part, check_channels, check_word
from ..necks import GeneralizedMeanPooling, GlobalAveragePooling
from ..weight_init import InitCfg
from .base import BaseClassifier

__all__ = ['ImageClassifier']


@MODELS.register_module()
class ImageClassifier(BaseClassifier):
    """A backbone, a neck that pools, a head that classifies.

    Args:
        backbone, neck: The backbone and the neck, or their configs.
        head: The head; None for features only, without losses and predictions.
        pretrained: A checkpoint of the whole model; the same as ``init_cfg=dict(type='Pretrained', checkpoint=...)``.
        train_cfg: ``dict(augments=..., probs=...)``, batch augmentations, see :class:`RandomBatchAugment`.
        data_preprocessor: Its default ``type`` is ``ClsDataPreprocessor``.
        init_cfg: Where the weights come from.
        freeze, norm_policy: Which parameters do not learn, and what BatchNorm layers do, see :meth:`freeze`.
        adapter: ``dict(type='LoRA', r=8, alpha=16, dropout=0., target_modules='auto')``, see :func:`add_adapter`.

    Raises:
        ConfigError: If the parts do not fit together, or there is nothing to freeze.

    Example:
        >>> model = MODELS.build(dict(
        ...     type='ImageClassifier', backbone=dict(type='ResNet', depth=18), neck=dict(type='GlobalAveragePooling'),
        ...     head=dict(type='LinearClsHead', num_classes=10, in_channels=512)))
        >>> model(torch.rand(2, 3, 64, 64)).shape
        torch.Size([2, 10])
    """

    def __init__(self,
                 backbone: dict | nn.Module,
                 neck: dict | nn.Module | None = None,
                 head: dict | nn.Module | None = None,
                 pretrained: str | None = None,
                 train_cfg: dict | None = None,
                 data_preprocessor: dict | nn.Module | None = None,
                 init_cfg: InitCfg = None,
                 freeze: str | Sequence[str] | None = None,
                 norm_policy: NormPolicy | Mapping[str, NormPolicy] = 'train',
                 adapter: dict | None = None) -> None:
        if pretrained is not None:
            if init_cfg is not None:
                raise ConfigError(f'pretrained={pretrained!r} and init_cfg={init_cfg!r}: give one of them')
            init_cfg = dict(type='Pretrained', checkpoint=pretrained)
        super().__init__(init_cfg, data_preprocessor, train_cfg)
        self.backbone = build_part(backbone, 'backbone')
        self.neck = build_part(neck, 'neck')
        self.head = build_part(head, 'head')
        given, wanted = getattr(self.backbone, 'out_channels', None), getattr(self.head, 'in_channels', None)
        keeps_channels = self.neck is None or isinstance(self.neck, (GlobalAveragePooling, GeneralizedMeanPooling))
        if keeps_channels and isinstance(given, tuple) and isinstance(wanted, int):
            check_channels('head', self.head, self.backbone, given[-1])
        self.freeze(freeze, norm_policy)
        self.adapt(adapter)

    def extract_feat(self, inputs: torch.Tensor, stage: str = 'neck') -> tuple[torch.Tensor, ...] | torch.Tensor:
        """Return features of images (N, C, H, W) float.

        Args:
            inputs: (N, C, H, W) float.
            stage: 'backbone': a tuple of feature maps; 'neck': the neck's output, without a neck the same;
                'pre_logits': the input of the head's last layer, (N, C) float.
        """
        check_word('stage', stage, ('backbone', 'neck', 'pre_logits'))
        feats = self.backbone(inputs)
        if stage == 'backbone':
            return feats
        if self.with_neck:
            feats = self.neck(feats)
        return feats if stage == 'neck' else self._needed_head().pre_logits(feats)
