"""Datasets whose images are in memory: a batch that is only packed is one gather."""
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.dataset import default_collate, pseudo_collate

from ftcls.structures import PackedBatch, SampleBatch
from .base_dataset import BaseDataset
from .transforms import PackInputs

__all__ = ['InMemoryDataset', 'array_sample', 'join']


def array_sample(img: np.ndarray, label: int | list[int], channel_order: str = 'bgr') -> dict:
    """Return the sample of an image (H, W, C) uint8 that is in memory already."""
    shape = img.shape[:2]
    return dict(img=img, gt_label=label, channel_order=channel_order, ori_shape=shape, img_shape=shape)


class InMemoryDataset(BaseDataset):
    """Base of datasets whose samples are made by :func:`array_sample`, all of one shape and one channel order.

    The images are kept as one array. If the pipeline is ``PackInputs`` alone and each image has one label, a loader
    gets a batch by one gather, without a step for each sample; see ``data_preprocessor.batch_transforms``.
    """

    IN_MEMORY = True

    images: torch.Tensor | None = None  #: (N, C, H, W) uint8; None before they are read or if ``serialize_data=False``.
    labels: torch.Tensor | None = None  #: Their labels, (N, ) int64, if each has one.

    def _serialize_data(self) -> tuple[np.ndarray, np.ndarray]:
        """Keep the images beside what is known of them."""
        images = torch.from_numpy(np.stack([info['img'] for info in self.data_list])).permute(0, 3, 1, 2)
        self.images = images.clone(memory_format=torch.contiguous_format)  # one channel would look channels-last
        if not self.multi_label:
            self.labels = torch.tensor([info['gt_label'] for info in self.data_list])
        self.data_list = [{**info, 'img': number} for number, info in enumerate(self.data_list)]
        self._serialized, addresses = super()._serialize_data()
        return self._serialized, addresses

    @property
    def _is_whole(self) -> bool:
        """Whether the samples are all images in order, with one label each; MMEngine's subsets have other bytes."""
        return self.labels is not None and self.data_bytes is self._serialized

    def get_data_info(self, idx: int) -> dict:
        """Return what is known of sample ``idx``, with its image."""
        info = super().get_data_info(idx)
        if self.images is not None:
            info['img'] = self.images.numpy()[info['img']].transpose(1, 2, 0).copy()
        return info

    def class_counts(self) -> dict[str, int]:
        """Return how many samples each class has, in the order of the classes; 0 for a class that is missing."""
        self.full_init()
        if not self._is_whole:
            return super().class_counts()
        names = self.CLASSES or ()
        return dict(zip(names, self.labels.bincount(minlength=len(names)).tolist()))

    def __getitems__(self, indices: Sequence[int]) -> Sequence[dict]:
        """Return samples as the pipeline leaves them."""
        first = self[indices[0]]
        # features are given in place of images
        if not self._only_packs() or not torch.equal(first['inputs'], self.images[indices[0]]):
            return [first, *(self[index] for index in indices[1:])]
        samples = SampleBatch(self.labels[indices], [index % len(self) for index in indices], first['data_samples'])
        return PackedBatch(self.images[indices], samples)

    def _only_packs(self) -> bool:
        """Tell whether a sample is its image, packed, and one label; a subclass may do something else."""
        steps = self.pipeline.transforms
        if not self._is_whole or [type(step) for step in steps] != [PackInputs]:
            return False
        names = ('__getitem__', 'prepare_data', 'get_data_info')
        is_ours = all(getattr(type(self), name) is getattr(InMemoryDataset, name) for name in names)
        return is_ours and steps[0].input_key == 'img' and not steps[0].algorithm_keys


def join(collate: Callable, samples: Sequence[dict]) -> Any:
    """Collate samples, unless they are a batch that MMEngine's functions would take apart and put together again."""
    if isinstance(samples, PackedBatch) and getattr(collate, 'func', collate) in (default_collate, pseudo_collate):
        return dict(inputs=samples.inputs, data_samples=samples.data_samples)
    return collate(samples)
