"""Resizing, cropping and padding of arrays (H, W, C), and of masks (H, W), without knowledge of samples."""
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image

from ftcls.utils import ConfigError
from .base import choice_of

__all__ = ['INTERPOLATIONS', 'PADDING_MODES', 'check_interpolation', 'crop', 'pad', 'resize', 'resize_mask']

_CV2 = {
    'nearest': cv2.INTER_NEAREST,
    'bilinear': cv2.INTER_LINEAR,
    'bicubic': cv2.INTER_CUBIC,
    'area': cv2.INTER_AREA,
    'lanczos': cv2.INTER_LANCZOS4,
}
_PILLOW = {
    'nearest': Image.Resampling.NEAREST,
    'bilinear': Image.Resampling.BILINEAR,
    'bicubic': Image.Resampling.BICUBIC,
    'box': Image.Resampling.BOX,
    'lanczos': Image.Resampling.LANCZOS,
    'hamming': Image.Resampling.HAMMING,
}
#: For each backend, the interpolations that it offers.
INTERPOLATIONS = {'cv2': tuple(_CV2), 'pillow': tuple(_PILLOW)}
PADDING_MODES = ('constant', 'edge', 'reflect', 'symmetric')


def check_interpolation(backend: str, interpolation: str) -> None:
    """Raise a ConfigError unless ``backend`` is known and offers ``interpolation``."""
    choice_of(backend, tuple(INTERPOLATIONS), 'backend')
    choice_of(interpolation, INTERPOLATIONS[backend], f'interpolation (backend={backend!r})')


def resize(img: np.ndarray, size: tuple[int, int], interpolation: str = 'bilinear', backend: str = 'cv2') -> np.ndarray:
    """Resize an image (H, W, C) of uint8 or float to ``size`` (H, W).

    'pillow' averages over all the pixels that fall into one when it shrinks (antialiasing), as the weights of torchvision
    and timm expect; 'cv2' does not, except with 'area'.
    """
    if img.shape[:2] == tuple(size):
        return img
    height, width = size
    if backend == 'cv2':
        out = cv2.resize(img, (width, height), interpolation=_CV2[interpolation])
        return out if out.ndim == img.ndim else out[..., np.newaxis]  # cv2 drops the last axis of a grey image
    if img.dtype == np.uint8 and img.shape[2] == 3:
        return np.asarray(Image.fromarray(img).resize((width, height), _PILLOW[interpolation]))
    # Pillow resizes other numbers of channels, and floats, one channel at a time.
    planes = [np.asarray(Image.fromarray(img[..., c]).resize((width, height), _PILLOW[interpolation]))
              for c in range(img.shape[2])]  # yapf: disable
    return np.stack(planes, axis=2)


def resize_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a mask (H, W) to ``size`` (H, W) by the nearest pixel, whose centre is meant: no new values appear."""
    if mask.shape == tuple(size):
        return mask
    return cv2.resize(mask, (size[1], size[0]), interpolation=cv2.INTER_NEAREST_EXACT)


def crop(array: np.ndarray, top: int, left: int, size: tuple[int, int]) -> np.ndarray:
    """Cut ``size`` (H, W) out of an array (H, W, …)."""
    return array[top:top + size[0], left:left + size[1]]


def pad(array: np.ndarray,
        borders: tuple[int, int, int, int],
        value: float | Sequence[float] = 0,
        mode: str = 'constant') -> np.ndarray:
    """Pad an array (H, W, …) by ``borders`` (left, top, right, bottom) pixels.

    Args:
        array: Image (H, W, C) or mask (H, W).
        borders: Pixels to add on each side.
        value: What 'constant' fills with: one number, or one a channel, in the array's own channel order.
        mode: 'constant', 'edge', 'reflect' (without repeating the border) or 'symmetric' (repeating it).

    Raises:
        ConfigError: If there is not one ``value`` a channel.
    """
    left, top, right, bottom = borders
    if not any(borders):
        return array
    widths = [(top, bottom), (left, right)] + [(0, 0)] * (array.ndim - 2)
    if mode != 'constant':
        return np.pad(array, widths, mode=mode)
    if np.ndim(value) == 0:
        return np.pad(array, widths, constant_values=value)
    if array.ndim != 3 or len(value) != array.shape[2]:
        raise ConfigError(f'pad_val={value!r} has {len(value)} values, the image has '
                          f'{array.shape[2] if array.ndim == 3 else 1} channels; give one number or one a channel')
    planes = [np.pad(array[..., c], widths[:2], constant_values=v) for c, v in enumerate(value)]
    return np.stack(planes, axis=2)
