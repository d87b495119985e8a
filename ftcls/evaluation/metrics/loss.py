"""The loss on data that was not trained on."""
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from mmengine.evaluator import BaseMetric

from ftcls.registry import METRICS
from ftcls.utils import DataError
from ftcls.utils.log import warn
from .predictions import check_not_empty, file_of

__all__ = ['LossMetric']


@METRICS.register_module()
class LossMetric(BaseMetric):
    """Mean over all samples of the loss that the model's own head computes.

    The model leaves in each sample its loss (``DataSample.loss``), so that the result is the same for any batch size
    and any number of processes. A head that knows the loss of a batch only leaves that, and the result weighs each
    batch by its size.

    Args:
        prefix: Goes before the result's name; nothing does where it is None.
        is_optional: Give no result, with a warning, if the model leaves no loss in its samples.

    Results: ``loss``, which MMEngine logs as ``val/loss`` beside the training's ``train/loss``.
    """
    default_prefix = ''  # An empty string and not None: for None, MMEngine warns that there is no prefix.
    higher_is_better: ClassVar = {'loss': False}

    def __init__(self, collect_device: str = 'cpu', prefix: str | None = None, is_optional: bool = False) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.is_optional = is_optional

    def process(self, data_batch: Any, data_samples: Sequence[Mapping]) -> None:
        """Collect the loss of each sample.

        Args:
            data_samples: One dict a sample, with ``loss`` ().

        Raises:
            DataError: If a sample has no loss, as the model computes none where the truth is missing.
        """
        for sample in data_samples:
            loss = sample.get('loss')
            if loss is not None:
                self.results.append(float(torch.as_tensor(loss)))
            elif not self.is_optional:
                raise DataError(f'LossMetric found a sample without a loss{file_of(sample)}: the model computes it '
                                'only where every sample of a batch has its true label')

    def compute_metrics(self, results: Sequence[float]) -> dict[str, float]:
        """Average the losses of all processes."""
        if self.is_optional and not results:
            warn('the model leaves no `loss` in its samples: there is no val/loss')
            return {}
        check_not_empty(results)
        return dict(loss=torch.tensor(results, dtype=torch.float64).mean().item())
