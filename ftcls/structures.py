"""What is known about one image: its labels, its prediction, where it came from."""
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.structures import BaseDataElement

__all__ = ['DataSample']

Label = torch.Tensor | np.ndarray | Sequence | int


def _label_tensor(value: Label) -> torch.Tensor:
    """Return a label as int64, (k, )."""
    tensor = torch.as_tensor(value)
    if tensor.is_floating_point() and tensor.numel():  # torch takes an empty list for floats
        raise TypeError(
            f'a label must be of an integer type, got {tensor.dtype} ({value!r}); set_gt_score takes scores')
    return tensor.to(torch.int64).reshape(-1)


def _score_tensor(value: Any) -> torch.Tensor:
    """Return scores as float, (num_classes, )."""
    tensor = torch.as_tensor(value)
    if tensor.ndim != 1:
        raise ValueError(f'scores must have shape (num_classes, ), got {tuple(tensor.shape)}')
    return tensor if tensor.is_floating_point() else tensor.float()


class DataSample(BaseDataElement):
    """One image's labels and predictions, on the way from the dataset to the metric.

    ============== ========================== ======================================================================
    field          shape and type             meaning
    ============== ========================== ======================================================================
    ``gt_label``   (k, ) int64                true class index; k > 1, or 0, if several are possible
    ``gt_score``   (num_classes, ) float      true label as scores: soft labels, or 0/1 for several labels
    ``pred_label`` (k, ) int64                predicted class index
    ``pred_score`` (num_classes, ) float      predicted probability of each class
    ``gt_mask``    (H, W) uint8               true mask, 0 background, 1 foreground, 255 ignored
    ``pred_mask``  (H, W) uint8               predicted mask, 0 or 1
    ``pred_prob``  (H, W) float               predicted probability of foreground
    ``loss``       () float                   loss in validation, of the sample or of its batch
    ============== ========================== ======================================================================

    Meta information (``img_path``, ``ori_shape``, ``img_shape``, ``channel_order``, ``num_classes`` …) is kept beside
    the fields, in ``metainfo``.

    Example:
        >>> DataSample().set_gt_label(3).gt_label
        tensor([3])
    """

    def set_gt_label(self, value: Label) -> 'DataSample':
        """Set ``gt_label`` from a class index or several."""
        self.set_field(_label_tensor(value), 'gt_label', dtype=torch.Tensor)
        return self

    def set_gt_score(self, value: Any) -> 'DataSample':
        """Set ``gt_score``, (num_classes, )."""
        self.set_field(_score_tensor(value), 'gt_score', dtype=torch.Tensor)
        return self

    def set_pred_label(self, value: Label) -> 'DataSample':
        """Set ``pred_label`` from a class index or several."""
        self.set_field(_label_tensor(value), 'pred_label', dtype=torch.Tensor)
        return self

    def set_pred_score(self, value: Any) -> 'DataSample':
        """Set ``pred_score``, (num_classes, )."""
        self.set_field(_score_tensor(value), 'pred_score', dtype=torch.Tensor)
        return self
