"""What is known about one image: its labels, its prediction, where it came from."""
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from mmengine.structures import BaseDataElement
from torch import tensor_split
from torch.nn.functional import one_hot

__all__ = [
    'DataSample', 'PackedBatch', 'SampleBatch', 'batch_label_to_onehot', 'cat_batch_labels', 'format_label',
    'format_score', 'is_stacked', 'label_to_onehot', 'tensor_split'
]

Label = torch.Tensor | np.ndarray | Sequence | int


def format_label(value: Label) -> torch.Tensor:
    """Return a label as int64, (k, )."""
    tensor = torch.as_tensor(value)
    if tensor.is_floating_point() and tensor.numel():  # torch takes an empty list for floats
        raise TypeError(f'a label must be an integer, got {tensor.dtype} ({value!r}); set_gt_score takes scores')
    return tensor.to(torch.int64).reshape(-1)


def format_score(value: Any) -> torch.Tensor:
    """Return scores as float, (num_classes, )."""
    tensor = torch.as_tensor(value)
    if tensor.ndim != 1:
        raise ValueError(f'scores must have shape (num_classes, ), got {tuple(tensor.shape)}')
    return tensor if tensor.is_floating_point() else tensor.float()


def label_to_onehot(label: Label, num_classes: int) -> torch.Tensor:
    """Return a class index or several as 0 and 1, (num_classes, ) int64.

    Example:
        >>> label_to_onehot([0, 2], num_classes=4)
        tensor([1, 0, 1, 0])
    """
    return one_hot(format_label(label), num_classes).sum(dim=0)


def cat_batch_labels(elements: Sequence[torch.Tensor]) -> tuple[torch.Tensor, list[int]]:
    """Return the labels of several samples, each (k, ), as one tensor, and where all but the first begin in it.

    Example:
        >>> cat_batch_labels([torch.tensor([0, 1]), torch.tensor([3])])
        (tensor([0, 1, 3]), [2])
    """
    return torch.cat(list(elements)), list(accumulate(map(len, elements)))[:-1]


def batch_label_to_onehot(batch_label: torch.Tensor, split_indices: Sequence[int], num_classes: int) -> torch.Tensor:
    """Return labels as :func:`cat_batch_labels` gives them as 0 and 1, (N, num_classes) int64.

    Example:
        >>> batch_label_to_onehot(torch.tensor([0, 1, 3]), [2], num_classes=4)
        tensor([[1, 1, 0, 0],
                [0, 0, 0, 1]])
    """
    labels = tensor_split(batch_label, list(split_indices))
    return torch.stack([label_to_onehot(label, num_classes) for label in labels])


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
        self.set_field(format_label(value), 'gt_label', dtype=torch.Tensor)
        return self

    def set_gt_score(self, value: Any) -> 'DataSample':
        """Set ``gt_score``, (num_classes, ), and ``num_classes``; raise a ValueError if that is another number."""
        return self._set_score(value, 'gt_score')

    def set_pred_label(self, value: Label) -> 'DataSample':
        """Set ``pred_label`` from a class index or several."""
        self.set_field(format_label(value), 'pred_label', dtype=torch.Tensor)
        return self

    def set_pred_score(self, value: Any) -> 'DataSample':
        """Set ``pred_score``, (num_classes, ), and ``num_classes``; raise a ValueError if that is another number."""
        return self._set_score(value, 'pred_score')

    def _set_score(self, value: Any, field: str) -> 'DataSample':
        score = format_score(value)
        if len(score) != self.get('num_classes', len(score)):
            raise ValueError(f'{field} has {len(score)} scores, and the sample has num_classes={self.num_classes}')
        self.set_field(len(score), 'num_classes', field_type='metainfo')
        self.set_field(score, field, dtype=torch.Tensor)
        return self


class SampleBatch(Sequence):
    """The samples of a batch that differ in their label only; they become :class:`DataSample` when one is asked for.

    Args:
        gt_label: (N, ) int64.
        sample_idx: N numbers of the samples in their dataset.
        example: One of them, whose meta information all have.

    Attributes:
        gt_label: Of all samples, (N, ) int64, until samples are asked for. From then on it is None: the samples have
            their labels, and may be changed.
        gt_score: The same for scores, (N, num_classes) float.

    Example:
        >>> SampleBatch(torch.tensor([3, 5]), [0, 1], DataSample())[1].gt_label
        tensor([5])
    """

    def __init__(self, gt_label: torch.Tensor, sample_idx: Sequence[int], example: DataSample) -> None:
        self.gt_label: torch.Tensor | None = gt_label
        self.gt_score: torch.Tensor | None = None
        self.sample_idx, self.metainfo = sample_idx, example.metainfo
        self._samples: list[DataSample] = []

    def __len__(self) -> int:
        return len(self.sample_idx)

    def __getitem__(self, number: int | slice) -> DataSample | list[DataSample]:
        if self.gt_label is not None:
            self._samples = [DataSample(metainfo=self.metainfo).set_gt_label(label) for label in self.gt_label]
            for index, sample in enumerate(self._samples):
                if 'sample_idx' in self.metainfo:
                    sample.set_metainfo(dict(sample_idx=self.sample_idx[index]))
                if self.gt_score is not None:
                    sample.set_gt_score(self.gt_score[index])
            self.gt_label = self.gt_score = None
        return self._samples[number]

    def pin_memory(self) -> 'SampleBatch':
        """Return the same samples, from where labels are copied to a GPU while it computes; torch's loader calls it."""
        if self.gt_label is not None:
            self.gt_label = self.gt_label.pin_memory()
        return self


def is_stacked(samples: Sequence[DataSample | None] | None) -> bool:
    """Tell whether samples are a :class:`SampleBatch` that still has its labels in one tensor."""
    return isinstance(samples, SampleBatch) and samples.gt_label is not None


class PackedBatch(Sequence):
    """A batch of packed samples: ``inputs``, (N, C, H, W) uint8, and ``data_samples``, a :class:`SampleBatch`."""

    def __init__(self, inputs: torch.Tensor, data_samples: SampleBatch) -> None:
        self.inputs, self.data_samples = inputs, data_samples

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, number: int) -> dict[str, Any]:
        return dict(inputs=self.inputs[number], data_samples=self.data_samples[number])
