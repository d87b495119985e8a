"""The metrics of several labels per image where some objects are marked as difficult, as in Pascal VOC."""
from collections.abc import Mapping
from typing import Any

import torch

from ftcls.registry import METRICS
from ftcls.utils import ConfigError
from .multi_label import AveragePrecision, MultiLabelMetric
from .predictions import file_of

__all__ = ['VOCAveragePrecision', 'VOCMultiLabelMetric']


class _Difficult:
    """Decides how the classes count whose objects in an image are all difficult."""

    def __init__(self, *args: Any, difficult_as_positive: bool | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.difficult_as_positive = difficult_as_positive

    def truth_of(self, sample: Mapping, truth: torch.Tensor) -> torch.Tensor:
        """Return the labels that count, (C, ): 1, 0, and -1 for a class that does not count.

        Args:
            sample: Its ``gt_label_difficult`` lists the classes of difficult objects.
            truth: 1 for the classes of other objects, (C, ) float.

        Raises:
            ConfigError: If the sample does not have them.
        """
        difficult = sample.get('gt_label_difficult')
        if difficult is None:
            raise ConfigError(f"{type(self).__name__} found no `gt_label_difficult` in a sample{file_of(sample)}: add "
                              "it to PackInputs' meta_keys, or use the metric without VOC")
        value = {None: -1., False: 0., True: 1.}[self.difficult_as_positive]
        only = [label for label in map(int, difficult) if truth[label] != 1]
        return truth.index_fill(0, torch.tensor(only, dtype=torch.int64), value)


@METRICS.register_module()
class VOCMultiLabelMetric(_Difficult, MultiLabelMetric):
    """:class:`MultiLabelMetric` for :class:`~ftcls.datasets.VOC`, which marks objects as difficult.

    Args:
        difficult_as_positive: How a class counts of which an image has difficult objects only: None not at all, True
            as present, False as absent.
        *args: The arguments of :class:`MultiLabelMetric`.
        **kwargs: The same.

    Example:
        >>> metric = VOCMultiLabelMetric(difficult_as_positive=True)
        >>> metric.truth_of(dict(gt_label_difficult=[2]), torch.tensor([1., 0., 0.]))
        tensor([1., 0., 1.])
    """


@METRICS.register_module()
class VOCAveragePrecision(_Difficult, AveragePrecision):
    """:class:`AveragePrecision` for :class:`~ftcls.datasets.VOC`, which marks objects as difficult.

    Args:
        difficult_as_positive: See :class:`VOCMultiLabelMetric`.
        *args: The arguments of :class:`AveragePrecision`.
        **kwargs: The same.
    """
