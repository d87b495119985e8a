"""Classification heads with one label per image: without layers of their own, and with a linear layer."""
from collections.abc import Sequence
from typing import Annotated, ClassVar

import torch
from annotated_types import MinLen
from mmengine.model import BaseModule
from torch import nn

from ftcls.registry import MODELS
from ftcls.structures import DataSample, is_stacked
from ftcls.utils import ConfigError, DataError
from ftcls.utils.tree import as_list
from ftcls.utils.types import PositiveInt
from ..losses.base_loss import unreduced
from ..weight_init import InitCfg, with_default_init

__all__ = ['ClsHead', 'LinearClsHead', 'given_or_new', 'require']

Feats = tuple[torch.Tensor, ...]
TopK = PositiveInt | Annotated[Sequence[PositiveInt], MinLen(1)]


def given_or_new(data_samples: list[DataSample | None] | None, count: int) -> list[DataSample]:
    """Return the samples that predictions are set on, with new ones in place of None."""
    if data_samples is None:
        return [DataSample() for _ in range(count)]
    return [sample or DataSample() for sample in data_samples]


def require(sample: DataSample, field: str, remedy: str) -> None:
    """Raise a DataError unless a sample has a field that a loss needs."""
    if field not in sample:
        raise DataError(f'image {sample.get("img_path", "(no path)")} has no {field}: {remedy}')


def _percent_in_topk(cls_score: torch.Tensor, target: torch.Tensor, topk: Sequence[int]) -> dict[str, torch.Tensor]:
    """Return in percent how often the truth (N, ) is among the k best scores (N, C), for each k."""
    if max(topk) > cls_score.shape[1]:
        raise ConfigError(f'topk={tuple(topk)}: the head has only {cls_score.shape[1]} classes')
    best = cls_score.topk(max(topk), dim=1).indices
    hits = (best == target.reshape(-1, 1)).float().cumsum(dim=1).mean(dim=0) * 100
    return {f'accuracy_top-{k}': hits[k - 1] for k in topk}


