"""Covering a part of the image."""
from collections.abc import Sequence
from typing import Literal

import numpy as np

from ftcls.registry import TRANSFORMS
from ftcls.utils import ConfigError
from ftcls.utils.types import NonNegativeFloat, PositiveFloat, Probability
from .base import IGNORED, BaseTransform, check_order, uint8_image, with_image
from .image_ops import draw_corner

__all__ = ['RandomErasing', 'cover_part', 'per_channel']


@TRANSFORMS.register_module()
class RandomErasing(BaseTransform):
    """Cover a random rectangle with some probability.

    From Zhong et al., `Random Erasing <https://arxiv.org/abs/1708.04896>`_, 2017.

    - reads: ``img`` (uint8), ``gt_mask`` (if there)
    - changes: ``img``; ``gt_mask``, which gets 255 (ignored) where the image is covered
    - adds: ``img_shape``
    - removes: nothing

    Args:
        erase_prob: Probability.
        min_area_ratio: The least part of the image's area that is covered.
        max_area_ratio: The greatest.
        aspect_range: Height / width of the rectangle, (least, greatest), drawn evenly over its logarithm; one number
            means itself and its reciprocal.
        mode: 'const' covers with ``fill_color``; 'rand' draws each value, evenly from 0 to 255.
        fill_color: One number, 0 to 255, or one per channel in the order that the image has (BGR as loaded).
        fill_std: With 'rand', values are drawn from a normal distribution around ``fill_color`` with this standard
            deviation: one number, or one per channel.

    Raises:
        ConfigError: If arguments contradict each other.
    """

    def __init__(self,
                 erase_prob: Probability = 0.5,
                 min_area_ratio: Probability = 0.02,
                 max_area_ratio: Probability = 0.4,
                 aspect_range: PositiveFloat | tuple[PositiveFloat, PositiveFloat] = (3 / 10, 10 / 3),
                 mode: Literal['const', 'rand'] = 'const',
                 fill_color: float | Sequence[float] = (128, 128, 128),
                 fill_std: NonNegativeFloat | Sequence[NonNegativeFloat] | None = None) -> None:
        if min_area_ratio > max_area_ratio:
            raise ConfigError(f'min_area_ratio={min_area_ratio!r} is above max_area_ratio={max_area_ratio!r}')
        if not isinstance(aspect_range, Sequence):
            aspect_range = sorted((aspect_range, 1 / aspect_range))
        check_order(aspect_range=aspect_range)
        if fill_std is not None and mode == 'const':
            raise ConfigError(f"fill_std={fill_std!r} has an effect with mode='rand' only")
        self.erase_prob, self.min_area_ratio, self.max_area_ratio = erase_prob, min_area_ratio, max_area_ratio
        self.aspect_range = tuple(aspect_range)
        self.mode, self.fill_color, self.fill_std = mode, fill_color, fill_std

    def transform(self, results: dict) -> dict:
        """Cover a rectangle, or not."""
        img = uint8_image(results, 'RandomErasing')
        if np.random.rand() >= self.erase_prob:
            return with_image(results, img)
        box = self._rectangle(*img.shape[:2])
        return cover_part(results, box, self._fill((*box[2:], img.shape[2])))

    def _rectangle(self, img_height: int, img_width: int) -> tuple[int, int, int, int]:
        """Draw top, left, height and width, in pixels; at most the whole image."""
        area = img_height * img_width * np.random.uniform(self.min_area_ratio, self.max_area_ratio)
        aspect = np.exp(np.random.uniform(*np.log(self.aspect_range)))
        height = min(round(np.sqrt(area * aspect)), img_height)
        width = min(round(np.sqrt(area / aspect)), img_width)
        return *draw_corner((img_height, img_width), (height, width)), height, width

    def _fill(self, shape: tuple[int, int, int]) -> np.ndarray:
        """Return what covers the rectangle, uint8, of this shape or one that broadcasts to it."""
        if self.mode == 'rand' and self.fill_std is None:
            return np.random.randint(0, 256, shape, dtype=np.uint8)
        color = per_channel(self.fill_color, 'RandomErasing.fill_color', shape[2])
        if self.mode == 'rand':
            color = np.random.normal(color, per_channel(self.fill_std, 'RandomErasing.fill_std', shape[2]), shape)
        return np.clip(np.rint(color), 0, 255).astype(np.uint8)


def cover_part(results: dict, box: Sequence[int], values: np.ndarray) -> dict:
    """Put ``values`` over a part (top, left, height, width) of the image in pixels, and 255 (ignored) over the mask."""
    top, left, height, width = box

    def cover(array: np.ndarray, values: np.ndarray | int = IGNORED) -> np.ndarray:
        array = array.copy()
        array[top:top + height, left:left + width] = values
        return array

    return with_image(results, cover(results['img'], values), cover)


def per_channel(value: float | Sequence[float], name: str, channels: int) -> np.ndarray:
    """Return one number per channel; equal numbers fit any number of channels."""
    values = np.atleast_1d(value)
    if (values == values[0]).all():
        values = values[:1]
    if len(values) not in (1, channels):
        raise ConfigError(f'{name}={value!r}: give one number, or one per channel ({channels})')
    return np.broadcast_to(values, (channels, )).astype(np.float64)
