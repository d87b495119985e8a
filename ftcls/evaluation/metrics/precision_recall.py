"""What the metrics of precision and recall share, of one label a picture and of several."""
from collections.abc import Sequence

import torch

from ftcls.utils import ConfigError, did_you_mean

__all__ = ['ITEMS', 'Scores', 'check_average', 'check_items', 'from_counts']

ITEMS = ('precision', 'recall', 'f1-score', 'support')
_AVERAGES = ('micro', 'macro', None)
Scores = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def check_average(average: str | None, metric: str, allowed: Sequence[str | None] = _AVERAGES) -> None:
    """Refuse an unknown kind of average.

    Raises:
        ConfigError: If ``average`` is not among those allowed.
    """
    if average not in allowed:
        raise ConfigError(f'`average` of {metric} must be {" or ".join(map(repr, allowed))}, got {average!r}')


def check_items(items: Sequence[str], metric: str) -> tuple[str, ...]:
    """Return the names of what a metric reports, one or several.

    Raises:
        ConfigError: If one is unknown.
    """
    items = (items, ) if isinstance(items, str) else tuple(items)
    for item in items:
        if item not in ITEMS:
            raise ConfigError(f'`items` of {metric} has no {item!r}{did_you_mean(item, ITEMS)}')
    return items


def _ratio(numerator: torch.Tensor, denominator: torch.Tensor) -> torch.Tensor:
    """Divide, with 0 where the denominator is 0."""
    return torch.where(denominator > 0, numerator / denominator.clamp(min=1e-12), torch.zeros_like(denominator))


def from_counts(counts: tuple[torch.Tensor, torch.Tensor, torch.Tensor], average: str | None) -> Scores:
    """Compute precision, recall and F1 score (percent) and support from the counts of each class.

    Args:
        counts: For each class, (C, ) float64 each: samples rightly taken for it, all taken for it, all that belong to it.
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
