"""Resizing, cropping and padding of samples: the image (H, W, C), and the mask (H, W) with it."""
from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np
from PIL import Image

from ftcls.utils import ConfigError, DataError, did_you_mean
from .base import IGNORED, with_image

__all__ = ['Backend', 'PaddingMode', 'check_fits', 'check_interpolation', 'crop_sample', 'pad_sample', 'resize_sample']

Backend = Literal['cv2', 'pillow']
PaddingMode = Literal['constant', 'edge', 'reflect', 'symmetric']

_INTERPOLATIONS = {
    'cv2': {
        'nearest': cv2.INTER_NEAREST,
        'bilinear': cv2.INTER_LINEAR,
        'bicubic': cv2.INTER_CUBIC,
        'area': cv2.INTER_AREA,
        'lanczos': cv2.INTER_LANCZOS4,
    },
    'pillow': {
        member.name.lower(): member
        for member in Image.Resampling
    },
}


def check_interpolation(backend: str, interpolation: str) -> None:
    """Raise a ConfigError unless ``backend`` offers ``interpolation``."""
    offered = _INTERPOLATIONS[backend]
    if interpolation not in offered:
        raise ConfigError(f'interpolation={interpolation!r}: backend={backend!r} offers {", ".join(offered)}'
                          f'{did_you_mean(interpolation, offered)}')


def check_fits(results: dict, crop_size: tuple[int, int], fix: str) -> None:
    """Raise a DataError if a crop (H, W) is larger than the image."""
    height, width = results['img'].shape[:2]
    if crop_size[0] > height or crop_size[1] > width:
        name = results.get('img_path', f'sample {results.get("sample_idx", "")}'.strip())
        size = f'{crop_size[0]}x{crop_size[1]}'
        raise DataError(f'crop_size={size} (H x W) is larger than the image of {height}x{width}: {name}; {fix}')


def crop_sample(results: dict, top: int, left: int, size: tuple[int, int]) -> dict:
    """Cut ``size`` (H, W) out of image and mask."""
    part = np.s_[top:top + size[0], left:left + size[1]]
    return with_image(results, results['img'][part], lambda mask: mask[part])


def resize_sample(results: dict, size: tuple[int, int], interpolation: str, backend: str) -> dict:
    """Resize image and mask to ``size`` (H, W), the mask by the nearest pixel."""
    img = _resize(results['img'], size, interpolation, backend)
    return with_image(results, img, lambda mask: _resize_mask(mask, size))


def pad_sample(results: dict,
               borders: tuple[int, int, int, int],
               value: float | Sequence[float],
               mode: str,
               mask_value: int = IGNORED) -> dict:
    """Pad image and mask by ``borders`` (left, top, right, bottom) pixels.

    Args:
        results: The sample.
        borders: Pixels to add on each side.
        value: What 'constant' fills the image with: one number, or one per channel in the image's own channel order.
        mode: 'constant', 'edge', 'reflect' (without repeating the border) or 'symmetric' (repeating it).
        mask_value: What 'constant' fills the mask with.

    Raises:
        ConfigError: If ``value`` has another number of values than the image has channels.
    """
    img = _pad(results['img'], borders, value, mode)
    return with_image(results, img, lambda mask: _pad(mask, borders, mask_value, mode))


def _resize(img: np.ndarray, size: tuple[int, int], interpolation: str, backend: str) -> np.ndarray:
    """Resize an image (H, W, C) of uint8 or float to ``size`` (H, W).

    When it shrinks, 'pillow' averages over all the pixels that fall into one (antialiasing), as the weights of
    torchvision and timm expect; 'cv2' does not, except with 'area'.
    """
    if img.shape[:2] == tuple(size):
        return img
    height, width = size
    method = _INTERPOLATIONS[backend][interpolation]
    if backend == 'cv2':
        # cv2 drops the last axis of a single channel
        return cv2.resize(img, (width, height), interpolation=method).reshape(height, width, *img.shape[2:])
    if img.dtype == np.uint8 and img.shape[2] == 3:
        return np.asarray(Image.fromarray(img).resize((width, height), method))
    # Pillow resizes other numbers of channels, and floats, one channel at a time.
    planes = [Image.fromarray(plane).resize((width, height), method) for plane in np.moveaxis(img, 2, 0)]
    return np.stack([np.asarray(plane) for plane in planes], axis=2)


def _resize_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a mask (H, W) to ``size`` (H, W) by the nearest pixel, by its centre: no new values appear."""
    if mask.shape == tuple(size):
        return mask
    return cv2.resize(mask, (size[1], size[0]), interpolation=cv2.INTER_NEAREST_EXACT)


def _pad(array: np.ndarray, borders: tuple[int, int, int, int], value: float | Sequence[float],
         mode: str) -> np.ndarray:
    left, top, right, bottom = borders
    if not any(borders):
        return array
    widths = [(top, bottom), (left, right)] + [(0, 0)] * (array.ndim - 2)
    if mode != 'constant':
        return np.pad(array, widths, mode=mode)
    if np.ndim(value) == 0:
        return np.pad(array, widths, constant_values=value)
    if array.ndim != 3 or len(value) != array.shape[2]:
        raise ConfigError(f'pad_val={value!r} has {len(value)} values, the image has shape {array.shape}; give one per '
                          'channel')
    planes = [np.pad(array[..., c], widths[:2], constant_values=v) for c, v in enumerate(value)]
    return np.stack(planes, axis=2)