@MODELS.register_module()
class ClsHead(BaseModule):
    """Classification head without layers: loss and prediction from logits (N, num_classes) of the backbone.

    Args:
        loss: None for ``dict(type='CrossEntropyLoss', loss_weight=1.0)``.
        topk: The k for which ``cal_acc`` gives the accuracy.
        cal_acc: Also give the accuracy of each training batch; not with labels mixed by batch augmentation.
        init_cfg: Where the weights come from.

    Example:
        >>> ClsHead().loss((torch.zeros(1, 10), ), [DataSample().set_gt_label(3)])
        {'loss': tensor(2.3026)}
    """

    default_init: ClassVar[Sequence[dict]] = ()  # how the layers start unless ``init_cfg`` says it

    def __init__(self,
                 loss: dict | nn.Module | None = None,
                 topk: TopK = (1, ),
                 cal_acc: bool = False,
                 init_cfg: InitCfg = None) -> None:
        super().__init__(init_cfg=with_default_init(init_cfg, self.default_init) or None)
        self.topk = tuple(as_list(topk))
        if loss is None:
            loss = dict(type='CrossEntropyLoss', loss_weight=1.0)
        self.loss_module = loss if isinstance(loss, nn.Module) else MODELS.build(loss)
        self.cal_acc = cal_acc

    def pre_logits(self, feats: Feats) -> torch.Tensor:
        """Return what the last layer gets: the last of ``feats``, (N, C) float; raise a ConfigError if it is a map."""
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
            ConfigError: If ``cal_acc`` is set and the labels are scores.
        """
        return self._get_loss(self(feats), data_samples, **kwargs)

    def _get_loss(self, cls_score: torch.Tensor, data_samples: list[DataSample],
                  **kwargs: object) -> dict[str, torch.Tensor]:
        """Return the losses of logits (N, num_classes), see :meth:`loss`; a subclass may override it."""
        target = self._target(data_samples, cls_score.shape[1])
        losses = dict(loss=self.loss_module(cls_score, target, avg_factor=len(cls_score), **kwargs))
        if self.cal_acc:
            if target.ndim != 1:
                raise ConfigError('cal_acc=True needs one class per image, not soft labels (batch augmentation)')
            losses.update(_percent_in_topk(cls_score.detach(), target, self.topk))
        return losses

    def loss_per_sample(self, feats: Feats, data_samples: list[DataSample]) -> torch.Tensor:
        """Return the loss of each sample, (N, ) float32; their mean over a data set does not depend on the batches.

        A loss of each class is summed over the classes, as in :meth:`loss`. If the loss module has no
        ``reduction_override``, or does not heed it, each sample gets the loss of the batch.
        """
        cls_score = self(feats)
        target = self._target(data_samples, cls_score.shape[1])
        losses = unreduced(self.loss_module, cls_score, target, avg_factor=len(cls_score))
        if losses.numel() == 1:  # of the whole batch
            return losses.flatten().expand(len(cls_score))
        return losses.reshape(len(cls_score), -1).sum(dim=1)

    def _target(self, data_samples: list[DataSample], num_classes: int) -> torch.Tensor:
        """Return the labels of the samples: scores (N, num_classes) float, or class indices (N, ) int64."""
        if is_stacked(data_samples):
            return self._labels(data_samples, num_classes) if data_samples.gt_score is None else data_samples.gt_score
        if all('gt_score' in sample for sample in data_samples):
            return torch.stack([sample.gt_score for sample in data_samples])
        for sample in data_samples:
            require(sample, 'gt_label', 'the dataset must give one, and the pipeline must end with PackInputs')
        return self._labels(data_samples, num_classes)

    def _labels(self, data_samples: Sequence[DataSample], num_classes: int) -> torch.Tensor:
        if is_stacked(data_samples):
            return data_samples.gt_label
        for sample in data_samples:
            if len(sample.gt_label) != 1:
                path, labels = sample.get('img_path', '(no path)'), sample.gt_label.tolist()
                raise DataError(f'image {path} has the labels {labels}, but this head takes one: for several set '
                                "model.head.type='MultiLabelLinearClsHead'")
        return torch.cat([sample.gt_label for sample in data_samples])

    def predict(self, feats: Feats, data_samples: list[DataSample | None] | None = None) -> list[DataSample]:
        """Return the samples (None for new ones) with ``pred_score`` (softmax) and ``pred_label`` set."""
        return self._get_predictions(self(feats), data_samples)

    def _get_predictions(self,
                         cls_score: torch.Tensor,
                         data_samples: list[DataSample | None] | None = None) -> list[DataSample]:
        """Return the predictions for logits (N, num_classes), see :meth:`predict`; a subclass may override it."""
        scores = cls_score.float().softmax(dim=1)
        samples = given_or_new(data_samples, len(scores))
        for sample, score, label in zip(samples, scores, scores.argmax(dim=1), strict=True):
            sample.set_pred_score(score).set_pred_label(label)
        return samples


@MODELS.register_module()
class LinearClsHead(ClsHead):
    """Linear classifier; its layer is called ``fc``.

    Args:
        in_channels: Length of the feature vectors.
        init_cfg: None for a normal distribution of standard deviation 0.01.
        num_classes, loss, topk, cal_acc: See :class:`ClsHead`.

    Example:
        >>> LinearClsHead(num_classes=10, in_channels=512)((torch.rand(2, 512), )).shape
        torch.Size([2, 10])
    """

    default_init: ClassVar[Sequence[dict]] = (dict(type='Normal', layer='Linear', std=0.01), )

    def __init__(self,
                 num_classes: PositiveInt,
                 in_channels: PositiveInt,
                 init_cfg: InitCfg = None,
                 loss: dict | nn.Module | None = None,
                 topk: TopK = (1, ),
                 cal_acc: bool = False) -> None:
        super().__init__(loss, topk, cal_acc, init_cfg)
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.fc = nn.Linear(in_channels, num_classes)

    def forward(self, feats: Feats) -> torch.Tensor:
        """Return the logits (N, num_classes) float."""
        return self.fc(self.pre_logits(feats))
