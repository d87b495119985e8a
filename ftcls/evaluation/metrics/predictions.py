"""What the single-label metrics share: reading one sample's truth and prediction, checking them, stacking them."""
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric

from ftcls.utils import ConfigError, DataError
from ftcls.utils.names import command

__all__ = [
    'SingleLabelBase', 'Thresholds', 'as_classes', 'as_thresholds', 'check_not_empty', 'check_targets', 'file_of',
    'threshold_suffixes', 'to_tensor', 'top1'
]

Thresholds = float | Sequence[float | None] | None


def to_tensor(value: Any, name: str) -> torch.Tensor:
    """Turn an array, a sequence or a tensor into a tensor.

    Raises:
        TypeError: If ``value`` is none of these.
    """
    if isinstance(value, torch.Tensor | np.ndarray | Sequence) and not isinstance(value, str):
        return torch.as_tensor(value)
    raise TypeError(f'{name} must be a tensor, an array or a sequence, got {type(value).__name__}')


def as_thresholds(thrs: Thresholds) -> tuple[float | None, ...]:
    """Turn the argument ``thrs`` of a metric, one value or several, into a tuple."""
    return (thrs, ) if thrs is None or isinstance(thrs, int | float) else tuple(thrs)


def threshold_suffixes(thrs: Sequence[float | None]) -> list[str]:
    """Return the ends of the results' names: ``_thr-0.50`` or ``_no-thr``, nothing for a single threshold."""
    if len(thrs) == 1:
        return ['']
    return ['_no-thr' if thr is None else f'_thr-{thr:.2f}' for thr in thrs]


def file_of(sample: Mapping) -> str:
    """Return the image's path in brackets, for a message, or ``''``."""
    path = sample.get('img_path')
    return f' ({path})' if path else ''


def check_not_empty(results: Sequence) -> None:
    """Refuse an empty validation or test set.

    Raises:
        DataError: If there are no results.
    """
    if not results:
        raise DataError('there is no sample to evaluate: the validation or test set is empty')


def check_targets(target: torch.Tensor, num_classes: int) -> torch.Tensor:
    """Return ``target``, (N, ) int64, once every value is known to be in [0, num_classes).

    Raises:
        DataError: If a label is outside of that range.
    """
    target = target.to(torch.int64).reshape(-1)
    wrong = target[(target < 0) | (target >= num_classes)]
    if len(wrong):
        raise DataError(f'label {int(wrong[0])} is outside of the {num_classes} classes that the model scores; set '
                        '`num_classes` of the model\'s head to the number of classes of the data')
    return target


def top1(score: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the highest of each row's scores and its class, the first one of equals; (N, C) -> (N, ), (N, ) int64.

    ``torch.max`` leaves open which one of equals it takes, so that a result could depend on the device.
    """
    best = score.amax(dim=1)
    return best, (score == best[:, None]).to(torch.uint8).argmax(dim=1)


def as_classes(pred: Any, target: Any, num_classes: int | None,
               user: str) -> tuple[torch.Tensor | None, torch.Tensor, torch.Tensor, int]:
    """Return the highest scores (N, ), None for predicted classes; the predicted and the true classes, (N, ) int64; C.

    Args:
        pred: Scores (N, C), or predicted classes (N, ).
        target: True classes (N, ).
        num_classes: C; needed for predicted classes only.
        user: Name of the metric, for messages.

    Raises:
        ValueError: If ``pred`` and ``target`` differ in length.
        ConfigError: If ``num_classes`` is missing for predicted classes.
        DataError: If a class is outside of [0, C).
    """
    pred, target = to_tensor(pred, 'pred'), to_tensor(target, 'target')
    if len(pred) != len(target):
        raise ValueError(f'pred and target must be of one length, got {len(pred)} and {len(target)}')
    if pred.ndim == 1 and num_classes is None:
        raise ConfigError(f'{user} needs `num_classes` where the model predicts classes without scores')
    if pred.ndim == 1:
        score, label = None, check_targets(pred, num_classes)
    else:
        num_classes = pred.shape[1]
        score, label = top1(pred.float())
    return score, label, check_targets(target, num_classes).to(label.device), num_classes


class SingleLabelBase(BaseMetric):
    """Collects one entry a sample: its true class, and its scores or, where it has none, its predicted class."""

    def process(self, data_batch: Any, data_samples: Sequence[Mapping]) -> None:
        """Collect what the model made of one batch.

        Args:
            data_samples: One dict a sample with ``gt_label`` (1, ), and ``pred_score`` (C, ) or ``pred_label`` (1, ).

        Raises:
            DataError: If a sample has no true label, or several, or one that the scores do not cover.
            ConfigError: If a sample has no prediction.
        """
        for sample in data_samples:
            truth = self._truth(sample)
            if sample.get('pred_score') is not None:
                score = sample['pred_score'].detach().cpu().float()  # exact for half precision
                check_targets(truth, len(score))
                self.check_score(score)
                self.results.append(dict(gt_label=truth, pred_score=score))
            elif sample.get('pred_label') is not None:
                self.results.append(dict(gt_label=truth, pred_label=sample['pred_label'].detach().cpu().reshape(-1)))
            else:
                raise ConfigError('found neither `pred_score` nor `pred_label` in a sample; use a classifier')

    def check_score(self, score: torch.Tensor) -> None:
        """Refuse scores, (C, ), that the metric's own arguments do not suit; here nothing is refused."""

    def _truth(self, sample: Mapping) -> torch.Tensor:
        """Return the true class of one sample, (1, ) int64."""
        label = sample.get('gt_label')
        if label is None:
            raise DataError(f'{type(self).__name__} needs the true label of every sample, and one has none'
                            f'{file_of(sample)}; for images without labels use {command("predict")}')
        label = torch.as_tensor(label).detach().cpu().reshape(-1)
        if len(label) != 1:
            raise DataError(f'{type(self).__name__} needs one label per image, got {label.tolist()}{file_of(sample)}')
        return label.to(torch.int64)

    def stack(self, results: Sequence[Mapping]) -> tuple[torch.Tensor, torch.Tensor]:
        """Put the collected entries together: scores (N, C) or classes (N, ), and the true classes (N, ).

        Raises:
            DataError: If there is nothing to evaluate.
        """
        check_not_empty(results)
        target = torch.cat([result['gt_label'] for result in results])
        if 'pred_score' in results[0]:
            return torch.stack([result['pred_score'] for result in results]), target
        return torch.cat([result['pred_label'] for result in results]), target
