"""The classifier of images."""
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from ftcls.registry import MODELS
from ftcls.structures import DataSample
from ftcls.utils import ConfigError, UserError, did_you_mean
from ftcls.utils.errors import unwrapped
from ..necks import GeneralizedMeanPooling, GlobalAveragePooling
from .base import BaseClassifier

__all__ = ['ImageClassifier']

_MODES = ('tensor', 'loss', 'predict')
_STAGES = ('backbone', 'neck', 'pre_logits')


def _build_preprocessor(config: dict | nn.Module | None, train_cfg: dict | None) -> nn.Module:
    """Build the data preprocessor, with the batch augmentations of ``train_cfg``."""
    for key in train_cfg or ():
        if key not in ('augments', 'probs'):
            raise ConfigError(f'train_cfg: unknown key {key!r}{did_you_mean(key, ("augments", "probs"))}')
    if isinstance(config, nn.Module):
        if train_cfg:
            raise ConfigError('train_cfg has an effect only where data_preprocessor is a config, not a module')
        return config
    config = {'type': 'ClsDataPreprocessor', **(config or {})}
    if train_cfg:
        if config.get('batch_augments') is not None:
            raise ConfigError('batch augmentations are set twice: in model.train_cfg and in '
                              'data_preprocessor.batch_augments; remove one')
        config['batch_augments'] = dict(train_cfg)
    try:
        return MODELS.build(config)
    except UserError as err:
        err = unwrapped(err)
        raise type(err)(f'data_preprocessor: {err}') from err


def _built(part: dict | nn.Module | None, name: str) -> nn.Module | None:
    """Build a part of the model from its config; a module, or None, is taken as it is; an error says where it comes from."""
    if part is None or isinstance(part, nn.Module):
        return part
    try:
        return MODELS.build(part)
    except UserError as err:
        err = unwrapped(err)
        raise type(err)(f'model.{name}: {err}') from err


def _definer(part: object, method: str) -> type:
    """Return the class in whose body the method that ``part`` has is written."""
    return next(c for c in type(part).__mro__ if method in vars(c))


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
        super().__init__(_build_preprocessor(data_preprocessor, train_cfg), init_cfg)
        self.backbone = _built(backbone, 'backbone')
        self.neck = _built(neck, 'neck')
        self.head = _built(head, 'head')
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

    def forward(self,
                inputs: torch.Tensor,
                data_samples: list[DataSample] | None = None,
                mode: str = 'tensor') -> torch.Tensor | tuple[torch.Tensor, ...] | list[DataSample] | dict:
        """Run the model.

        Args:
            inputs: (N, C, H, W) float, from the data preprocessor.
            data_samples: N samples; with labels for ``mode='loss'``.
            mode: 'tensor', 'loss' or 'predict'.

        Returns:
            'tensor': the logits (N, num_classes) float, without a head the features; 'loss': see :meth:`loss`;
            'predict': see :meth:`predict`.

        Raises:
            ConfigError: If the mode is another, or there is no head for it.
        """
        if mode not in _MODES:
            raise ConfigError(f'mode={mode!r}{did_you_mean(str(mode), _MODES)}')
        if mode == 'loss':
            return self.loss(inputs, data_samples)
        if mode == 'predict':
            return self.predict(inputs, data_samples)
        feats = self.extract_feat(inputs)
        return self.head(feats) if self.with_head else feats

    def extract_feat(self, inputs: torch.Tensor, stage: str = 'neck') -> tuple[torch.Tensor, ...] | torch.Tensor:
        """Return features of images (N, C, H, W) float.

        Args:
            inputs: (N, C, H, W) float.
            stage: 'backbone': a tuple of feature maps; 'neck': what the neck makes of them, without a neck the same;
                'pre_logits': what the head's last layer gets, (N, C) float.

        Raises:
            ConfigError: If the stage is another, or there is no head for 'pre_logits'.
        """
        if stage not in _STAGES:
            raise ConfigError(f'stage={stage!r}{did_you_mean(str(stage), _STAGES)}')
        feats = self.backbone(inputs)
        if stage == 'backbone':
            return feats
        if self.with_neck:
            feats = self.neck(feats)
        return feats if stage == 'neck' else self._needed_head().pre_logits(feats)

    def _needed_head(self) -> nn.Module:
        if self.head is None:
            raise ConfigError(
                "the model has no head: add head=dict(type='LinearClsHead', num_classes=..., in_channels=...)")
        return self.head

    def loss(self, inputs: torch.Tensor, data_samples: list[DataSample]) -> dict[str, torch.Tensor]:
        """Return the head's losses by name, each () float32, for images (N, C, H, W) float and their labels."""
        return self._needed_head().loss(self.extract_feat(inputs), data_samples)

    def predict(self,
                inputs: torch.Tensor,
                data_samples: list[DataSample] | None = None,
                **kwargs: object) -> list[DataSample]:
        """Return N samples with ``pred_score`` and ``pred_label``.

        Where every sample has its label, ``loss`` is set on each too, () float32, so that validation can report it: the
        sample's own where the head has ``loss_per_sample``, else that of the batch.

        Args:
            inputs: (N, C, H, W) float.
            data_samples: N samples to set the predictions on; None for new ones.
            **kwargs: Further arguments of the head's ``predict``.
        """
        head = self._needed_head()
        feats = self.extract_feat(inputs)
        labelled = bool(data_samples) and all(
            s is not None and ('gt_label' in s or 'gt_score' in s) for s in data_samples)
        losses = self._losses_of_samples(feats, data_samples) if labelled else ()
        samples = head.predict(feats, data_samples, **kwargs)
        for sample, loss in zip(samples, losses):
            sample.set_field(loss, 'loss')
        return samples

    def _losses_of_samples(self, feats: tuple[torch.Tensor, ...], data_samples: list[DataSample]) -> torch.Tensor:
        """Return the loss of each sample, (N, ) float32."""
        # A head that computes another loss than the class it is derived from is asked for that one.
        if hasattr(self.head, 'loss_per_sample') and issubclass(
                _definer(self.head, 'loss_per_sample'), _definer(self.head, 'loss')):
            return self.head.loss_per_sample(feats, data_samples).detach()
        return self.parse_losses(self.head.loss(feats, data_samples))[0].detach().expand(len(data_samples))
