"""Blurring."""
from collections.abc import Sequence
from typing import Literal

import numpy as np
from PIL import Image, ImageFilter

from ftcls.registry import TRANSFORMS
from ftcls.utils import ConfigError
from .base import BaseTransform, probability, uint8_image, with_image

__all__ = ['GaussianBlur']


@TRANSFORMS.register_module()
class GaussianBlur(BaseTransform):
    """Blur with some probability, by Pillow's approximation of a Gaussian.

    - reads: ``img`` (uint8)
    - changes: ``img``
    - adds: ``img_shape``
    - removes: nothing

    Args:
        radius: Standard deviation of the Gaussian in pixels; None to draw it by the arguments below.
        prob: Probability.
        magnitude_level: How strongly, 0 to ``total_level``, which stands for the range's second number.
        magnitude_range: Radius at level 0 and at ``total_level``; instead of ``radius``.
        magnitude_std: The level is drawn around ``magnitude_level`` with this standard deviation; 0 for always that level,
            'inf' for evenly from 0 to it.
        total_level: The highest level.

    Raises:
        ConfigError: If not exactly one of ``radius`` and ``magnitude_range`` is given, or a number is below 0.
    """

    def __init__(self,
                 radius: float | None = None,
                 prob: float = 0.5,
                 magnitude_level: float = 10,
                 magnitude_range: Sequence[float] | None = None,
                 magnitude_std: float | Literal['inf'] = 0.,
                 total_level: float = 10) -> None:
        if (radius is None) == (magnitude_range is None):
            raise ConfigError(f'GaussianBlur(radius={radius!r}, magnitude_range={magnitude_range!r}): give exactly one '
                              'of the two')
        radii = [radius] if magnitude_range is None else list(magnitude_range)
        if len(radii) != (1 if magnitude_range is None else 2) or min(radii) < 0:
            raise ConfigError(f'GaussianBlur(radius={radius!r}, magnitude_range={magnitude_range!r}): expected one '
                              'radius, or two as the range, 0 or more')
        if magnitude_std != 'inf' and (isinstance(magnitude_std, str) or magnitude_std < 0):
            raise ConfigError(f"magnitude_std={magnitude_std!r}: expected a number, 0 or more, or 'inf'")
        if not 0 <= magnitude_level <= total_level or total_level <= 0:
            raise ConfigError(f'magnitude_level={magnitude_level!r}: must be from 0 to total_level={total_level!r}')
        self.radius = radius
        self.prob = probability(prob)
        self.magnitude_level = magnitude_level
        self.magnitude_range = magnitude_range
        self.magnitude_std = magnitude_std
        self.total_level = total_level

    def transform(self, results: dict) -> dict:
        """Blur the image, or not."""
        img = uint8_image(results, 'GaussianBlur')
        if np.random.rand() >= self.prob:
            return with_image(results, img)
        blur = ImageFilter.GaussianBlur(self._draw_radius())
        planes = [Image.fromarray(np.ascontiguousarray(plane)).filter(blur) for plane in np.moveaxis(img, 2, 0)]
        return with_image(results, np.stack(planes, axis=2))

    def _draw_radius(self) -> float:
        """Return the radius, in pixels."""
        if self.magnitude_range is None:
            return self.radius
        level = self.magnitude_level
        if self.magnitude_std == 'inf':
            level = np.random.uniform(0, level)
        elif self.magnitude_std:
            level = np.clip(np.random.normal(level, self.magnitude_std), 0, self.total_level)
        low, high = self.magnitude_range
        return float(low + (high - low) * level / self.total_level)
