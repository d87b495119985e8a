"""Blurring."""
from typing import Literal

import numpy as np
from PIL import Image, ImageFilter

from ftcls.registry import TRANSFORMS
from ftcls.utils import ConfigError
from ftcls.utils.types import NonNegativeFloat, PositiveFloat, Probability
from .base import BaseTransform, uint8_image, with_image

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
        magnitude_level: How strongly, 0 to ``total_level``, which means the second number of the range.
        magnitude_range: Radius at level 0 and at ``total_level``; instead of ``radius``.
        magnitude_std: The level is drawn around ``magnitude_level`` with this standard deviation; 0 for always that
            level, 'inf' for evenly from 0 to it.
        total_level: The highest level.

    Raises:
        ConfigError: If not exactly one of ``radius`` and ``magnitude_range`` is given, or the level is too high.
    """

    def __init__(self,
                 radius: NonNegativeFloat | None = None,
                 prob: Probability = 0.5,
                 magnitude_level: NonNegativeFloat = 10,
                 magnitude_range: tuple[NonNegativeFloat, NonNegativeFloat] | None = None,
                 magnitude_std: NonNegativeFloat | Literal['inf'] = 0.,
                 total_level: PositiveFloat = 10) -> None:
        if (radius is None) == (magnitude_range is None):
            raise ConfigError(f'GaussianBlur: {radius=}, {magnitude_range=}: give exactly one of the two')
        if magnitude_level > total_level:
            raise ConfigError(f'magnitude_level={magnitude_level!r}: must be at most total_level={total_level!r}')
        self.radius, self.prob = radius, prob
        self.magnitude_level, self.magnitude_range, self.magnitude_std = magnitude_level, magnitude_range, magnitude_std
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
