"""Crops."""
import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from ftcls.registry import TRANSFORMS
from ftcls.utils.tree import as_list
from ftcls.utils.types import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Size
from .base import BaseTransform, as_pair, check_order
from .image_ops import Backend, PaddingMode, check_fits, check_interpolation, crop_sample, draw_corner, pad_sample
from .resizing import ResizingStep

__all__ = [
    'CenterCrop', 'CornerCrop', 'EfficientNetCenterCrop', 'EfficientNetRandomCrop', 'RandomCrop', 'RandomResizedCrop'
]


@TRANSFORMS.register_module()
class RandomCrop(BaseTransform):
    """Crop at a random position.

    - reads: ``img``, ``gt_mask`` (if there)
    - changes: ``img``, ``img_shape``, ``gt_mask`` (255 in constant padding: ignored)
    - adds, removes: nothing

    Args:
        crop_size: Size of the crop, (h, w), or one int for both.
        padding: Pixels to pad before: one int, (left/right, top/bottom) or (left, top, right, bottom).
        pad_if_needed: Pad an image that is smaller than the crop instead of stopping.
        pad_val: What 'constant' fills with: one number, or one per channel in the sample's own order.
        padding_mode: For both kinds of padding.

    Raises:
        DataError: If an image is smaller than the crop and ``pad_if_needed`` is not set.
    """

    def __init__(self,
                 crop_size: Size,
                 padding: NonNegativeInt | tuple[NonNegativeInt] | tuple[NonNegativeInt, NonNegativeInt]
                 | tuple[NonNegativeInt, NonNegativeInt, NonNegativeInt, NonNegativeInt] | None = None,
                 pad_if_needed: bool = False,
                 pad_val: float | Sequence[float] = 0,
                 padding_mode: PaddingMode = 'constant') -> None:
        self.crop_size = as_pair(crop_size)
        self.padding, self.pad_if_needed = padding, pad_if_needed
        self.pad_val, self.padding_mode = pad_val, padding_mode
        borders = as_list(padding or 0)
        self._borders = tuple(borders * (4 // len(borders)))

    def transform(self, results: dict) -> dict:
        """Pad and crop the sample."""
        results = pad_sample(results, self._borders, self.pad_val, self.padding_mode)
        if self.pad_if_needed:
            high, wide = ((max(0, size - side) + 1) // 2 for side, size in zip(results['img'].shape, self.crop_size))
            results = pad_sample(results, (wide, high, wide, high), self.pad_val, self.padding_mode)
        check_fits(results, self.crop_size, 'set pad_if_needed=True in RandomCrop, or put Resize before it')
        return crop_sample(results, *draw_corner(results['img'].shape, self.crop_size), self.crop_size)


@TRANSFORMS.register_module()
class CenterCrop(BaseTransform):
    """Crop the centre.

    - reads: ``img``, ``gt_mask`` (if there)
    - changes: ``img``, ``img_shape``, ``gt_mask`` (255 in padding: ignored)
    - adds, removes: nothing

    Args:
        crop_size: Size of the crop, (w, h), or one int for both.
        auto_pad: Pad an image that is smaller than the crop instead of stopping.
        pad_cfg: How: the arguments of :class:`Pad` but for ``size``; None for ``dict(type='Pad')``.

    Raises:
        DataError: If an image is smaller than the crop and ``auto_pad`` is not set.
    """

    def __init__(self, crop_size: Size, auto_pad: bool = False, pad_cfg: dict | None = None) -> None:
        self.crop_size, self.auto_pad, self.pad_cfg = as_pair(crop_size), auto_pad, pad_cfg
        self._pad = TRANSFORMS.build({'type': 'Pad', **(pad_cfg or {}), 'size': self.crop_size}) if auto_pad else None

    def transform(self, results: dict) -> dict:
        """Crop the sample."""
        if self._pad is not None:
            results = self._pad(results)
        size = self.crop_size[::-1]
        check_fits(results, size, 'set auto_pad=True in CenterCrop, or put ResizeEdge before it')
        height, width = results['img'].shape[:2]
        return crop_sample(results, round((height - size[0]) / 2), round((width - size[1]) / 2), size)


@TRANSFORMS.register_module()
class CornerCrop(BaseTransform):
    """Crop a corner; with :class:`CenterCrop`, the five views of test-time augmentation.

    - reads: ``img``, ``gt_mask`` (if there)
    - changes: ``img``, ``img_shape``, ``gt_mask``
    - adds, removes: nothing

    Args:
        crop_size: Size of the crop, (w, h), or one int for both.
        corner: Which corner.

    Raises:
        DataError: If an image is smaller than the crop.
    """

    def __init__(self,
                 crop_size: Size,
                 corner: Literal['top_left', 'top_right', 'bottom_left', 'bottom_right'] = 'top_left') -> None:
        self.crop_size, self.corner = as_pair(crop_size), corner

    def transform(self, results: dict) -> dict:
        """Crop the sample."""
        size = self.crop_size[::-1]
        check_fits(results, size, 'put ResizeEdge before it')
        height, width = results['img'].shape[:2]
        top = 0 if self.corner.startswith('top') else height - size[0]
        left = 0 if self.corner.endswith('left') else width - size[1]
        return crop_sample(results, top, left, size)


@TRANSFORMS.register_module()
class RandomResizedCrop(ResizingStep):
    """Crop a part of random area and aspect ratio, and resize it.

    From Szegedy et al., "Going Deeper with Convolutions", 2015.

    - reads: ``img``, ``gt_mask`` (if there)
    - changes: ``img``, ``img_shape``, ``gt_mask``
    - adds, removes: nothing

    Args:
        scale: Size of the result, (h, w), or one int for both.
        crop_ratio_range: Least and greatest part of the image's area.
        aspect_ratio_range: Least and greatest width / height of the part.
        max_attempts: How often to draw before the centre is taken.
        interpolation: See :class:`Resize`.
        backend: See :class:`Resize`.
    """

    def __init__(self,
                 scale: Size,
                 crop_ratio_range: tuple[PositiveFloat, PositiveFloat] = (0.08, 1.0),
                 aspect_ratio_range: tuple[PositiveFloat, PositiveFloat] = (3. / 4., 4. / 3.),
                 max_attempts: NonNegativeInt = 10,
                 interpolation: str = 'bilinear',
                 backend: Backend = 'cv2') -> None:
        check_order(crop_ratio_range=crop_ratio_range, aspect_ratio_range=aspect_ratio_range)
        check_interpolation(backend, interpolation)
        self.scale, self.interpolation, self.backend = as_pair(scale), interpolation, backend
        self.crop_ratio_range, self.aspect_ratio_range = tuple(crop_ratio_range), tuple(aspect_ratio_range)
        self.max_attempts = max_attempts

    def rand_crop_params(self, img: np.ndarray) -> tuple[int, int, int, int]:
        """Draw the part of an image (H, W, C): (top, left, height, width) in pixels."""
        height, width = img.shape[:2]
        least, most = self.aspect_ratio_range
        for _ in range(self.max_attempts):
            area = np.random.uniform(*self.crop_ratio_range) * height * width
            ratio = math.exp(np.random.uniform(math.log(least), math.log(most)))
            part_width, part_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < part_width <= width and 0 < part_height <= height:
                return *draw_corner(img.shape, (part_height, part_width)), part_height, part_width
        # no draw fits: the largest part in the centre whose aspect ratio is allowed
        part_height = min(height, max(round(width / least), 1))
        part_width = min(width, max(round(height * most), 1))
        return (height - part_height) // 2, (width - part_width) // 2, part_height, part_width

    def box(self, shape: tuple[int, int]) -> tuple[int, int, int, int]:
        """See :class:`ResizingStep`."""
        return self.rand_crop_params(np.empty((*shape, 0)))

    def target(self, shape: tuple[int, int]) -> tuple[tuple[int, int], dict]:
        """See :class:`ResizingStep`."""
        return self.scale, {}


@TRANSFORMS.register_module()
class EfficientNetRandomCrop(RandomResizedCrop):
    """Crop a part of random height and aspect ratio, and resize it to a square, as EfficientNet was trained.

    From TensorFlow's `sample_distorted_bounding_box
    <https://www.tensorflow.org/api_docs/python/tf/image/sample_distorted_bounding_box>`_.

    - reads: ``img``, ``gt_mask`` (if there)
    - changes: ``img``, ``img_shape``, ``gt_mask``
    - adds, removes: nothing

    Args:
        scale: Length of the result's sides.
        min_covered: The least part of the image's area.
        crop_padding: See :class:`EfficientNetCenterCrop`, which is done if no draw fits.
        interpolation: See :class:`Resize`.
        **kwargs: The other arguments of :class:`RandomResizedCrop`.
    """

    def __init__(self,
                 scale: PositiveInt,
                 min_covered: NonNegativeFloat = 0.1,
                 crop_padding: NonNegativeInt = 32,
                 interpolation: str = 'bicubic',
                 **kwargs: Any) -> None:
        super().__init__(scale, interpolation=interpolation, **kwargs)
        self.min_covered, self.crop_padding = min_covered, crop_padding

    def rand_crop_params(self, img: np.ndarray) -> tuple[int, int, int, int]:
        """See :class:`RandomResizedCrop`."""
        height, width = img.shape[:2]
        least, most = (share * height * width for share in self.crop_ratio_range)
        for _ in range(self.max_attempts):
            ratio = np.random.uniform(*self.aspect_ratio_range)
            lowest, highest = (round(math.sqrt(area / ratio)) for area in (least, most))
            highest = min(highest, int(width / ratio), height)
            part_height = round(np.random.uniform(min(lowest, highest), highest))
            part_width = round(part_height * ratio)
            if max(least, self.min_covered * height * width) <= part_height * part_width <= most:
                return *draw_corner(img.shape, (part_height, part_width)), part_height, part_width
        side = self.scale[0] / (self.scale[0] + self.crop_padding) * min(height, width)
        top, left = (round((whole - side) / 2) for whole in (height, width))
        return top, left, max(int(side), 1), max(int(side), 1)


@TRANSFORMS.register_module()
class EfficientNetCenterCrop(EfficientNetRandomCrop):
    """Crop the central square, less a border, and resize it.

    The side of the square is the image's shorter side times ``crop_size / (crop_size + crop_padding)``.

    - reads: ``img``, ``gt_mask`` (if there)
    - changes: ``img``, ``img_shape``, ``gt_mask``
    - adds, removes: nothing

    Args:
        crop_size: Length of the result's sides.
        crop_padding: Width of both borders together, in pixels of the result.
        interpolation: See :class:`Resize`.
        backend: See :class:`Resize`.
    """

    def __init__(self,
                 crop_size: PositiveInt,
                 crop_padding: NonNegativeInt = 32,
                 interpolation: str = 'bicubic',
                 backend: Backend = 'cv2') -> None:
        super().__init__(crop_size, 0., crop_padding, interpolation, backend=backend, max_attempts=0)  # no draw fits
        self.crop_size = crop_size
