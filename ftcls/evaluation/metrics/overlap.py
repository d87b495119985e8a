"""How well predicted masks cover the true ones."""
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from mmengine.evaluator import BaseMetric

from ftcls.registry import METRICS
from ftcls.utils import ConfigError, DataError
from ftcls.utils.types import Probability
from .predictions import check_not_empty, file_of

__all__ = ['DiceMetric', 'IoUMetric', 'count_pixels']


def count_pixels(truth: torch.Tensor, predicted: torch.Tensor) -> tuple[int, int, int]:
    """Return how many pixels are foreground rightly (TP), wrongly (FP), and wrongly not (FN).

    Args:
        truth: (H, W), 1 foreground, 255 left out.
        predicted: (H, W), foreground where it is 1 or True.
    """
    counted, is_true, is_predicted = truth != 255, truth == 1, predicted == 1
    tp = int((is_predicted & is_true).sum())  # sums of bool are int64: no number of pixels overflows
    fp = int((is_predicted & ~is_true & counted).sum())
    fn = int((~is_predicted & is_true).sum())
    return tp, fp, fn


class OverlapMetric(BaseMetric):
    """Counts, a picture, the pixels that are foreground rightly (TP), wrongly (FP) and wrongly not (FN); as whole
    numbers.

    Pixels of 255 in the true mask are left out. An empty mask with an empty prediction is a perfect score.

    Args:
        threshold: The probability above which a pixel is foreground, 0 to 1; None takes the head's own ``pred_mask``.
        prefix: Goes before the results' names; nothing does where it is None.
    """
    default_prefix = ''  # An empty string and not None: for None, MMEngine warns that there is no prefix.
    name: str  #: Name of the results.
    weight: int  #: How often TP counts.

    def __init__(self,
                 threshold: Probability | None = None,
                 collect_device: str = 'cpu',
                 prefix: str | None = None) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.threshold = threshold

    def process(self, data_batch: Any, data_samples: Sequence[Mapping]) -> None:
        """Count the pixels of each picture of a batch.

        Args:
            data_samples: One dict a sample with ``gt_mask`` (H, W), and ``pred_mask`` (H, W) or ``pred_prob`` (H, W).

        Raises:
            DataError: If a sample has no true mask, or one of another size.
            ConfigError: If a sample has no prediction.
        """
        for sample in data_samples:
            truth, predicted = sample.get('gt_mask'), self._predicted(sample)
            if truth is None:
                raise DataError(f'an image has no true mask{file_of(sample)}; put LoadAnnotations into the pipeline')
            truth = torch.as_tensor(truth).to(predicted.device)
            if truth.shape != predicted.shape:
                sizes = [tuple(x.shape) for x in (truth, predicted)]
                raise DataError(f'the mask has {sizes[0]} pixels (H, W), the prediction {sizes[1]}{file_of(sample)}')
            self.results.append(count_pixels(truth, predicted))

    def _predicted(self, sample: Mapping) -> torch.Tensor:
        """Return where the prediction is foreground, (H, W) bool."""
        key = 'pred_mask' if self.threshold is None else 'pred_prob'
        if sample.get(key) is None:
            raise ConfigError(f'{type(self).__name__} found no `{key}` in a sample: the model must be a segmentor, '
                              "ImageSegmentor with head=dict(type='PixelHead')")
        value = torch.as_tensor(sample[key])
        return value == 1 if self.threshold is None else value > self.threshold

    def compute_metrics(self, results: Sequence[tuple[int, int, int]]) -> dict[str, float]:
        """Compute the scores, in percent, from the counts of all processes."""
        check_not_empty(results)
        scores = torch.tensor([self.score(*counts) for counts in results], dtype=torch.float64)
        total = (sum(column) for column in zip(*results))
        return {self.name: 100 * scores.mean().item(), f'{self.name}_set': 100 * self.score(*total)}

    @classmethod
    def score(cls, tp: int, fp: int, fn: int) -> float:
        """Return the score of counts of pixels, 0 to 1; 1 where there is no foreground at all."""
        whole = cls.weight * tp + fp + fn
        return cls.weight * tp / whole if whole else 1.


@METRICS.register_module()
class DiceMetric(OverlapMetric):
    """Dice coefficient of the foreground, 2 TP / (2 TP + FP + FN), in percent (Dice, 1945); also known as F1 of the
    pixels.

    Args: those of :class:`OverlapMetric`.

    Results: ``dice``, the mean over the pictures; ``dice_set``, of the pixels of all pictures together.

    Example:
        >>> DiceMetric.score(tp=2, fp=1, fn=1)
        0.6666666666666666
    """
    higher_is_better: ClassVar = {'dice': True}
    name = 'dice'
    weight = 2


@METRICS.register_module()
class IoUMetric(OverlapMetric):
    """Intersection over union of the foreground, TP / (TP + FP + FN), in percent (Jaccard, 1901).

    Args: those of :class:`OverlapMetric`.

    Results: ``iou``, the mean over the pictures; ``iou_set``, of the pixels of all pictures together.
    """
    higher_is_better: ClassVar = {'iou': True}
    name = 'iou'
    weight = 1
