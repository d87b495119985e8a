"""Heads for pictures with any number of labels: each class is told by itself."""
import logging
from typing import ClassVar

import torch
from mmengine.logging import print_log
from torch import nn

from ftcls.registry import MODELS
from ftcls.structures import DataSample
from ftcls.utils import ConfigError, DataError
from ..default_init import InitCfg
from .cls_head import ClsHead, Feats, check_num_classes
from .linear_head import LinearClsHead

__all__ = ['MultiLabelClsHead', 'MultiLabelLinearClsHead']


@MODELS.register_module()
class MultiLabelClsHead(ClsHead):
    """Head for several labels a picture, from logits (N, num_classes): a sigmoid for each class.

    Args:
        loss: The loss; None for ``dict(type='CrossEntropyLoss', use_sigmoid=True)``.
        thr: Classes of at least this score, 0 to 1, are predicted; None for 0.5 where ``topk`` is None too.
        topk: So many classes are predicted, those with the best scores; without effect beside ``thr``.
        init_cfg: Where the weights come from.

    Raises:
        ConfigError: If an argument is out of range, or the loss takes one label a picture.

    Example:
        >>> import torch
        >>> from ftcls.models.heads import MultiLabelClsHead
        >>> MultiLabelClsHead().predict((torch.tensor([[2., -2., 1.]]), ))[0].pred_label
        tensor([0, 2])
    """

    def __init__(self,
                 loss: dict | nn.Module | None = None,
                 thr: float | None = None,
                 topk: int | None = None,
                 init_cfg: InitCfg = None) -> None:
        super().__init__(dict(type='CrossEntropyLoss', use_sigmoid=True) if loss is None else loss, init_cfg=init_cfg)
        name = type(self).__name__
        # of a loss that has no such argument it is not known
        if getattr(self.loss_module, 'use_sigmoid', True) is False:
            raise ConfigError(f'{name}: loss={type(self.loss_module).__name__} takes one label a picture; set '
                              'loss.use_sigmoid=True')
        if thr is not None and (isinstance(thr, bool) or not 0 <= thr <= 1):
            raise ConfigError(f'{name}: thr={thr!r}: expected a score from 0 to 1, such as 0.5')
        if topk is not None and (isinstance(topk, bool) or not isinstance(topk, int) or topk < 1):
            raise ConfigError(f'{name}: topk={topk!r}: expected a whole number from 1 on')
        if thr is not None and topk is not None:
            print_log(
                f'{name}: thr={thr} and topk={topk} are given; the threshold is used',
                logger='current',
                level=logging.WARNING)
        self.thr = 0.5 if thr is None and topk is None else thr
        self.topk = topk

    @staticmethod
    def _target(data_samples: list[DataSample], num_classes: int) -> torch.Tensor:
        """Return the labels of the samples as scores (N, num_classes) float."""
        if all('gt_score' in sample for sample in data_samples):
            return torch.stack([sample.gt_score for sample in data_samples])
        rows = []
        for sample in data_samples:
            where = sample.get('img_path', '(no path)')
            if 'gt_label' not in sample:
                raise DataError(
                    f'the picture {where} has no gt_label: the dataset must give one, which may be an empty '
                    'list, and the pipeline must end with PackInputs')
            label = sample.gt_label
            if len(label) and int(label.max()) >= num_classes:
                raise DataError(f'the picture {where} has the labels {label.tolist()}, but the head has {num_classes} '
                                f'classes (0 ... {num_classes - 1}): set model.head.num_classes')
            rows.append(torch.zeros(num_classes, device=label.device).index_fill_(0, label, 1.))
        return torch.stack(rows)

    def positive(self, score: torch.Tensor) -> torch.Tensor:
        """Return the classes that scores (num_classes, ) predict, (k, ) int64; with ``topk`` the best first.

        Raises:
            ConfigError: If there are fewer classes than ``topk``.
        """
        if self.thr is not None:
            return torch.nonzero(score >= self.thr)[:, 0]
        if self.topk > len(score):
            raise ConfigError(f'{type(self).__name__}: topk={self.topk}: the head has only {len(score)} classes')
        return score.argsort(descending=True, stable=True)[:self.topk]

    def predict(self, feats: Feats, data_samples: list[DataSample | None] | None = None) -> list[DataSample]:
        """Return the samples with ``pred_score`` (sigmoid of each class) and ``pred_label``, (k, ), which may be empty.

        Args:
            feats: Features from backbone and neck; the last is used.
            data_samples: Samples to set them on; None, or a None in place of one, for new ones.
        """
        scores = self(feats).float().sigmoid()
        samples = [None] * len(scores) if data_samples is None else data_samples
        return [(DataSample() if sample is None else sample).set_pred_score(score).set_pred_label(self.positive(score))
                for sample, score in zip(samples, scores, strict=True)]


@MODELS.register_module()
class MultiLabelLinearClsHead(MultiLabelClsHead):
    """Linear classifier for several labels a picture, its layer is called ``fc``.

    Args:
        num_classes: Number of classes.
        in_channels: Length of the feature vectors.
        loss: As of :class:`MultiLabelClsHead`.
        thr: Likewise.
        topk: Likewise.
        init_cfg: Where the weights come from; None for a normal distribution of standard deviation 0.01.

    Raises:
        ConfigError: If an argument is out of range, or the loss takes one label a picture.
    """

    default_init: ClassVar = LinearClsHead.default_init

    def __init__(self,
                 num_classes: int,
                 in_channels: int,
                 loss: dict | nn.Module | None = None,
                 thr: float | None = None,
                 topk: int | None = None,
                 init_cfg: InitCfg = None) -> None:
        super().__init__(loss, thr, topk, init_cfg)
        self.num_classes = check_num_classes(num_classes)
        if topk is not None and topk > num_classes:
            raise ConfigError(f'{type(self).__name__}: topk={topk}: there are only num_classes={num_classes}')
        self.in_channels = in_channels
        self.fc = nn.Linear(in_channels, num_classes)

    def forward(self, feats: Feats) -> torch.Tensor:
        """Return the logits (N, num_classes) float."""
        return self.fc(self.pre_logits(feats))
