"""Flips and padding."""
from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np

from ftcls.registry import TRANSFORMS
from ftcls.utils import ConfigError
from ftcls.utils.tree import as_list
from ftcls.utils.types import PositiveInt, Probability, Size
from .base import IGNORED, BaseTransform, as_pair, with_image
from .image_ops import PaddingMode, pad_sample

__all__ = ['Pad', 'RandomFlip']

_Direction = Literal['horizontal', 'vertical', 'diagonal']
_AXES = {'horizontal': ((1, ), 1), 'vertical': ((0, ), 0), 'diagonal': ((0, 1), -1)}  # and cv2.flip's name for them


@TRANSFORMS.register_module()
class RandomFlip(BaseTransform):
    """Flip with some probability.

    - reads: ``img``, ``gt_mask`` (if there)
    - changes: ``img``, ``gt_mask``
    - adds: ``flip`` (bool), ``flip_direction`` ('horizontal', 'vertical', 'diagonal' or None), ``img_shape``
    - removes: nothing

    Args:
        prob: Probability of a flip, divided evenly among the directions; or a list, one per direction, of sum at most
            1.
        direction: 'horizontal' (left and right change places), 'vertical', 'diagonal' (both), or a list of these.
    """

    def __init__(self,
                 prob: Probability | Sequence[Probability] = 0.5,
                 direction: _Direction | Sequence[_Direction] = 'horizontal') -> None:
        directions = as_list(direction)
        probs = as_list(prob)
        if not isinstance(prob, Sequence):
            probs = [prob / len(directions)] * len(directions)
        if len(probs) != len(directions) or sum(probs) > 1 + 1e-9:
            raise ConfigError(f'RandomFlip: {prob=}, {direction=}: give one, or one per direction, of sum at most 1')
        self.prob, self.direction = prob, direction
        self._directions, self._limits = directions, np.cumsum(probs)

    def transform(self, results: dict) -> dict:
        """Flip the sample, or not."""
        chosen = int(np.searchsorted(self._limits, np.random.rand(), side='right'))
        if chosen == len(self._directions):
            results.update(flip=False, flip_direction=None)
            return with_image(results, results['img'])
        direction = self._directions[chosen]
        results.update(flip=True, flip_direction=direction)

        def flip(array: np.ndarray) -> np.ndarray:
            axes, code = _AXES[direction]
            if array.dtype != np.uint8 or array.shape[2:] > (4, ):  # what OpenCV may not know
                return np.ascontiguousarray(np.flip(array, axes))
            return cv2.flip(array, code).reshape(array.shape)  # it drops the last axis of a single channel

        return with_image(results, flip(results['img']), flip)


@TRANSFORMS.register_module()
class Pad(BaseTransform):
    """Pad on the right and at the bottom.

    - reads: ``img``, ``gt_mask`` (if there)
    - changes: ``img``, ``img_shape``, ``gt_mask``
    - adds: ``pad_shape`` (H, W)
    - removes: nothing

    Args:
        size: Size of the result, (w, h); a larger image is not changed.
        size_divisor: Pad to multiples of this instead.
        pad_to_square: Pad to a square of the longer side first.
        pad_val: What 'constant' fills with: a number for the image (the mask gets 255: ignored), or
            ``dict(img=…, seg=…)``.
        padding_mode: What to fill with.
    """

    def __init__(self,
                 size: Size | None = None,
                 size_divisor: PositiveInt | None = None,
                 pad_to_square: bool = False,
                 pad_val: float | Sequence[float] | dict = 0,
                 padding_mode: PaddingMode = 'constant') -> None:
        is_both = size is not None and size_divisor is not None
        if is_both or not (size or size_divisor or pad_to_square):
            raise ConfigError(f'Pad: {size=}, {size_divisor=}, {pad_to_square=}: give one of these')
        self.size, self.size_divisor, self.pad_to_square = size and as_pair(size), size_divisor, pad_to_square
        self.pad_val = dict(pad_val) if isinstance(pad_val, dict) else {'img': pad_val}
        if not set(self.pad_val) <= {'img', 'seg'}:
            raise ConfigError(f'pad_val has the keys {sorted(self.pad_val)}; allowed: img, seg')
        self.padding_mode = padding_mode

    def transform(self, results: dict) -> dict:
        """Pad the sample."""
        height, width = new_height, new_width = results['img'].shape[:2]
        if self.pad_to_square:
            new_height = new_width = max(height, width)
        if self.size is not None:
            new_height, new_width = max(new_height, self.size[1]), max(new_width, self.size[0])
        if self.size_divisor is not None:
            new_height, new_width = (-(-n // self.size_divisor) * self.size_divisor for n in (new_height, new_width))
        borders, values = (0, 0, new_width - width, new_height - height), {'img': 0, 'seg': IGNORED, **self.pad_val}
        results = pad_sample(results, borders, values['img'], self.padding_mode, values['seg'])
        results['pad_shape'] = results['img_shape']
        return results
