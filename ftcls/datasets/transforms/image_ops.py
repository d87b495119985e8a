"""Resizing, cropping and padding of samples: the image (H, W, C), and the mask (H, W) with it."""
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import cv2
import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F  # noqa: N812

from ftcls.utils import ConfigError, DataError, did_you_mean
from .base import IGNORED, with_image

__all__ = [
    'Backend', 'INTERPOLATIONS', 'PaddingMode', 'Plan', 'check_fits', 'check_interpolation', 'crop_sample',
    'draw_corner', 'pad_sample', 'resize_image', 'resize_sample'
]

Backend = Literal['cv2', 'pillow']
PaddingMode = Literal['constant', 'edge', 'reflect', 'symmetric']

_CV2 = dict(nearest=cv2.INTER_NEAREST, bilinear=cv2.INTER_LINEAR, bicubic=cv2.INTER_CUBIC, area=cv2.INTER_AREA)
_CV2['lanczos'] = cv2.INTER_LANCZOS4
INTERPOLATIONS = dict(cv2=_CV2, pillow={member.name.lower(): member for member in Image.Resampling})
# torch resizes uint8 five times as fast as Pillow with AVX2, and more slowly without
_HAS_AVX = torch.backends.cpu.get_cpu_capability().startswith('AVX')


@dataclass(frozen=True)
class Plan:
    """What a step makes of an image: a part of it, resized.

    Attributes:
        whole: Size of the whole image, (H, W).
        box: Top, left, height and width of the part, in pixels of the whole image.
        size: Size of the result, (H, W).
        notes: What the step adds to the sample.
        reduction: The sample's image is decoded already, at 1 / ``reduction`` of its height and width.
    """
    whole: tuple[int, int]
    box: tuple[int, int, int, int]
    size: tuple[int, int]
    notes: dict = field(default_factory=dict)
    reduction: int = 1

    def part(self, reduction: int = 1) -> tuple[slice, slice]:
        """Return the rows and columns of the part in an image that was decoded at 1 / ``reduction``."""
        top, left, height, width = (side / reduction for side in self.box)
        return slice(round(top), round(top + height)), slice(round(left), round(left + width))

    def most_reduction(self) -> int:
        """Return the greatest reduction (8, 4, 2 or 1) whose part is at least as large as the result."""
        for reduction in (8, 4, 2):
            sides = [side.stop - side.start for side in self.part(reduction)]
            if sides[0] >= self.size[0] and sides[1] >= self.size[1]:
                return reduction
        return 1


def check_interpolation(backend: str, interpolation: str) -> None:
    """Raise a ConfigError unless ``backend`` offers ``interpolation``."""
    offered = INTERPOLATIONS[backend]
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


def draw_corner(whole: Sequence[int], part: Sequence[int]) -> tuple[int, int]:
    """Draw the top, then the left, of a part of a size (H, W) that lies in an image of ``whole`` (H, W)."""
    return np.random.randint(whole[0] - part[0] + 1), np.random.randint(whole[1] - part[1] + 1)


def crop_sample(results: dict, top: int, left: int, size: tuple[int, int]) -> dict:
    """Cut ``size`` (H, W) out of image and mask."""
    part = np.s_[top:top + size[0], left:left + size[1]]
    return with_image(results, results['img'][part], lambda mask: mask[part])


def resize_sample(results: dict, plan: Plan, interpolation: str, backend: str) -> dict:
    """Crop and resize image and mask as planned, the mask by the nearest pixel."""
    img = resize_image(results['img'][plan.part(plan.reduction)], plan.size, interpolation, backend)
    return with_image(results, img, lambda mask: _resize_mask(mask[plan.part()], plan.size))


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


def resize_image(img: np.ndarray, size: tuple[int, int], interpolation: str, backend: str) -> np.ndarray:
    """Resize an image (H, W, C) of uint8 or float to ``size`` (H, W).

    When it shrinks, 'pillow' averages over all the pixels that fall into one (antialiasing), as the weights of
    torchvision and timm expect; 'cv2' does not, except with 'area'. torch's bilinear kernel, where it is fast, gives
    Pillow's result within one grey level.
    """
    if img.shape[:2] == tuple(size):
        return img
    height, width = size
    method = INTERPOLATIONS[backend][interpolation]
    if backend == 'cv2':
        # cv2 drops the last axis of a single channel
        return cv2.resize(img, (width, height), interpolation=method).reshape(height, width, *img.shape[2:])
    if _HAS_AVX and interpolation == 'bilinear' and img.dtype == np.uint8 and img.shape[2] in (3, 4):
        batch = torch.from_numpy(np.require(img, requirements='CW'))[None].permute(0, 3, 1, 2)
        return F.interpolate(batch, tuple(size), mode='bilinear', antialias=True)[0].permute(1, 2, 0).numpy()
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
        raise ConfigError(f'pad_val={value!r}: the image has shape {array.shape}; give one value per channel')
    planes = [np.pad(array[..., c], widths[:2], constant_values=v) for c, v in enumerate(value)]
    return np.stack(planes, axis=2)
