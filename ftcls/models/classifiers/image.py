"""The classifier of images."""
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from ftcls.registry import MODELS
from ftcls.utils import ConfigError
from ..headed_model import build_part, check_word
from ..necks import GeneralizedMeanPooling, GlobalAveragePooling
from .base import BaseClassifier

__all__ = ['ImageClassifier']

_STAGES = ('backbone', 'neck', 'pre_logits')


@MODELS.register_module()
class ImageClassifier(BaseClassifier):
    """A backbone, a neck that pools, a head that classifies.

    Args:
        backbone: The backbone, or its config; see :mod:`ftcls.models.backbones`.
        neck: The neck; None for none.
        head: The head; None for none, then features can be had but neither losses nor predictions.
        pretrained: A checkpoint of the whole model; the same as ``init_cfg=dict(type='Pretrained', checkpoint=...)``.
        train_cfg: ``dict(augments=..., probs=...)``, batch augmentations, see :class:`RandomBatchAugment`.
        data_preprocessor: The data preprocessor; ``type`` is ``ClsDataPreprocessor`` where it is not given.
        init_cfg: Where the weights come from.
        freeze: Which parameters do not learn, as regular expressions over their names, see :meth:`freeze`.
        norm_policy: What BatchNorm layers do: 'train', 'eval' or 'frozen', see :meth:`freeze`.

    Raises:
        ConfigError: If the parts do not fit together, or there is nothing to freeze where ``freeze`` says so.

    Example:
        >>> import torch
        >>> from ftcls.registry import MODELS
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
                 init_cfg: dict | list[dict] | None = None,
                 freeze: str | Sequence[str] | None = None,
                 norm_policy: str | Mapping[str, str] = 'train') -> None:
        if pretrained is not None:
            if init_cfg is not None:
                raise ConfigError(f'pretrained={pretrained!r} and init_cfg={init_cfg!r}: give one of them')
            init_cfg = dict(type='Pretrained', checkpoint=pretrained)
        super().__init__(data_preprocessor, train_cfg, init_cfg)
        self.backbone = build_part(backbone, 'backbone')
        self.neck = build_part(neck, 'neck')
        self.head = build_part(head, 'head')
        self._check_channels()
        self.freeze(freeze, norm_policy)

    def _check_channels(self) -> None:
        """Raise a ConfigError if the head takes another number of channels than it will be given."""
        given = getattr(self.backbone, 'out_channels', None)
        wanted = getattr(self.head, 'in_channels', None)
        keeps_channels = self.neck is None or isinstance(self.neck, (GlobalAveragePooling, GeneralizedMeanPooling))
        if isinstance(given, tuple) and isinstance(wanted, int) and keeps_channels and wanted != given[-1]:
            raise ConfigError(f'model.head.in_channels={wanted}, but the backbone {type(self.backbone).__name__} gives '
                              f'{given[-1]} channels: set model.head.in_channels={given[-1]}')

    def extract_feat(self, inputs: torch.Tensor, stage: str = 'neck') -> tuple[torch.Tensor, ...] | torch.Tensor:
        """Return features of images (N, C, H, W) float.

        Args:
            inputs: (N, C, H, W) float.
            stage: 'backbone': a tuple of feature maps; 'neck': what the neck makes of them, without a neck the same;
                'pre_logits': what the head's last layer gets, (N, C) float.

        Raises:
            ConfigError: If the stage is another, or there is no head for 'pre_logits'.
        """
        check_word('stage', stage, _STAGES)
        feats = self.backbone(inputs)
        if stage == 'backbone':
            return feats
        if self.with_neck:
            feats = self.neck(feats)
        return feats if stage == 'neck' else self._needed_head().pre_logits(feats)
