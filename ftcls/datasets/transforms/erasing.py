"""Covering a part of the picture."""
from collections.abc import Sequence

import numpy as np

from ftcls.registry import TRANSFORMS
from ftcls.utils import ConfigError
from .base import BaseTransform, choice_of, probability, uint8_image, with_image

__all__ = ['RandomErasing']

# What the mask has where the picture is covered.
_IGNORED = 255


@TRANSFORMS.register_module()
class RandomErasing(BaseTransform):
    """Cover a random rectangle with some probability (Zhong et al., `Random Erasing <https://arxiv.org/abs/1708.04896>`_).

    - reads: ``img`` (uint8), ``gt_mask`` (if there)
    - changes: ``img``; ``gt_mask``, which gets 255 (ignored) where the picture is covered
    - adds: ``img_shape``
    - removes: nothing

    Args:
        erase_prob: Probability.
        min_area_ratio: The least part of the picture's area that is covered.
        max_area_ratio: The greatest.
        aspect_range: Height through width of the rectangle, (least, greatest), drawn evenly over its logarithm; one number
            stands for itself and its reciprocal.
        mode: 'const' covers with ``fill_color``; 'rand' draws each value anew, evenly from 0 to 255.
        fill_color: One number, 0 to 255, or one a channel in the order that the picture has (BGR as loaded).
        fill_std: With 'rand', values are drawn from a normal distribution around ``fill_color`` with this standard
            deviation: one number, or one a channel.

    Raises:
        ConfigError: If an argument is out of range.
    """

    def __init__(self,
                 erase_prob: float = 0.5,
                 min_area_ratio: float = 0.02,
                 max_area_ratio: float = 0.4,
                 aspect_range: float | Sequence[float] = (3 / 10, 10 / 3),
                 mode: str = 'const',
                 fill_color: float | Sequence[float] = (128, 128, 128),
                 fill_std: float | Sequence[float] | None = None) -> None:
        self.erase_prob = probability(erase_prob, 'erase_prob')
        self.min_area_ratio = probability(min_area_ratio, 'min_area_ratio')
        self.max_area_ratio = probability(max_area_ratio, 'max_area_ratio')
        if min_area_ratio > max_area_ratio:
            raise ConfigError(f'min_area_ratio={min_area_ratio!r} is above max_area_ratio={max_area_ratio!r}')
        given = aspect_range
        if isinstance(aspect_range, (int, float)) and aspect_range > 0:
            aspect_range = sorted((aspect_range, 1 / aspect_range))
        if not isinstance(aspect_range,
                          Sequence) or len(aspect_range) != 2 or not 0 < aspect_range[0] <= aspect_range[1]:
            raise ConfigError(f'aspect_range={given!r}: expected a number above 0, or two (least, greatest)')
        self.aspect_range = tuple(aspect_range)
        self.mode = choice_of(mode, ('const', 'rand'), 'mode')
        if fill_std is not None and mode == 'const':
            raise ConfigError(f"fill_std={fill_std!r} has an effect with mode='rand' only")
        self.fill_color = fill_color
        self.fill_std = fill_std

    def transform(self, results: dict) -> dict:
        """Cover a rectangle, or not."""
        img = uint8_image(results, 'RandomErasing')
        if np.random.rand() >= self.erase_prob:
            return with_image(results, img)
        top, left, height, width = self._rectangle(*img.shape[:2])
        place = np.s_[top:top + height, left:left + width]
        img = img.copy()
        img[place] = self._fill((height, width, img.shape[2]))
        mask = results.get('gt_mask')
        if mask is not None:
            mask = mask.copy()
            mask[place] = _IGNORED
        return with_image(results, img, mask)

    def _rectangle(self, img_height: int, img_width: int) -> tuple[int, int, int, int]:
        """Draw top, left, height and width, in pixels; at the most the whole picture."""
        area = img_height * img_width * np.random.uniform(self.min_area_ratio, self.max_area_ratio)
        aspect = np.exp(np.random.uniform(*np.log(self.aspect_range)))
        height = min(round(np.sqrt(area * aspect)), img_height)
        width = min(round(np.sqrt(area / aspect)), img_width)
        return np.random.randint(img_height - height + 1), np.random.randint(img_width - width + 1), height, width

    def _fill(self, shape: tuple[int, int, int]) -> np.ndarray:
        """Return what covers the rectangle, uint8, of this shape or one that NumPy brings to it."""
        if self.mode == 'rand' and self.fill_std is None:
            return np.random.randint(0, 256, shape, dtype=np.uint8)
        color = _per_channel(self.fill_color, 'fill_color', shape[2])
        if self.mode == 'rand':
            color = np.random.normal(color, _per_channel(self.fill_std, 'fill_std', shape[2]), shape)
        return np.clip(np.rint(color), 0, 255).astype(np.uint8)


def _per_channel(value: float | Sequence[float], name: str, channels: int) -> np.ndarray:
    """Return one number a channel; numbers that are all alike do for any number of channels."""
    values = np.unique(value) if np.ndim(value) and len(set(value)) == 1 else np.atleast_1d(value)
    if len(values) not in (1, channels):
        raise ConfigError(
            f'RandomErasing({name}={value!r}): expected one number or one a channel; the picture has {channels}')
    return np.broadcast_to(values, (channels, )).astype(np.float64)
