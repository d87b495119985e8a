"""Crops."""
import math
from collections.abc import Sequence

import numpy as np

from ftcls.registry import TRANSFORMS
from ftcls.utils import ConfigError
from .base import BaseTransform, check_fits, choice_of, pair, with_image
from .image_ops import PADDING_MODES, check_interpolation, crop, pad
from .resizing import resize_sample

__all__ = ['CenterCrop', 'CornerCrop', 'RandomCrop', 'RandomResizedCrop']

_CORNERS = ('top_left', 'top_right', 'bottom_left', 'bottom_right')

#: What a mask is padded with where the image is padded with a constant: pixels that losses and metrics pass over.
IGNORED = 255


def _crop_sample(results: dict, top: int, left: int, size: tuple[int, int]) -> dict:
    """Cut ``size`` (H, W) out of image and mask."""
    mask = results.get('gt_mask')
    img = crop(results['img'], top, left, size)
    return with_image(results, img, None if mask is None else crop(mask, top, left, size))


def _pad_sample(results: dict, borders: tuple[int, int, int, int], value: float | Sequence[float], mode: str) -> dict:
    """Pad image and mask by ``borders`` (left, top, right, bottom)."""
    mask = results.get('gt_mask')
    img = pad(results['img'], borders, value, mode)
    return with_image(results, img, None if mask is None else pad(mask, borders, IGNORED, mode))


