"""What predictions alone tell of a model: scores, classes, calibration, labels that look wrong."""
import numpy as np
import torch

from ftcls.evaluation import DiceMetric
from ftcls.evaluation.calibration import fit_temperature, reliability
from ftcls.evaluation.predictions import Predictions
from ftcls.utils import DataError
from .contents import Calibration, ClassRow

__all__ = ['calibrate_scores', 'class_rows', 'find_suspects', 'image_scores', 'is_known', 'mean_interval']


def is_known(predictions: Predictions) -> np.ndarray:
    """Tell of each image whether its label or mask is known, (N, ) bool."""
    if predictions.counts.size:
        return np.ones(len(predictions.paths), bool)
    return predictions.labels.reshape(len(predictions.paths), -1)[:, 0] >= 0


def image_scores(predictions: Predictions) -> tuple[str, np.ndarray]:
    """Return what is measured, and the score of each image, (N, ) in percent.

    Of one label it is 'accuracy/top1', 0 or 100; of a mask 'dice'; of several labels their F1 score, which is the same
    of labels as Dice is of pixels.
    """
    labels, predicted, counts, name = predictions.labels, predictions.predicted, predictions.counts, 'dice'
    if labels.ndim == 2:
        name, counts = 'F1 per image', np.stack([labels & predicted, labels < predicted, labels > predicted], 1).sum(2)
    if counts.size:
        return name, np.array([100 * DiceMetric.score(*row) for row in counts.tolist()])
    return 'accuracy/top1', 100. * (labels == predicted)


def mean_interval(scores: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval of the mean of scores (N, ) in percent.

    It is Wilson's (1927) where images are right or wrong, else the normal distribution's.
    """
    from scipy import stats
    if set(scores) <= {0., 100.}:
        found = stats.binomtest(int((scores > 0).sum()), len(scores)).proportion_ci(method='wilson')
        return 100 * found.low, 100 * found.high
    half = stats.norm.ppf(0.975) * scores.std(ddof=1) / np.sqrt(len(scores))
    return max(scores.mean() - half, 0.), min(scores.mean() + half, 100.)


def class_rows(predictions: Predictions) -> list[ClassRow]:
    """Return a row for each class: the worst F1 score first, those without images last."""
    from sklearn.metrics import precision_recall_fscore_support
    known, numbers = is_known(predictions), range(len(predictions.classes))
    *scores, support = precision_recall_fscore_support(
        predictions.labels[known], predictions.predicted[known], labels=numbers, zero_division=0)
    columns = zip(predictions.classes, support.tolist(), *(100 * np.array(scores)).tolist())
    return sorted((ClassRow(*row) for row in columns), key=lambda row: (row.support == 0, row.f1))


def calibrate_scores(measured: Predictions, fitted: Predictions | None = None) -> Calibration:
    """Fit a temperature on ``fitted`` and measure it on other images.

    Without ``fitted`` it is fitted on a half of the images, drawn with seed 0, and measured on the other half.

    Raises:
        DataError: If images do not have one label, or no temperature fits.
    """
    basis = 'Fitted on the validation set, measured on the test set.'
    (logits, labels), fit = _logits(measured), fitted and _logits(fitted)
    if fit is None:
        basis = 'Fitted on one half of the images, measured on the other.'
        half, rest = np.array_split(np.random.default_rng(0).permutation(len(labels)), 2)
        (logits, labels), fit = (logits[rest], labels[rest]), (logits[half], labels[half])
    temperature = fit_temperature(*fit)
    logs = [(logits / t).log_softmax(dim=1) for t in (1, temperature)]
    bins = [reliability(log.exp(), labels) for log in logs]
    return Calibration(temperature, *bins, *(torch.nn.functional.nll_loss(log, labels).item() for log in logs), basis)


def _logits(predictions: Predictions) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits (N, C) float64 that give the scores, and the labels (N, ) int64."""
    if predictions.labels.ndim != 1 or not predictions.scores.size:
        raise DataError('temperature scaling needs one label per image, and scores')
    known = is_known(predictions)
    scores = np.maximum(predictions.scores[known], np.finfo(np.float32).tiny).astype(float)
    return torch.from_numpy(np.log(scores)), torch.from_numpy(predictions.labels[known])


def find_suspects(predictions: Predictions) -> list[int]:
    """Return the images whose label looks wrong, the worst first, by confident learning (Northcutt et al. 2021)."""
    from cleanlab.filter import find_label_issues
    known = np.flatnonzero(is_known(predictions))
    labels, several = predictions.labels[known], predictions.labels.ndim == 2
    if several:
        labels = [np.flatnonzero(row).tolist() for row in labels]
    found = find_label_issues(
        labels, predictions.scores[known], return_indices_ranked_by='self_confidence', n_jobs=1, multi_label=several)
    return known[found].tolist()
