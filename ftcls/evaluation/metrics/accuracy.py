"""Top-k accuracy."""
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
from annotated_types import MinLen

from ftcls.registry import METRICS
from ftcls.utils import ConfigError
from ftcls.utils.tree import as_list
from ftcls.utils.types import PositiveInt
from .predictions import SingleLabelBase, Thresholds, as_thresholds, check_targets, threshold_suffixes, to_tensor

__all__ = ['Accuracy']


def _check_topk(topk: Sequence[int], num_classes: int) -> None:
    """Refuse a ``topk`` that asks for more classes than there are."""
    if max(topk) > num_classes:
        raise ConfigError(f'`topk={max(topk)}` of Accuracy: the model scores {num_classes} classes; set `topk` to '
                          f'{max(num_classes - 1, 1)} or less in val_evaluator and test_evaluator')


@METRICS.register_module()
class Accuracy(SingleLabelBase):
    """Share of the samples, in percent, whose true class is among the ``k`` classes with the highest scores.

    Of classes with equal scores the one with the lower index comes first, so that the result depends neither on the
    batch size nor on the device. A score that is not a number (NaN) counts as wrong.

    Args:
        topk: One ``k`` or several.
        thrs: A score counts only above this threshold; None applies none. Several give a result each.
        prefix: Goes before the results' names; 'accuracy' where it is None.

    Results: ``accuracy/top1``; with several thresholds ``accuracy/top1_thr-0.50``, ``accuracy/top1_no-thr``.

    Example:
        >>> Accuracy.calculate([0, 2, 1, 3], [0, 1, 2, 3])
        tensor([50.])
    """
    default_prefix = 'accuracy'
    higher_is_better = True

    def __init__(self,
                 topk: PositiveInt | Annotated[Sequence[PositiveInt], MinLen(1)] = (1, ),
                 thrs: Thresholds = 0.,
                 collect_device: str = 'cpu',
                 prefix: str | None = None) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.topk = tuple(as_list(topk))
        self.thrs = as_thresholds(thrs)

    def check_score(self, score: torch.Tensor) -> None:
        """Refuse scores, (C, ), of fewer classes than ``topk`` asks for.

        Raises:
            ConfigError: If there are fewer.
        """
        _check_topk(self.topk, len(score))

    def compute_metrics(self, results: Sequence[Mapping]) -> dict[str, float]:
        """Compute the accuracies, in percent, from the collected entries of all processes."""
        pred, target = self.stack(results)
        accuracy = self.calculate(pred, target, self.topk, self.thrs)
        if isinstance(accuracy, torch.Tensor):
            return dict(top1=accuracy.item())
        named = [(f'top{k}', row) for k, row in zip(self.topk, accuracy)]
        suffixes = threshold_suffixes(self.thrs)
        return {name + end: value.item() for name, row in named for end, value in zip(suffixes, row)}

    @staticmethod
    def calculate(
        pred: Any, target: Any, topk: int | Sequence[int] = (1, ), thrs: Thresholds = (0., )
    ) -> torch.Tensor | list[list[torch.Tensor]]:
        """Compute the accuracy of predictions.

        Args:
            pred: Scores (N, C), or predicted classes (N, ).
            target: True classes (N, ).
            topk: One ``k`` or several; without effect on predicted classes.
            thrs: Thresholds on the scores; without effect on predicted classes.

        Returns:
            For scores a list (one item a ``k``) of lists (one item a threshold) of tensors (1, ); for predicted classes
            one tensor (1, ). In percent.

        Raises:
            ValueError: If ``pred`` and ``target`` differ in length, or are empty.
            ConfigError: If a ``k`` is larger than C.
            DataError: If a target is outside of [0, C).
        """
        pred, target = to_tensor(pred, 'pred'), to_tensor(target, 'target').to(torch.int64).reshape(-1)
        if len(pred) != len(target) or not len(pred):
            raise ValueError(f'pred and target must be of one length, at least 1; got {len(pred)} and {len(target)}')
        if pred.ndim == 1:
            return _percent(pred.eq(target))
        topk, thrs = as_list(topk), as_thresholds(thrs)
        _check_topk(topk, pred.shape[1])
        pred = pred.float()
        target = check_targets(target, pred.shape[1]).to(pred.device)
        true_score = pred.gather(1, target[:, None])
        # A class ranks first if its score is higher (or NaN, hence the negation), or equal at a lower index.
        lower_index = torch.arange(pred.shape[1], device=pred.device) < target[:, None]
        rank = (~(pred <= true_score) | ((pred == true_score) & lower_index)).sum(dim=1)
        above = [torch.ones_like(rank, dtype=torch.bool) if thr is None else true_score[:, 0] > thr for thr in thrs]
        return [[_percent((rank < k) & counted) for counted in above] for k in topk]


def _percent(correct: torch.Tensor) -> torch.Tensor:
    """Return the share of True in percent, (N, ) bool -> (1, ) float32."""
    return torch.tensor([100 * int(correct.sum()) / len(correct)])
