"""Metrics where an image has any number of labels."""
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from mmengine.evaluator import BaseMetric

from ftcls.registry import METRICS
from ftcls.utils import ConfigError, DataError
from ftcls.utils.log import warn
from ftcls.utils.names import enumerate_names
from ftcls.utils.tree import as_list
from ftcls.utils.types import PositiveInt
from .precision_recall import ITEMS, SUFFIXES, Average, Item, Scores, from_counts
from .predictions import check_not_empty, check_targets, file_of, to_tensor

__all__ = ['AveragePrecision', 'MultiLabelMetric']

Labels = torch.Tensor | np.ndarray | Sequence


def _one_hot(label: torch.Tensor, num_classes: int) -> torch.Tensor:
    """Return class indices (k, ) as 0 and 1, (num_classes, ) float32."""
    return torch.zeros(num_classes).index_fill_(0, check_targets(label, num_classes), 1.)


def _check_shapes(pred: torch.Tensor, target: torch.Tensor) -> None:
    if pred.ndim != 2 or pred.shape != target.shape:
        raise ValueError(f'pred and target must be (N, num_classes), got {tuple(pred.shape)}, {tuple(target.shape)}')


class _MultiLabelBase(BaseMetric):
    """Collects one entry a sample: its scores, and its labels as 0 and 1."""
    default_prefix = 'multi-label'
    higher_is_better: ClassVar = {'mAP': True, 'AP': True, 'precision': True, 'recall': True, 'f1-score': True}

    def process(self, data_batch: Any, data_samples: Sequence[Mapping]) -> None:
        """Collect what the model made of one batch.

        Args:
            data_samples: One dict a sample with ``pred_score`` (C, ), and ``gt_score`` (C, ) or ``gt_label`` (k, ).

        Raises:
            DataError: If a sample has no labels, or some that the scores do not cover.
            ConfigError: If a sample has no scores.
        """
        for sample in data_samples:
            where = file_of(sample)
            if sample.get('pred_score') is None:
                raise ConfigError(f'{type(self).__name__} found no `pred_score` in a sample{where}: the model must be '
                                  "a classifier with head=dict(type='MultiLabelLinearClsHead')")
            score = torch.as_tensor(sample['pred_score']).detach().cpu().float()
            if sample.get('gt_score') is not None:
                truth = torch.as_tensor(sample['gt_score']).detach().cpu().float()
            elif sample.get('gt_label') is not None:
                truth = _one_hot(torch.as_tensor(sample['gt_label']).detach().cpu(), len(score))
            else:
                raise DataError(f'a sample has no labels{where}; an image without any needs an empty list')
            if truth.shape != score.shape:
                raise DataError(f'{len(truth)} labels do not fit {len(score)} scores{where}; set `num_classes` of the '
                                "model's head to the number of classes of the data")
            self.results.append((score, self.truth_of(sample, truth)))

    def truth_of(self, sample: Mapping, truth: torch.Tensor) -> torch.Tensor:
        """Return the labels, (C, ), -1 for a class that does not count; here, as they are given."""
        return truth

    def stack(self, results: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Put the collected entries together: scores and labels, (N, C) each.

        Raises:
            DataError: If there is nothing to evaluate.
        """
        check_not_empty(results)
        scores, truths = zip(*results)
        return torch.stack(scores), torch.stack(truths)


@METRICS.register_module()
class AveragePrecision(_MultiLabelBase):
    """Average precision: the area below the steps of a class's precision over its recall, in percent.

    It is scikit-learn's ``average_precision_score``: samples of equal scores stand together, whatever their order. A
    class without any positive sample has none; it is left out of the mean, and the log names it once. Where all classes
    are such, the mean is 0.

    Args:
        average: 'macro' for the mean over classes (mAP), None for one value a class (0 for a class without positives).
        prefix: Goes before the results' names; 'multi-label' where it is None.

    Results: ``multi-label/mAP``; with ``average=None`` the list ``multi-label/AP_classwise``.

    Example:
        >>> scores = torch.tensor([[.9, .1], [.8, .2], [.1, .7]])
        >>> AveragePrecision.calculate(scores, torch.tensor([[1, 0], [0, 1], [0, 0]]))
        tensor(75.)
    """

    def __init__(self,
                 average: Literal['macro'] | None = 'macro',
                 collect_device: str = 'cpu',
                 prefix: str | None = None) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.average = average
        self._left_out: list[int] = []
        self._is_logged = False

    def evaluate(self, size: int) -> dict[str, float | list[float]]:
        """Compute the results over all processes, and say once which classes have no positive sample."""
        results = super().evaluate(size)
        if self._left_out and not self._is_logged:
            self._is_logged = True
            names = (self.dataset_meta or {}).get('classes', range(max(self._left_out) + 1))
            left_out = enumerate_names(names[i] for i in self._left_out)
            warn(f'AveragePrecision: no image has the label {left_out}: left out of the mean')
        return results

    def compute_metrics(self, results: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> dict[str, float | list[float]]:
        """Compute the results from the collected entries of all processes."""
        pred, target = self.stack(results)
        self._left_out = torch.nonzero((target == 1).sum(dim=0) == 0)[:, 0].tolist()
        values = self.calculate(pred, target, self.average)
        return dict(AP_classwise=values.tolist()) if self.average is None else dict(mAP=values.item())

    @staticmethod
    def calculate(pred: Labels, target: Labels, average: Literal['macro'] | None = 'macro') -> torch.Tensor:
        """Compute the average precision.

        Args:
            pred: (N, num_classes) float scores.
            target: (N, num_classes), 1 where the label is given; samples of -1 do not count for that class.
            average: 'macro' or None, as for the class.

        Returns:
            () float32, or (num_classes, ) where ``average`` is None; in percent.

        Raises:
            ValueError: If the shapes are others.
        """
        pred, target = to_tensor(pred, 'pred'), to_tensor(target, 'target')
        _check_shapes(pred, target)
        values = torch.stack([_average_precision(*pair) for pair in zip(pred.double().T, target.T)])
        if average is None:
            return 100 * values.nan_to_num(0.).float()
        return 100 * values.nanmean().nan_to_num(0.).float()


def _average_precision(score: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the average precision of one class, () float64, 0 to 1; NaN without a positive.

    Only at the last of equal scores is it known how many samples a threshold lets through.

    Args:
        score: (N, ) float.
        target: (N, ), 1 where the class is given.
    """
    score, order = score[target > -1].nan_to_num(-torch.inf).sort(descending=True)  # what is no number ranks last
    hits = (target[target > -1][order] == 1).double()
    ends = torch.nonzero(torch.cat([score[:-1] != score[1:], torch.ones_like(score[:1], dtype=torch.bool)]))[:, 0]
    right = hits.cumsum(0)[ends]
    gained = right.diff(prepend=right.new_zeros(1))
    return (gained * right / (ends + 1)).sum() / hits.sum()


@METRICS.register_module()
class MultiLabelMetric(_MultiLabelBase):
    """Precision, recall, F1 score (percent) and support (number of labels) where an image has any number of labels.

    A class that is never predicted has precision 0, one that never occurs has recall 0; both count in the macro
    average.

    Args:
        thr: Classes of at least this score are taken for predicted; None for 0.5 where ``topk`` is None too.
        topk: The so many best classes are; without effect beside ``thr``.
        items: What to report, of 'precision', 'recall', 'f1-score' and 'support'.
        average: 'macro' for the mean over classes, 'micro' for the counts of all classes taken together, None for one
            value a class.
        prefix: Goes before the results' names; 'multi-label' where it is None.

    Results: ``multi-label/precision`` …; ``multi-label/precision_thr-0.30`` with a threshold other than 0.5,
    ``multi-label/precision_top2`` with ``topk=2``; with 'micro' these and ``_micro``, with ``average=None`` lists with
    ``_classwise``.

    Example:
        >>> MultiLabelMetric.calculate([[0], [1], [0, 1], [3]], [[0, 3], [0, 2], [1], [3]], True, True, num_classes=4)
        (tensor(50.), tensor(50.), tensor(45.8333), tensor(6))
    """

    def __init__(self,
                 thr: float | None = None,
                 topk: PositiveInt | None = None,
                 items: Item | Sequence[Item] = ('precision', 'recall', 'f1-score'),
                 average: Average | None = 'macro',
                 collect_device: str = 'cpu',
                 prefix: str | None = None) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        if thr is not None and topk is not None:
            warn(f'MultiLabelMetric: thr={thr} and topk={topk} are given; the threshold is used')
        if thr is None and topk is None:
            thr = 0.5
        self.thr = thr
        self.topk = topk
        self.items = as_list(items)
        self.average = average

    def compute_metrics(self, results: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> dict[str, float | int | list]:
        """Compute the chosen items from the collected entries of all processes."""
        pred, target = self.stack(results)
        suffix = SUFFIXES[self.average]
        if self.thr is None:
            suffix = f'_top{self.topk}{suffix}'
        elif self.thr != 0.5:
            suffix = f'_thr-{self.thr:.2f}{suffix}'
        values = self.calculate(pred, target, average=self.average, thr=self.thr, topk=self.topk)
        return {name + suffix: value.tolist() for name, value in zip(ITEMS, values) if name in self.items}

    @staticmethod
    def calculate(pred: Labels,
                  target: Labels,
                  pred_indices: bool = False,
                  target_indices: bool = False,
                  average: Average | None = 'macro',
                  thr: float | None = None,
                  topk: int | None = None,
                  num_classes: int | None = None) -> Scores:
        """Compute precision, recall, F1 score and support of predictions.

        Args:
            pred: (N, num_classes) float scores, or with ``pred_indices`` N sequences of classes.
            target: (N, num_classes) of 0 and 1, and -1 for what does not count; or with ``target_indices`` N sequences
                of classes.
            pred_indices: What ``pred`` is.
            target_indices: What ``target`` is.
            average: 'macro', 'micro' or None, as for the class.
            thr: As for the class.
            topk: As for the class.
            num_classes: Needed for sequences of classes only.

        Returns:
            Precision, recall, F1 score in percent, float32, and support, int64; () each, or with ``average=None`` (C,
            ).

        Raises:
            ValueError: If the shapes do not fit each other.
            ConfigError: If there are fewer than ``topk`` classes, or ``num_classes`` is missing.
            DataError: If a class is outside of [0, num_classes).
        """
        pred = _as_scores(pred, 'pred', pred_indices, num_classes)
        target = _as_scores(target, 'target', target_indices, num_classes)
        _check_shapes(pred, target)
        if thr is None and topk is not None:
            if topk > pred.shape[1]:
                raise ConfigError(f'`topk={topk}` of MultiLabelMetric: there are only {pred.shape[1]} classes')
            best = pred.argsort(dim=1, descending=True, stable=True)[:, :topk]
            predicted = torch.zeros_like(pred, dtype=torch.bool).scatter_(1, best, True)
        else:
            predicted = pred >= (0.5 if thr is None else thr)
        true = target == 1
        counts = tuple(chosen.sum(dim=0).double() for chosen in (predicted & true, predicted & (target != -1), true))
        return from_counts(counts, average)


def _as_scores(labels: Labels, name: str, indices: bool, num_classes: int | None) -> torch.Tensor:
    """Return labels as (N, num_classes)."""
    if not indices:
        if isinstance(labels, Sequence) and len(labels) and isinstance(labels[0], torch.Tensor | np.ndarray):
            return torch.stack([to_tensor(row, name) for row in labels])
        return to_tensor(labels, name)
    if num_classes is None:
        raise ConfigError('`num_classes` of MultiLabelMetric is needed for lists of classes')
    return torch.stack([_one_hot(torch.as_tensor(row), num_classes) for row in labels])
