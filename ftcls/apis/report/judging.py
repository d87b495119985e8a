"""What predictions alone tell of a model: scores, classes, calibration, labels that look wrong."""
import numpy as np
import torch

from ftcls.apis.analysis.calibrate import measure_scores
from ftcls.evaluation import DiceMetric
from ftcls.evaluation.calibration import fit_temperature
from ftcls.evaluation.predictions import Predictions
from ftcls.utils import DataError
from .contents import Calibration, ClassRow, Example

__all__ = ['calibrate_scores', 'class_rows', 'example_of', 'find_suspects', 'image_scores', 'is_known', 'mean_interval']


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

    It is Wilson's (1927) where images are right or wrong, else Student's; of one image it is all there is, 0 to 100.
    """
    from scipy import stats
    if set(scores) <= {0., 100.}:
        found = stats.binomtest(int((scores > 0).sum()), len(scores)).proportion_ci(method='wilson')
        return 100 * found.low, 100 * found.high
    if len(scores) == 1:
        return 0., 100.
    half = stats.t.ppf(0.975, len(scores) - 1) * scores.std(ddof=1) / np.sqrt(len(scores))
    return max(scores.mean() - half, 0.), min(scores.mean() + half, 100.)


def class_rows(predictions: Predictions) -> list[ClassRow]:
    """Return a row for each class: the worst F1 score first, those without images last."""
    from sklearn.metrics import precision_recall_fscore_support
    known, numbers = is_known(predictions), range(len(predictions.classes))
    *scores, support = precision_recall_fscore_support(
        predictions.labels[known], predictions.predicted[known], labels=numbers, zero_division=0)
    columns = zip(predictions.classes, support.tolist(), *(100 * np.array(scores)).tolist())
    return sorted((ClassRow(*row) for row in columns), key=lambda row: (row.support == 0, row.f1))


def calibrate_scores(predictions: Predictions) -> Calibration:
    """Fit a temperature on one half of the images, drawn with seed 0, and measure it on the other.

    Raises:
        DataError: If images do not have one label, or no temperature fits.
    """
    if predictions.labels.ndim != 1 or not predictions.scores.size:
        raise DataError('temperature scaling needs one label per image, and scores')
    fitted, measured = np.array_split(np.random.default_rng(0).permutation(np.flatnonzero(is_known(predictions))), 2)
    scores = np.maximum(predictions.scores, np.finfo(np.float32).tiny)
    logits, labels = torch.from_numpy(np.log(scores)).double(), torch.from_numpy(predictions.labels)
    temperature = fit_temperature(logits[fitted], labels[fitted])
    numbers, bins = zip(*(measure_scores(logits[measured] / t, labels[measured]) for t in (1, temperature)))
    return Calibration(temperature, *numbers, bins)


def example_of(predictions: Predictions, number: int, image: np.ndarray | None) -> Example:
    """Return an image with its label, what the model says of it, and its highest score."""
    names = [predictions.name_of(some[number]) or 'none' for some in (predictions.labels, predictions.predicted)]
    score = float(predictions.scores[number].max(initial=0))
    return Example(predictions.paths[number] or f'{predictions.split} sample {number}', *names, score, image)


def find_suspects(predictions: Predictions) -> list[int]:
    """Return the images whose label looks wrong, the worst first, by confident learning (Northcutt et al. 2021).

    Of one label per image, those with the lowest score of their label are taken, as many as it estimates. A quota for
    each pair of classes, cleanlab's default, passes over wrong labels among classes that are seldom confused.
    """
    from cleanlab import filter as one_label
    from cleanlab.multilabel_classification import filter as any_labels
    known = np.flatnonzero(is_known(predictions))
    labels, scores = predictions.labels[known], predictions.scores[known]
    options = dict(return_indices_ranked_by='self_confidence', n_jobs=1)
    if labels.ndim == 2:
        found = any_labels.find_label_issues([np.flatnonzero(row).tolist() for row in labels], scores, **options)
    else:
        found = one_label.find_label_issues(labels, scores, filter_by='low_self_confidence', **options)
    differs = (predictions.predicted != predictions.labels).reshape(len(predictions.paths), -1).any(axis=1)
    return [number for number in known[found].tolist() if differs[number]]
