"""MMClassification's augmentations of a strength that may be drawn: one table of kernels, one mechanism.

The kernels are OpenCV's and Pillow's, as in MMClassification: the same draws give the same pixels. (torchvision's
do not shear or rotate tensors by bicubic interpolation, which its recipes ask for.)
"""
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import cv2
import numpy as np
from annotated_types import Interval
from PIL import Image, ImageFilter, ImageOps

from ftcls.registry import TRANSFORMS
from ftcls.utils import ConfigError
from ftcls.utils.arguments import check_arguments
from ftcls.utils.types import NonNegativeFloat, PositiveFloat, Probability
from .base import IGNORED, BaseTransform, as_pair, brief_repr, is_bgr, uint8_image, with_image
from .color import check_colors
from .erasing import cover_part, per_channel
from .image_ops import INTERPOLATIONS

__all__ = [
    'AutoContrast', 'BaseAugTransform', 'Brightness', 'ColorTransform', 'Contrast', 'Cutout', 'Equalize',
    'GaussianBlur', 'Invert', 'Posterize', 'Rotate', 'Sharpness', 'Shear', 'Solarize', 'SolarizeAdd', 'Translate'
]

_Color = float | Sequence[float]
_Direction = Literal['horizontal', 'vertical']
_Interpolation = Literal['nearest', 'bilinear', 'bicubic', 'area', 'lanczos']


class BaseAugTransform(BaseTransform):
    """An augmentation that is applied with some probability, and whose strength is given, or drawn from a range.

    - reads: ``img`` (uint8), ``channel_order`` ('bgr' if absent), ``gt_mask`` (if there)
    - changes: ``img``; ``gt_mask``, if pixels move or are covered: 255 (ignored) where nothing of the image is left
    - adds: ``img_shape``
    - removes: nothing

    Args:
        pad_val: One number, or one per channel in the order that the image has (BGR as loaded).
        prob: Probability.
        magnitude_level: How strongly, 0 to ``total_level``.
        magnitude_range: Strength at level 0 and at ``total_level``.
        magnitude_std: The level is drawn around ``magnitude_level`` with this standard deviation, and cut to 0 and
            ``total_level``; 0 or less for always that level, 'inf' for evenly from 0 to it.
        total_level: The level that means the second number of the range.
        magnitude_key: Not used; old configs name the strength here.
        random_negative_prob: Probability that the strength becomes negative.

    Raises:
        ConfigError: If not exactly one of the strength, the first argument, and ``magnitude_range`` is given.
    """

    __repr__ = brief_repr

    def __init__(self,
                 prob: Probability = 0.5,
                 magnitude_level: NonNegativeFloat = 10,
                 magnitude_range: tuple[float, float] | None = None,
                 magnitude_std: float | Literal['inf'] = 0.,
                 total_level: PositiveFloat = 10,
                 magnitude_key: str | None = None,
                 random_negative_prob: Probability = 0.5) -> None:
        self.prob, self.random_negative_prob = prob, random_negative_prob
        self.magnitude_level, self.magnitude_range, self.magnitude_std = magnitude_level, magnitude_range, magnitude_std
        self.total_level = total_level

    def random_disable(self) -> bool:
        """Draw whether the image stays as it is."""
        return np.random.rand() >= self.prob

    def random_magnitude(self) -> float:
        """Draw the strength."""
        level = self.magnitude_level
        if self.magnitude_std == 'inf':
            level = np.random.uniform(0, level)
        elif self.magnitude_std > 0:
            level = np.clip(np.random.normal(level, self.magnitude_std), 0, self.total_level)
        low, high = self.magnitude_range
        return float(low + (high - low) * level / self.total_level)

    def random_negative(self, value: float) -> float:
        """Return the value or its negative."""
        return -value if np.random.rand() < self.random_negative_prob else value


