"""What the metrics of precision and recall share, of one label per image and of several."""
from typing import Literal

import torch

__all__ = ['Average', 'ITEMS', 'Item', 'SUFFIXES', 'Scores', 'from_counts']

ITEMS = ('precision', 'recall', 'f1-score', 'support')
Item = Literal['precision', 'recall', 'f1-score', 'support']
Average = Literal['micro', 'macro']
SUFFIXES = {None: '_classwise', 'micro': '_micro', 'macro': ''}  # of the results' names, by the average
Scores = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def _ratio(numerator: torch.Tensor, denominator: torch.Tensor) -> torch.Tensor:
    """Divide, with 0 where the denominator is 0."""
    return torch.where(denominator > 0, numerator / denominator.clamp(min=1e-12), torch.zeros_like(denominator))


def from_counts(counts: tuple[torch.Tensor, torch.Tensor, torch.Tensor], average: Average | None) -> Scores:
    """Compute precision, recall and F1 score (percent) and support from the counts of each class.

    Args:
        counts: For each class, (C, ) float64 each: samples rightly taken for it, all taken for it, all that belong to
            it.
        average: See :class:`SingleLabelMetric`.
    """
    correct, predicted, true = counts
    support = true
    if average == 'micro':
        correct, predicted, true = correct.sum(), predicted.sum(), true.sum()
    precision, recall = 100 * _ratio(correct, predicted), 100 * _ratio(correct, true)
    f1_score = _ratio(2 * precision * recall, precision + recall)
    if average == 'macro':
        precision, recall, f1_score = precision.mean(), recall.mean(), f1_score.mean()
    if average is not None:
        support = support.sum()
    return precision.float(), recall.float(), f1_score.float(), support.to(torch.int64)
