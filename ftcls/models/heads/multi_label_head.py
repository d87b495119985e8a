"""Heads for images with any number of labels: each class is predicted by itself."""
from collections.abc import Sequence
from typing import ClassVar

import torch
from mmengine.logging import MMLogger
from torch import nn

from ftcls.registry import MODELS
from ftcls.structures import DataSample
from ftcls.utils import ConfigError, DataError
from ftcls.utils.types import PositiveInt, Probability
from ..weight_init import InitCfg
from .cls_head import ClsHead, Feats, LinearClsHead, given_or_new

__all__ = ['MultiLabelClsHead', 'MultiLabelLinearClsHead']


@MODELS.register_module()
class MultiLabelClsHead(ClsHead):
    """Head for several labels per image, from logits (N, num_classes): a sigmoid for each class.

    Args:
        loss: None for ``dict(type='CrossEntropyLoss', use_sigmoid=True)``.
        thr: Classes of at least this score are predicted; None for 0.5 if ``topk`` is None too.
        topk: Number of classes that are predicted, those with the best scores; without effect beside ``thr``.
        init_cfg: See :class:`ClsHead`.

    Raises:
        ConfigError: If the loss takes one label per image.

    Example:
        >>> MultiLabelClsHead().predict((torch.tensor([[2., -2., 1.]]), ))[0].pred_label
        tensor([0, 2])
    """

    def __init__(self,
                 loss: dict | nn.Module | None = None,
                 thr: Probability | None = None,
                 topk: PositiveInt | None = None,
                 init_cfg: InitCfg = None) -> None:
        if loss is None:
            loss = dict(type='CrossEntropyLoss', use_sigmoid=True)
        super().__init__(loss, init_cfg=init_cfg)
        name = type(self).__name__
        # A loss without this argument is not known here.
        takes_scores = getattr(self.loss_module, 'use_sigmoid', True) or getattr(self.loss_module, 'use_soft', False)
        if not takes_scores:
            kind, remedy = type(self.loss_module).__name__, 'loss.use_sigmoid=True (or use_soft=True, for Mixup)'
            raise ConfigError(f'{name}: loss={kind} takes one label per image; set {remedy}')
        if thr is not None and topk is not None:
            MMLogger.get_current_instance().warning(f'{name}: thr={thr} is used, and topk={topk} is not')
        if thr is None and topk is None:
            thr = 0.5
        self.thr = thr
        self.topk = topk

    def _labels(self, data_samples: list[DataSample], num_classes: int) -> torch.Tensor:
        """Return the labels of the samples as scores (N, num_classes) float."""
        rows = []
        for sample in data_samples:
            label = sample.gt_label
            if len(label) and int(label.max()) >= num_classes:
                raise DataError(f'image {sample.get("img_path", "(no path)")} has the labels {label.tolist()}, but the '
                                f'head has {num_classes} classes (0 ... {num_classes - 1}): set model.head.num_classes')
            rows.append(torch.zeros(num_classes, device=label.device).index_fill_(0, label, 1.))
        return torch.stack(rows)

    def positive(self, score: torch.Tensor) -> torch.Tensor:
        """Return the classes that scores (num_classes, ) predict, (k, ) int64; with ``topk`` the best first."""
        if self.thr is not None:
            return torch.nonzero(score >= self.thr)[:, 0]
        if self.topk > len(score):
            raise ConfigError(f'{type(self).__name__}: topk={self.topk}: the head has only {len(score)} classes')
        return score.argsort(descending=True, stable=True)[:self.topk]

    def _get_predictions(self,
                         cls_score: torch.Tensor,
                         data_samples: list[DataSample | None] | None = None) -> list[DataSample]:
        """See :meth:`ClsHead.predict`: ``pred_score`` is the sigmoid, and ``pred_label``, (k, ), may be empty."""
        scores = cls_score.float().sigmoid()
        samples = given_or_new(data_samples, len(scores))
        for sample, score in zip(samples, scores, strict=True):
            sample.set_pred_score(score).set_pred_label(self.positive(score))
        return samples


@MODELS.register_module()
class MultiLabelLinearClsHead(MultiLabelClsHead):
    """Linear classifier for several labels per image; its layer is called ``fc``.

    Args:
        in_channels: Length of the feature vectors.
        init_cfg: None for a normal distribution of standard deviation 0.01.
        num_classes, loss, thr, topk: See :class:`MultiLabelClsHead`; ``topk`` is at most ``num_classes``.
    """

    default_init: ClassVar[Sequence[dict]] = LinearClsHead.default_init

    def __init__(self,
                 num_classes: PositiveInt,
                 in_channels: PositiveInt,
                 loss: dict | nn.Module | None = None,
                 thr: Probability | None = None,
                 topk: PositiveInt | None = None,
                 init_cfg: InitCfg = None) -> None:
        super().__init__(loss, thr, topk, init_cfg)
        self.num_classes = num_classes
        if topk is not None and topk > num_classes:
            raise ConfigError(f'{type(self).__name__}: topk={topk}: there are only num_classes={num_classes}')
        self.in_channels = in_channels
        self.fc = nn.Linear(in_channels, num_classes)

    def forward(self, feats: Feats) -> torch.Tensor:
        """Return the logits (N, num_classes) float."""
        return self.fc(self.pre_logits(feats))
