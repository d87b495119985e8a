"""The head without layers of its own: what the backbone returns are the logits."""
import inspect
from collections.abc import Sequence
from typing import ClassVar

import torch
from mmengine.model import BaseModule
from torch import nn

from ftcls.registry import MODELS
from ftcls.structures import DataSample
from ftcls.utils import ConfigError, DataError
from ..default_init import InitCfg, with_default_init

__all__ = ['ClsHead', 'check_num_classes']

Feats = tuple[torch.Tensor, ...]


def check_num_classes(num_classes: int) -> int:
    """Return ``num_classes``, a positive integer.

    Raises:
        ConfigError: If it is not.
    """
    if not isinstance(num_classes, int) or num_classes <= 0:
        raise ConfigError(f'num_classes={num_classes!r}: must be a positive integer, the number of classes of the data')
    return num_classes


def _percent_in_topk(cls_score: torch.Tensor, target: torch.Tensor, topk: Sequence[int]) -> dict[str, torch.Tensor]:
    """Return in percent how often the truth (N, ) is among the k best scores (N, C), for each k."""
    num_classes = cls_score.shape[1]
    if max(topk) > num_classes:
        raise ConfigError(f'topk={tuple(topk)}: the head has only {num_classes} classes')
    best = cls_score.topk(max(topk), dim=1).indices
    hits = (best == target.reshape(-1, 1)).float().cumsum(dim=1).mean(dim=0) * 100
    return {f'accuracy_top-{k}': hits[k - 1] for k in topk}


@MODELS.register_module()
class ClsHead(BaseModule):
    """Classification head: loss and prediction from logits (N, num_classes).

    Args:
        loss: The loss; None for ``dict(type='CrossEntropyLoss', loss_weight=1.0)``.
        topk: The k for which ``cal_acc`` gives the accuracy.
        cal_acc: Give the accuracy of each training batch, too; not with labels mixed by batch augmentation.
        init_cfg: Where the weights come from.

    Example:
        >>> import torch
        >>> from ftcls.models.heads import ClsHead
        >>> from ftcls.structures import DataSample
        >>> ClsHead().loss((torch.zeros(1, 10), ), [DataSample().set_gt_label(3)])
        {'loss': tensor(2.3026)}
    """

    # How the weights of a head with layers start where ``init_cfg`` does not say it.
    default_init: ClassVar[Sequence[dict]] = ()

    def __init__(self,
                 loss: dict | nn.Module | None = None,
                 topk: int | Sequence[int] = (1, ),
                 cal_acc: bool = False,
                 init_cfg: InitCfg = None) -> None:
        super().__init__(init_cfg=with_default_init(init_cfg, self.default_init) or None)
        self.topk = (topk, ) if isinstance(topk, int) else tuple(topk)
        if not self.topk or min(self.topk) < 1:
            raise ConfigError(f'topk={topk!r}: each k must be at least 1')
        loss = dict(type='CrossEntropyLoss', loss_weight=1.0) if loss is None else loss
        self.loss_module = loss if isinstance(loss, nn.Module) else MODELS.build(loss)
        self.cal_acc = cal_acc

    def pre_logits(self, feats: Feats) -> torch.Tensor:
        """Return the features that the last layer gets: the last of ``feats``, (N, C) float.

        Raises:
            ConfigError: If they are a feature map.
        """
        x = feats if isinstance(feats, torch.Tensor) else feats[-1]
        if x.ndim != 2:
            raise ConfigError(f'{type(self).__name__} takes vectors (N, C), got shape {tuple(x.shape)}: '
                              "give the model neck=dict(type='GlobalAveragePooling')")
        return x

    def forward(self, feats: Feats) -> torch.Tensor:
        """Return the logits (N, num_classes) float."""
        return self.pre_logits(feats)

    def loss(self, feats: Feats, data_samples: list[DataSample], **kwargs: object) -> dict[str, torch.Tensor]:
        """Return ``loss``, () float32, and with ``cal_acc`` ``accuracy_top-k`` in percent.

        Args:
            feats: Features from backbone and neck; the last is used.
            data_samples: Samples with ``gt_score`` or ``gt_label``.
            **kwargs: Further arguments of the loss.

        Raises:
            DataError: If a sample has no label, or not one the loss can take.
        """
        cls_score = self(feats)
        target = self._target(data_samples, cls_score.shape[1])
        losses = dict(loss=self.loss_module(cls_score, target, avg_factor=len(cls_score), **kwargs))
        if self.cal_acc:
            if target.ndim != 1:
                raise ConfigError('cal_acc=True needs one class a picture; leave it out with soft labels (batch '
                                  'augmentation) and with several labels a picture')
            losses.update(_percent_in_topk(cls_score.detach(), target, self.topk))
        return losses

    def loss_per_sample(self, feats: Feats, data_samples: list[DataSample]) -> torch.Tensor:
        """Return the loss of each sample, (N, ) float32; their mean over all of a data set is its loss, however it is batched.

        With ``class_weight`` and class indices, each is weighted but not divided: the mean is over the number of samples,
        while that of :meth:`loss` is over the sum of their weights. A loss module without ``reduction_override`` knows whole
        batches only, and each sample gets that of the batch.

        Args:
            feats: Features from backbone and neck; the last is used.
            data_samples: Samples with ``gt_score`` or ``gt_label``.

        Raises:
            DataError: If a sample has no label, or not one the loss can take.
        """
        cls_score = self(feats)
        target = self._target(data_samples, cls_score.shape[1])
        if 'reduction_override' not in inspect.signature(self.loss_module.forward).parameters:
            return self.loss_module(cls_score, target, avg_factor=len(cls_score)).expand(len(cls_score))
        losses = self.loss_module(cls_score, target, reduction_override='none')
        # A loss over each class by itself is summed over them, as :meth:`loss` does it.
        return losses.reshape(len(cls_score), -1).sum(dim=1)

    @staticmethod
    def _target(data_samples: list[DataSample], num_classes: int) -> torch.Tensor:
        """Return the labels of the samples: scores (N, num_classes) float, or class indices (N, ) int64."""
        if all('gt_score' in sample for sample in data_samples):
            return torch.stack([sample.gt_score for sample in data_samples])
        for sample in data_samples:
            if 'gt_label' not in sample:
                raise DataError(f'the picture {sample.get("img_path", "(no path)")} has no gt_label: the dataset must '
                                'give one, and the pipeline must end with PackClsInputs')
            if len(sample.gt_label) != 1:
                raise DataError(f'the picture {sample.get("img_path", "(no path)")} has the labels '
                                f'{sample.gt_label.tolist()}, but this head takes one: for several labels set '
                                "model.head.type='MultiLabelLinearClsHead'")
        return torch.cat([sample.gt_label for sample in data_samples])

    def predict(self, feats: Feats, data_samples: list[DataSample | None] | None = None) -> list[DataSample]:
        """Return the samples with ``pred_score`` (softmax) and ``pred_label`` set.

        Args:
            feats: Features from backbone and neck; the last is used.
            data_samples: Samples to set them on; None, or a None in place of one, for new ones.
        """
        scores = self(feats).float().softmax(dim=1)
        labels = scores.argmax(dim=1, keepdim=True)
        samples = [None] * len(scores) if data_samples is None else data_samples
        return [(DataSample() if sample is None else sample).set_pred_score(score).set_pred_label(label)
                for sample, score, label in zip(samples, scores, labels, strict=True)]
