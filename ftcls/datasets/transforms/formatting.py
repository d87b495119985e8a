"""The last step: from a dict of arrays to tensors."""
from collections.abc import Sequence
from typing import ClassVar

import cv2
import numpy as np
import torch

from ftcls.registry import TRANSFORMS
from ftcls.structures import DataSample
from ftcls.utils import ConfigError
from .base import BaseTransform

__all__ = ['PackInputs', 'PackClsInputs', 'PackSegInputs']


@TRANSFORMS.register_module(name=['PackInputs', 'PackClsInputs'])
class PackInputs(BaseTransform):
    """Pack a sample for the model: a tensor, and a :class:`~ftcls.structures.DataSample` with all that is known of it.

    - reads: ``img`` (or another ``input_key``); ``gt_label``, ``gt_score``, ``gt_mask``, the ``algorithm_keys`` and the
      ``meta_keys``, if they are there
    - adds: ``inputs``, a tensor (C, H, W) of the image's dtype and channel order; ``data_samples``
    - removes: all other keys

    ``channel_order`` and ``img_norm_cfg`` are always packed, because the data preprocessor needs them.

    Args:
        input_key: The key of the image.
        algorithm_keys: Keys of arrays to become fields of the data sample.
        meta_keys: Keys to become its meta information; None for :attr:`DEFAULT_META_KEYS`.
    """

    DEFAULT_META_KEYS: ClassVar[tuple[str, ...]] = ('sample_idx', 'img_path', 'ori_shape', 'img_shape', 'scale_factor',
                                                    'flip', 'flip_direction', 'channel_order', 'img_norm_cfg')
    REQUIRED_KEYS = ()

    def __init__(self,
                 input_key: str = 'img',
                 algorithm_keys: Sequence[str] = (),
                 meta_keys: Sequence[str] | None = None) -> None:
        self.input_key, self.algorithm_keys = input_key, tuple(algorithm_keys)
        self.meta_keys = self.DEFAULT_META_KEYS if meta_keys is None else tuple(meta_keys)

    def transform(self, results: dict) -> dict:
        """Pack the sample."""
        if self.input_key not in results:
            raise ConfigError(f'PackInputs: no {self.input_key!r} in the sample; put LoadImageFromFile before it')
        sample = DataSample()
        if 'gt_label' in results:
            sample.set_gt_label(results['gt_label'])
        if 'gt_score' in results:
            sample.set_gt_score(results['gt_score'])
        for key in ('gt_mask', *self.algorithm_keys):
            if key in results:
                value = results[key]
                sample.set_field(torch.tensor(value) if isinstance(value, np.ndarray) else value, key)
        meta_keys = (*self.meta_keys, 'channel_order', 'img_norm_cfg')
        sample.set_metainfo({key: results[key] for key in meta_keys if key in results})
        return {'inputs': self.format_input(results[self.input_key]), 'data_samples': sample}

    @staticmethod
    def format_input(img: np.ndarray | torch.Tensor) -> torch.Tensor:
        """Turn an image (H, W, C) or (H, W) into a contiguous tensor (C, H, W); a tensor stays as it is."""
        if isinstance(img, torch.Tensor):
            return img
        if not isinstance(img, np.ndarray) or img.ndim not in (2, 3):
            raise TypeError(f'PackInputs takes arrays (H, W, C) and tensors, got {type(img).__name__} {np.shape(img)}')
        planes = np.atleast_3d(img).transpose(2, 0, 1)
        packed = np.empty(planes.shape, planes.dtype)  # a tensor must not share read-only or strided memory
        if img.dtype == np.uint8 and len(planes) in (1, 3, 4):
            cv2.split(img, list(packed))  # six times as fast
        else:
            packed[:] = planes
        return torch.from_numpy(packed)


PackClsInputs = PackInputs  # the name of MMClassification 1.0


@TRANSFORMS.register_module()
class PackSegInputs(PackInputs):
    """Pack an image and its mask for the model; :class:`PackInputs` that also keeps the mask's path.

    - reads: ``img``; ``gt_mask``, the ``algorithm_keys`` and the ``meta_keys``, if they are there
    - adds: ``inputs``, a tensor (C, H, W) of the image's dtype and channel order; ``data_samples``
    - removes: all other keys
    """

    DEFAULT_META_KEYS = (*PackInputs.DEFAULT_META_KEYS, 'mask_path')
