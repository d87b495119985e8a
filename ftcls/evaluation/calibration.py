"""Are scores probabilities? Reliability, its expected error, and the temperature that mends it."""
import math
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from ftcls.utils import DataError

__all__ = ['Reliability', 'fit_temperature', 'reliability']


@dataclass(frozen=True)
class Reliability:
    """How often predictions are right, by how sure they were: a row of bins of equal width over (0, 1].

    Attributes:
        count: Predictions in each bin.
        confidence: Their mean score, NaN for an empty bin.
        accuracy: The share of them that is right, NaN for an empty bin.
    """
    count: list[int]
    confidence: list[float]
    accuracy: list[float]

    @property
    def ece(self) -> float:
        """The expected calibration error (Naeini et al. 2015), 0 to 1: mean distance of confidence and accuracy."""
        total = sum(self.count)
        return sum(n * abs(c - a) for n, c, a in zip(self.count, self.confidence, self.accuracy) if n) / total


def reliability(scores: torch.Tensor, labels: torch.Tensor, bins: int = 15) -> Reliability:
    """Sort the predictions into bins by their highest score; 15 bins are those of Guo et al. 2017.

    Args:
        scores: (N, C) float, probabilities.
        labels: (N, ) int64, true classes.
        bins: Number of bins; bin k holds scores from k / bins (exclusive) to (k + 1) / bins (inclusive).

    Raises:
        DataError: If there is no prediction.
    """
    if not len(scores):
        raise DataError('reliability: there is no prediction')
    confidence, predicted = scores.double().max(dim=1)
    right = (predicted == labels).double()
    index = (confidence * bins).ceil().long().clamp(1, bins) - 1
    count = torch.bincount(index, minlength=bins)
    sums = [torch.zeros(bins, dtype=torch.float64).index_add_(0, index, values) for values in (confidence, right)]
    return Reliability(count.tolist(), *((total / count).tolist() for total in sums))


def fit_temperature(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """Return the T for which ``softmax(logits / T)`` has the least negative log-likelihood.

    Temperature scaling, Guo et al. 2017 (arXiv:1706.04599). The likelihood has one optimum, found by Brent's method.

    Args:
        logits: (N, C) float.
        labels: (N, ) int64, true classes.

    Raises:
        DataError: If the data have no best temperature: all predictions are right, so that it would be 0, or they are
            no better than chance, so that it would be infinite.
    """
    logits = logits.double()
    true = logits.gather(1, labels[:, None])[:, 0]
    for hopeless, what in (
        (bool((true == logits.amax(dim=1)).all()), 'are all right'),  # concave in 1 / T: no optimum
        (bool(true.mean() <= logits.mean()), 'are no better than chance')):
        if hopeless:
            raise DataError(f'no temperature fits {len(labels)} predictions, which {what}; take more or other images')
    from scipy.optimize import minimize_scalar
    found = minimize_scalar(lambda log_t: F.cross_entropy(logits / math.exp(log_t), labels).item())
    return math.exp(found.x)