def _augmentation(kernel: Callable[..., dict], common: list[inspect.Parameter]) -> type[BaseAugTransform]:
    """Register the class of a kernel; it takes the kernel's arguments, and the first ones of BaseAugTransform.

    The kernel's first argument is the strength, if there is more in common than ``prob``.
    """
    own = list(inspect.signature(kernel).parameters.values())[1:]
    signature = inspect.Signature([*own, *common])
    name, strength = kernel.__name__.title().replace('_', ''), next(iter(signature.parameters))

    def __init__(self: BaseAugTransform, *args: Any, **kwargs: Any) -> None:
        given = signature.bind(*args, **kwargs)
        given.apply_defaults()
        BaseAugTransform.__init__(self)
        vars(self).update(given.arguments)
        if (getattr(self, strength) is None) == (self.magnitude_range is None):
            raise ConfigError(f'{name}: give exactly one of {strength} and magnitude_range')
        for limit in self.magnitude_range or ():
            check_arguments(kernel, {strength: limit}, f'{name}.magnitude_range')

    def transform(self: BaseAugTransform, results: dict) -> dict:
        """Run the kernel, or not."""
        img = uint8_image(results, name)
        if self.random_disable():
            return with_image(results, img)
        arguments = {one.name: getattr(self, one.name) for one in own}
        if self.magnitude_range is not None:
            arguments[strength] = self.random_magnitude()
        if 'random_negative_prob' in signature.parameters:
            arguments[strength] = self.random_negative(arguments[strength])
        return kernel(results, **arguments)

    __init__.__signature__ = inspect.Signature([inspect.Parameter('self', 0), *own, *common])
    __init__.__annotations__ = {one.name: one.annotation for one in (*own, *common)}
    members = dict(__init__=__init__, transform=transform, __module__=__name__)
    members['__doc__'] = f'{kernel.__doc__}\n\n{inspect.getdoc(BaseAugTransform)}'
    return TRANSFORMS.register_module(module=type(name, (BaseAugTransform, ), members))


def _auto_contrast(results: dict) -> dict:
    """Stretch each channel to 0 and 255."""
    return _by_pillow(results, ImageOps.autocontrast)


def _equalize(results: dict) -> dict:
    """Equalize the histogram of each channel."""
    return _by_pillow(results, ImageOps.equalize)


def _gaussian_blur(results: dict, radius: NonNegativeFloat | None = None) -> dict:
    """Blur by Pillow's approximation of a Gaussian of standard deviation ``radius``, in pixels."""
    return _by_pillow(results, lambda plane: plane.filter(ImageFilter.GaussianBlur(radius)))


def _invert(results: dict) -> dict:
    """Turn black into white."""
    return with_image(results, 255 - results['img'])


def _posterize(results: dict, bits: Annotated[float, Interval(ge=0, le=8)] | None = None) -> dict:
    """Keep the highest ``bits`` of each value, rounded up."""
    shift = 8 - min(math.ceil(bits), 8)
    return with_image(results, results['img'] >> shift << shift)


def _solarize(results: dict, thr: NonNegativeFloat | None = None) -> dict:
    """Invert what is at least ``thr``."""
    img = results['img']
    return with_image(results, np.where(img < thr, img, 255 - img))


def _solarize_add(results: dict, magnitude: NonNegativeFloat | None = None, thr: float = 128) -> dict:
    """Add ``magnitude`` to what is below ``thr``."""
    img = results['img']
    return with_image(results, np.where(img < thr, np.minimum(img + float(magnitude), 255), img).astype(np.uint8))


def _brightness(results: dict, magnitude: float | None = None) -> dict:
    """Make the image brighter by the share ``magnitude``; a negative one makes it darker."""
    return _away_from(results, np.uint8(0), magnitude)


def _contrast(results: dict, magnitude: float | None = None) -> dict:
    """Move all values away from the mean grey by the share ``magnitude``."""
    return _away_from(results, np.rint(_grey(results, 'Contrast').mean()), magnitude)


def _color_transform(results: dict, magnitude: float | None = None) -> dict:
    """Move the colour of each pixel away from grey by the share ``magnitude``."""
    return _away_from(results, _grey(results, 'ColorTransform'), magnitude, np.uint8)


def _sharpness(results: dict, magnitude: float | None = None) -> dict:
    """Move all values away from those of a smoothed image by the share ``magnitude``."""
    smooth = cv2.filter2D(results['img'], -1, np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13)
    return _away_from(results, smooth.reshape(results['img'].shape), magnitude)


def _cutout(results: dict,
            shape: NonNegativeFloat | tuple[NonNegativeFloat, NonNegativeFloat] | None = None,
            pad_val: _Color = 128) -> dict:
    """Cover a part of ``shape`` (h, w) around a random point."""
    sides = [int(side) for side in as_pair(shape)]
    starts = [int(max(0, np.random.uniform(whole) - side / 2)) for whole, side in zip(results['img'].shape, sides)]
    return cover_part(results, (*starts, *sides), per_channel(pad_val, 'Cutout.pad_val', results['img'].shape[2]))


