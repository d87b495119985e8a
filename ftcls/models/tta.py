"""Test-time augmentation: what is predicted for several views of a picture becomes one prediction."""
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
    """Averages the scores of a classifier over the views of each picture.

    Args:
        module: The classifier, or its config.
        data_preprocessor: The data preprocessor's config, where ``module`` is a config without one.
    """

    def merge_preds(self, data_samples_list: Sequence[Sequence[DataSample]]) -> list[DataSample]:
        """Merge the predictions of the views of each picture.

        Args:
            data_samples_list: A picture: one sample a view, with ``pred_score`` (num_classes, ) float.

        Raises:
            ConfigError: If the model gives no scores, as a segmentor.

        Returns:
            A picture: its first view's sample with the mean ``pred_score``, the ``pred_label`` of the highest (of those that a
            :class:`MultiLabelClsHead` predicts by it), and without
            ``loss``, since that of the mean is not the mean of those of the views.
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
