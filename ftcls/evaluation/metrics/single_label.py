"""Precision, recall, F1 score and support."""
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch

from ftcls.registry import METRICS
from ftcls.utils.tree import as_list
from ftcls.utils.types import PositiveInt
from .precision_recall import ITEMS, SUFFIXES, Average, Item, Scores, from_counts
from .predictions import SingleLabelBase, Thresholds, as_classes, as_thresholds, threshold_suffixes

__all__ = ['SingleLabelMetric']


@METRICS.register_module()
class SingleLabelMetric(SingleLabelBase):
    """Precision, recall, F1 score (percent) and support (number of samples) where each image has one label.

    A class that is never predicted has precision 0, one that never occurs has recall 0; both count in the macro
    average.

    Args:
        thrs: The class with the highest score counts as predicted only above this threshold; None applies none. Several
            thresholds give a result each.
        items: What to report, of 'precision', 'recall', 'f1-score' and 'support'.
        average: 'macro' for the mean over classes, 'micro' for the counts of all classes taken together, None for one
            value a class.
        num_classes: Number of classes; needed only where the model predicts classes without scores.
        prefix: Goes before the results' names; 'single-label' where it is None.

    Results: ``single-label/precision`` …; with ``average=None`` lists named ``single-label/precision_classwise``,
    with 'micro' ``single-label/precision_micro``.

    Example:
        >>> SingleLabelMetric.calculate([0, 1, 1, 3], [0, 2, 1, 3], num_classes=4)
        (tensor(62.5000), tensor(75.), tensor(66.6667), tensor(4))
    """
    default_prefix = 'single-label'
    higher_is_better: ClassVar = {'precision': True, 'recall': True, 'f1-score': True}

    def __init__(self,
                 thrs: Thresholds = 0.,
                 items: Item | Sequence[Item] = ('precision', 'recall', 'f1-score'),
                 average: Average | None = 'macro',
                 num_classes: PositiveInt | None = None,
                 collect_device: str = 'cpu',
                 prefix: str | None = None) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.thrs = as_thresholds(thrs)
        self.items = as_list(items)
        self.average = average
        self.num_classes = num_classes

    def compute_metrics(self, results: Sequence[Mapping]) -> dict[str, float | int | list]:
        """Compute the chosen items from the collected entries of all processes.

        Raises:
            ConfigError: If ``num_classes`` is missing though the model gave no scores.
        """
        pred, target = self.stack(results)
        thrs = self.thrs
        computed = self.calculate(pred, target, thrs, self.average, self.num_classes)
        if pred.ndim == 1:
            thrs, computed = (None, ), [computed]
        metrics = {}
        for suffix, scores in zip(threshold_suffixes(thrs), computed):
            suffix += SUFFIXES[self.average]
            metrics |= {name + suffix: value.tolist() for name, value in zip(ITEMS, scores) if name in self.items}
        return metrics

    @staticmethod
    def calculate(pred: Any,
                  target: Any,
                  thrs: Thresholds = (0., ),
                  average: Average | None = 'macro',
                  num_classes: int | None = None) -> Scores | list[Scores]:
        """Compute precision, recall, F1 score and support of predictions.

        Args:
            pred: Scores (N, C), or predicted classes (N, ).
            target: True classes (N, ).
            thrs: Thresholds on the scores; without effect on predicted classes.
            average: 'macro', 'micro' or None, as for the class.
            num_classes: C; needed for predicted classes only.

        Returns:
            For predicted classes one tuple of precision, recall, F1 score and support; for scores a list of such
            tuples, one a threshold. Each is a scalar tensor or, with ``average=None``, a tensor (C, ).

        Raises:
            ValueError: If ``pred`` and ``target`` differ in length.
            ConfigError: If ``num_classes`` is missing for predicted classes.
            DataError: If a class is outside of [0, C).
        """
        score, label, target, num_classes = as_classes(pred, target, num_classes, 'SingleLabelMetric')
        computed = []
        for thr in as_thresholds(None if score is None else thrs):
            predicted, true = label, target
            if thr is not None:
                predicted, true = label[score > thr], target[score > thr]
            chosen = (predicted[predicted == true], predicted, target)
            counts = tuple(torch.bincount(classes, minlength=num_classes).double() for classes in chosen)
            computed.append(from_counts(counts, average))
        return computed[0] if score is None else computed