def _rotate(results: dict,
            angle: float | None = None,
            center: tuple[float, float] | None = None,
            scale: PositiveFloat = 1.0,
            pad_val: _Color = 128,
            interpolation: _Interpolation = 'nearest') -> dict:
    """Rotate clockwise by ``angle`` degrees about ``center`` (x, y; None for the image's), and enlarge by ``scale``."""
    height, width = results['img'].shape[:2]
    center = center or ((width - 1) / 2, (height - 1) / 2)
    return _warp(results, cv2.getRotationMatrix2D(center, -angle, scale), pad_val, interpolation)


def _shear(results: dict,
           magnitude: float | None = None,
           pad_val: _Color = 128,
           direction: _Direction = 'horizontal',
           interpolation: _Interpolation = 'bicubic') -> dict:
    """Shift each row, or with 'vertical' each column, by ``magnitude`` times its number."""
    return _warp(results, np.float32([[1, magnitude, 0], [0, 1, 0]]), pad_val, interpolation, direction)


def _translate(results: dict,
               magnitude: float | None = None,
               pad_val: _Color = 128,
               direction: _Direction = 'horizontal',
               interpolation: _Interpolation = 'nearest') -> dict:
    """Shift the image to the right, or with 'vertical' down, by the share ``magnitude`` of its side."""
    height, width = results['img'].shape[:2]
    offset = magnitude * dict(horizontal=width, vertical=height)[direction]
    return _warp(results, np.float32([[1, 0, offset], [0, 1, 0]]), pad_val, interpolation, direction)


def _by_pillow(results: dict, change: Callable[[Image.Image], Image.Image]) -> dict:
    """Change each channel."""
    planes = [change(Image.fromarray(plane)) for plane in _planes(results['img'])]
    return with_image(results, np.stack(planes, axis=2))


def _planes(img: np.ndarray) -> np.ndarray:
    """Return the channels as a contiguous array (C, H, W)."""
    return np.ascontiguousarray(np.moveaxis(img, 2, 0))


def _grey(results: dict, name: str) -> np.ndarray:
    """Return (H, W, 1)."""
    img = results['img']
    check_colors(name, img.shape[2])
    if img.shape[2] == 1:
        return img
    return cv2.cvtColor(img, cv2.COLOR_BGR2GRAY if is_bgr(results) else cv2.COLOR_RGB2GRAY)[..., np.newaxis]


def _away_from(results: dict, origin: np.ndarray, share: float, kind: type = np.float32) -> dict:
    """Move all values away from those of ``origin`` by a share of the difference; a negative one moves them nearer.

    As in MMClassification, floats are cut off at the end, and uint8 is rounded.
    """
    img, factor = results['img'], 1 + share
    first, second = (np.broadcast_to(one, img.shape).astype(kind, order='C') for one in (img, origin))
    moved = cv2.addWeighted(first, factor, second, 1 - factor, 0).reshape(img.shape)
    return with_image(results, np.clip(moved, 0, 255).astype(np.uint8))


def _warp(results: dict,
          matrix: np.ndarray,
          pad_val: _Color,
          interpolation: str,
          direction: str = 'horizontal') -> dict:
    """Move pixels by a matrix (2, 3), or with 'vertical' by that of x and y exchanged; those of a mask likewise."""
    height, width, channels = results['img'].shape
    if direction == 'vertical':
        matrix = matrix[::-1, [1, 0, 2]]

    def warp(plane: np.ndarray, value: float, flags: int = cv2.INTER_NEAREST) -> np.ndarray:
        return cv2.warpAffine(plane, matrix, (width, height), flags=flags, borderValue=value)

    fill = per_channel(pad_val, 'pad_val', channels)
    flags = INTERPOLATIONS['cv2'][interpolation]
    planes = [warp(plane, value, flags) for plane, value in zip(_planes(results['img']), fill)]
    return with_image(results, np.stack(planes, axis=2), lambda mask: warp(mask, IGNORED))


_COMMON = list(inspect.signature(BaseAugTransform).parameters.values())
AutoContrast, Equalize, Invert = (_augmentation(kernel, _COMMON[:1]) for kernel in (_auto_contrast, _equalize, _invert))
Cutout, GaussianBlur, Posterize, Solarize, SolarizeAdd = (
    _augmentation(kernel, _COMMON[:-1]) for kernel in (_cutout, _gaussian_blur, _posterize, _solarize, _solarize_add))
Brightness, ColorTransform, Contrast, Rotate, Sharpness, Shear, Translate = (  # their strength may become negative
    _augmentation(kernel, _COMMON)
    for kernel in (_brightness, _color_transform, _contrast, _rotate, _sharpness, _shear, _translate))
