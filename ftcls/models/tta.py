"""Test-time augmentation: the predictions for several views of an image become one."""
from collections.abc import Sequence

import torch
from mmengine.model import BaseTTAModel

from ftcls.registry import MODELS
from ftcls.structures import DataSample
from ftcls.utils import ConfigError
from .heads import MultiLabelClsHead

__all__ = ['AverageClsScoreTTA']


@MODELS.register_module()
class AverageClsScoreTTA(BaseTTAModel):
    """Averages the scores of a classifier, ``module``, over the views of each image."""

    def merge_preds(self, data_samples_list: Sequence[Sequence[DataSample]]) -> list[DataSample]:
        """Return one sample per image with the mean ``pred_score`` of its views, and the ``pred_label`` of that.

        ``loss`` is left out: the loss of the mean is not the mean of the losses. A model without scores is refused.
        """
        if any('pred_score' not in view for views in data_samples_list for view in views):
            raise ConfigError(f'--tta averages the scores of a classifier, and {type(self.module).__name__} gives none')
        return [self._merged(views) for views in data_samples_list]

    def _merged(self, views: Sequence[DataSample]) -> DataSample:
        score = torch.stack([view.pred_score for view in views]).mean(dim=0)
        head = getattr(self.module, 'head', None)
        label = head.positive(score) if isinstance(head, MultiLabelClsHead) else score.argmax()
        merged = views[0].new().set_pred_score(score).set_pred_label(label)
        if 'loss' in merged:
            del merged.loss
        return merged