@TRANSFORMS.register_module()
class RandomCrop(BaseTransform):
    """Crop at a random place.

    - reads: ``img``, ``gt_mask`` (if there)
    - changes: ``img``, ``img_shape``, ``gt_mask`` (constant padding is 255 there: ignored)
    - adds, removes: nothing

    Args:
        crop_size: Size of the crop, (h, w), or one int for both.
        padding: Pixels to pad before: one int, (left/right, top/bottom) or (left, top, right, bottom).
        pad_if_needed: Pad a picture that is smaller than the crop instead of stopping.
        pad_val: What 'constant' fills with: one number, or one a channel in the sample's own order.
        padding_mode: 'constant', 'edge', 'reflect' or 'symmetric', for both kinds of padding.

    Raises:
        DataError: If a picture is smaller than the crop and ``pad_if_needed`` is not set.
    """

    def __init__(self,
                 crop_size: int | Sequence[int],
                 padding: int | Sequence[int] | None = None,
                 pad_if_needed: bool = False,
                 pad_val: float | Sequence[float] = 0,
                 padding_mode: str = 'constant') -> None:
        self.crop_size = pair(crop_size, 'crop_size')
        self.padding = padding
        self.pad_if_needed = pad_if_needed
        self.pad_val = pad_val
        self.padding_mode = choice_of(padding_mode, PADDING_MODES, 'padding_mode')
        self._borders = self._four(padding)

    @staticmethod
    def _four(padding: int | Sequence[int] | None) -> tuple[int, int, int, int]:
        """Return (left, top, right, bottom)."""
        values = tuple(padding) if isinstance(padding, Sequence) and not isinstance(padding, str) else (padding or 0, )
        if len(values) not in (1, 2, 4) or not all(isinstance(v, int) and v >= 0 for v in values):
            raise ConfigError(
                f'padding={padding!r}: expected one, two (left/right, top/bottom) or four (left, top, right, '
                'bottom) whole numbers of pixels')
        return values * (4 // len(values))

    def transform(self, results: dict) -> dict:
        """Pad and crop the sample."""
        if any(self._borders):
            results = _pad_sample(results, self._borders, self.pad_val, self.padding_mode)
        if self.pad_if_needed:
            height, width = results['img'].shape[:2]
            high = math.ceil(max(0, self.crop_size[0] - height) / 2)
            wide = math.ceil(max(0, self.crop_size[1] - width) / 2)
            borders = (wide, high, wide, high)
            results = _pad_sample(results, borders, self.pad_val, self.padding_mode)
        img = results['img']
        check_fits(img, self.crop_size, results, 'set pad_if_needed=True in RandomCrop, or put Resize before it')
        top = np.random.randint(img.shape[0] - self.crop_size[0] + 1)
        left = np.random.randint(img.shape[1] - self.crop_size[1] + 1)
        return _crop_sample(results, top, left, self.crop_size)


@TRANSFORMS.register_module()
class CenterCrop(BaseTransform):
    """Crop the middle.

    - reads: ``img``, ``gt_mask`` (if there)
    - changes: ``img``, ``img_shape``, ``gt_mask`` (padding is 255 there: ignored)
    - adds, removes: nothing

    Args:
        crop_size: Size of the crop, (w, h), or one int for both.
        auto_pad: Pad a picture that is smaller than the crop instead of stopping.
        pad_cfg: How: the arguments of :class:`Pad` but for ``size``; ``dict(type='Pad')`` where it is None.

    Raises:
        DataError: If a picture is smaller than the crop and ``auto_pad`` is not set.
    """

    def __init__(self, crop_size: int | Sequence[int], auto_pad: bool = False, pad_cfg: dict | None = None) -> None:
        self.crop_size = pair(crop_size, 'crop_size')
        self.auto_pad = auto_pad
        self.pad_cfg = pad_cfg
        self._pad = TRANSFORMS.build({'type': 'Pad', **(pad_cfg or {}), 'size': self.crop_size}) if auto_pad else None

    def transform(self, results: dict) -> dict:
        """Crop the sample."""
        size = self.crop_size[::-1]
        if self._pad is not None:
            results = self._pad(results)
        img = results['img']
        check_fits(img, size, results, 'set auto_pad=True in CenterCrop, or put ResizeEdge before it')
        top = round((img.shape[0] - size[0]) / 2)
        left = round((img.shape[1] - size[1]) / 2)
        return _crop_sample(results, top, left, size)


@TRANSFORMS.register_module()
class CornerCrop(BaseTransform):
    """Crop a corner; with :class:`CenterCrop`, the five views of test-time augmentation.

    - reads: ``img``, ``gt_mask`` (if there)
    - changes: ``img``, ``img_shape``, ``gt_mask``
    - adds, removes: nothing

    Args:
        crop_size: Size of the crop, (w, h), or one int for both, as of :class:`CenterCrop`.
        corner: 'top_left', 'top_right', 'bottom_left' or 'bottom_right'.

    Raises:
        DataError: If a picture is smaller than the crop.
    """

    def __init__(self, crop_size: int | Sequence[int], corner: str = 'top_left') -> None:
        self.crop_size = pair(crop_size, 'crop_size')
        self.corner = choice_of(corner, _CORNERS, 'corner')

    def transform(self, results: dict) -> dict:
        """Crop the sample."""
        img, size = results['img'], self.crop_size[::-1]
        check_fits(img, size, results, 'put ResizeEdge before it')
        top = 0 if self.corner.startswith('top') else img.shape[0] - size[0]
        left = 0 if self.corner.endswith('left') else img.shape[1] - size[1]
        return _crop_sample(results, top, left, size)


@TRANSFORMS.register_module()
class RandomResizedCrop(BaseTransform):
    """Crop a part of random area and shape, and resize it (Szegedy et al., "Going Deeper with Convolutions", 2015).

    - reads: ``img``, ``gt_mask`` (if there)
    - changes: ``img``, ``img_shape``, ``gt_mask``
    - adds, removes: nothing

    Args:
        scale: Size to reach, (h, w), or one int for both.
        crop_ratio_range: Least and greatest part of the picture's area.
        aspect_ratio_range: Least and greatest width / height of the part.
        max_attempts: How often to draw before the middle is taken.
        interpolation: As of :class:`Resize`.
        backend: 'cv2', or 'pillow', which antialiases when it shrinks.
    """

    def __init__(self,
                 scale: int | Sequence[int],
                 crop_ratio_range: tuple[float, float] = (0.08, 1.0),
                 aspect_ratio_range: tuple[float, float] = (3. / 4., 4. / 3.),
                 max_attempts: int = 10,
                 interpolation: str = 'bilinear',
                 backend: str = 'cv2') -> None:
        for name, low_high in (('crop_ratio_range', crop_ratio_range), ('aspect_ratio_range', aspect_ratio_range)):
            if len(low_high) != 2 or not 0 < low_high[0] <= low_high[1]:
                raise ConfigError(f'{name}={low_high!r}: expected (least, greatest), both above 0')
        if not isinstance(max_attempts, int) or max_attempts < 0:
            raise ConfigError(f'max_attempts={max_attempts!r}: expected a whole number, 0 or more')
        check_interpolation(backend, interpolation)
        self.scale = pair(scale, 'scale')
        self.crop_ratio_range = tuple(crop_ratio_range)
        self.aspect_ratio_range = tuple(aspect_ratio_range)
        self.max_attempts = max_attempts
        self.interpolation = interpolation
        self.backend = backend

    def rand_crop_params(self, img: np.ndarray) -> tuple[int, int, int, int]:
        """Draw the part of an image (H, W, C): (top, left, height, width) in pixels."""
        height, width = img.shape[:2]
        least, most = self.aspect_ratio_range
        for _ in range(self.max_attempts):
            area = np.random.uniform(*self.crop_ratio_range) * height * width
            ratio = math.exp(np.random.uniform(math.log(least), math.log(most)))
            part_width, part_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < part_width <= width and 0 < part_height <= height:
                top = np.random.randint(height - part_height + 1)
                left = np.random.randint(width - part_width + 1)
                return top, left, part_height, part_width
        # No luck: the largest part in the middle whose shape is allowed.
        part_height = min(height, max(round(width / least), 1))
        part_width = min(width, max(round(height * most), 1))
        return (height - part_height) // 2, (width - part_width) // 2, part_height, part_width

    def transform(self, results: dict) -> dict:
        """Crop and resize the sample."""
        top, left, height, width = self.rand_crop_params(results['img'])
        results = _crop_sample(results, top, left, (height, width))
        return resize_sample(results, self.scale, self.interpolation, self.backend)
