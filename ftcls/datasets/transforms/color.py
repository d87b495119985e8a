"""Changes of colour."""
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
import torch
from annotated_types import Interval
from PIL import Image

from ftcls.registry import TRANSFORMS
from ftcls.utils import ConfigError, DataError
from ftcls.utils.types import NonNegativeFloat, PositiveFloat, Probability
from .base import BaseTransform, check_order, in_rgb, is_bgr, reverse_channels, uint8_image, with_image

__all__ = ['ColorJitter', 'Lighting', 'Normalize', 'RandomGrayscale']

_Factor = NonNegativeFloat | tuple[NonNegativeFloat, NonNegativeFloat]
_Shift = Annotated[float, Interval(ge=-0.5, le=0.5)]


def check_colors(name: str, channels: int) -> None:
    """Raise a DataError unless images are grey or RGB."""
    if channels not in (1, 3):
        raise DataError(f'{name} takes images of 1 or 3 channels, got {channels}; remove it')


def _as_range(value: float | Sequence[float], neutral: float) -> tuple[float, float]:
    """Return (least, greatest)."""
    if isinstance(value, Sequence):
        return tuple(map(float, value))
    least = max(neutral - value, 0.) if neutral else -value
    return float(least), float(neutral + value)


@TRANSFORMS.register_module()
class ColorJitter(BaseTransform):
    """Change brightness, contrast, saturation and hue at random, in random order.

    - reads: ``img`` (uint8), ``channel_order`` ('bgr' if absent)
    - changes: ``img``
    - adds: ``img_shape``
    - removes: nothing

    Args:
        brightness: A factor is drawn from ``[max(0, 1 - brightness), 1 + brightness]``, or from the given (min, max).
        contrast: As ``brightness``.
        saturation: As ``brightness``; no effect on grey images.
        hue: A shift is drawn from ``[-hue, hue]`` or the given (min, max), in turns of the colour circle.
        backend: 'pillow'; 'cv2' is accepted, and gives Pillow's result too.
    """

    def __init__(self,
                 brightness: _Factor = 0.,
                 contrast: _Factor = 0.,
                 saturation: _Factor = 0.,
                 hue: Annotated[float, Interval(ge=0, le=0.5)] | tuple[_Shift, _Shift] = 0.,
                 backend: Literal['pillow', 'cv2'] = 'pillow') -> None:
        self.brightness = _as_range(brightness, 1.)
        self.contrast = _as_range(contrast, 1.)
        self.saturation = _as_range(saturation, 1.)
        self.hue = _as_range(hue, 0.)
        self.backend = backend
        check_order(brightness=self.brightness, contrast=self.contrast, saturation=self.saturation, hue=self.hue)

    def transform(self, results: dict) -> dict:
        """Jitter the image."""
        check_colors('ColorJitter', uint8_image(results, 'ColorJitter').shape[2])
        return with_image(results, in_rgb(results, self._jitter_array))

    def _jitter_array(self, img: np.ndarray) -> np.ndarray:
        plane = img[..., 0] if img.shape[2] == 1 else img
        return np.array(self.jitter(Image.fromarray(plane))).reshape(img.shape)

    def jitter(self, image: Image.Image | torch.Tensor) -> Image.Image | torch.Tensor:
        """Return a PIL image, or a tensor (C, H, W) uint8, RGB or grey, jittered by a new draw."""
        from torchvision.transforms.v2 import functional as F  # here, because importing torchvision takes a second

        for step in np.random.permutation(4):
            name = ('brightness', 'contrast', 'saturation', 'hue')[step]
            low, high = getattr(self, name)
            if low == high == {'hue': 0.}.get(name, 1.):
                continue
            image = getattr(F, f'adjust_{name}')(image, float(np.random.uniform(low, high)))
        return image


@TRANSFORMS.register_module()
class RandomGrayscale(BaseTransform):
    """Turn the image grey with some probability.

    - reads: ``img``, ``channel_order`` ('bgr' if absent)
    - changes: ``img``
    - adds: ``img_shape``
    - removes: nothing

    Args:
        prob: Probability.
        keep_channels: Keep the number of channels, all alike; otherwise a grey image has one, and ``prob`` must be 1
            for the images of a batch to have the same shape.
        channel_weights: Share of each channel in the grey value, scaled to sum to 1.
        color_format: Order of ``channel_weights``; the sample's own order is respected.
    """

    def __init__(self,
                 prob: Probability = 0.1,
                 keep_channels: bool = False,
                 channel_weights: tuple[NonNegativeFloat, NonNegativeFloat, NonNegativeFloat] = (1., 1., 1.),
                 color_format: Literal['bgr', 'rgb'] = 'bgr') -> None:
        if not any(channel_weights):
            raise ConfigError(f'channel_weights={channel_weights!r}: at least one must be above 0')
        self.prob, self.keep_channels = prob, keep_channels
        self.channel_weights, self.color_format = tuple(channel_weights), color_format

    def transform(self, results: dict) -> dict:
        """Turn the image grey, or not."""
        img = results['img']
        if np.random.rand() >= self.prob or img.shape[2] == 1:
            return with_image(results, img)
        check_colors('RandomGrayscale', img.shape[2])
        weights = np.asarray(self.channel_weights, np.float64) / sum(self.channel_weights)
        if results.get('channel_order', 'bgr') != self.color_format:
            weights = weights[::-1]
        grey = img @ weights
        if np.issubdtype(img.dtype, np.integer):
            grey = np.rint(grey)
        grey = grey.astype(img.dtype)[..., np.newaxis]
        if self.keep_channels:
            grey = np.repeat(grey, img.shape[2], axis=2)
        return with_image(results, grey)


@TRANSFORMS.register_module()
class Normalize(BaseTransform):
    """Subtract the mean and divide by the standard deviation, as float32.

    The data preprocessor does this on the device; use one of the two. It refuses samples that were normalised here.

    - reads: ``img``, ``channel_order`` ('bgr' if absent)
    - changes: ``img``, ``channel_order`` ('rgb' after ``to_rgb``)
    - adds: ``img_norm_cfg`` (mean, std, to_rgb), ``img_shape``
    - removes: nothing

    Args:
        mean: One number per channel, in the order of the result, on the scale of the pixels (0 to 255).
        std: One number per channel.
        to_rgb: Turn a BGR image into RGB first.

    Raises:
        ConfigError: If the sample is normalised already, or has another number of channels.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[PositiveFloat], to_rgb: bool = True) -> None:
        if len(mean) != len(std):
            raise ConfigError(f'Normalize(mean={mean!r}, std={std!r}): both need one number per channel')
        self.mean, self.std, self.to_rgb = np.array(mean, np.float32), np.array(std, np.float32), to_rgb

    def transform(self, results: dict) -> dict:
        """Normalise the image."""
        img = results['img']
        if 'img_norm_cfg' in results:
            raise ConfigError('Normalize is twice in the pipeline; remove one')
        if img.shape[2] != len(self.mean):
            raise ConfigError(f'Normalize has {len(self.mean)} means, the image has {img.shape[2]} channels')
        img = img.astype(np.float32)
        if self.to_rgb and is_bgr(results):
            img, results['channel_order'] = reverse_channels(img), 'rgb'
        results['img_norm_cfg'] = {'mean': self.mean, 'std': self.std, 'to_rgb': self.to_rgb}
        return with_image(results, np.ascontiguousarray((img - self.mean) / self.std))


@TRANSFORMS.register_module()
class Lighting(BaseTransform):
    """Shift the colour of the whole image along the principal axes of the pixels' colours.

    Krizhevsky et al., `ImageNet Classification with Deep Convolutional Neural Networks
    <https://papers.nips.cc/paper/4824-imagenet-classification-with-deep-convolutional-neural-networks>`_, section 4.1.

    - reads: ``img`` (uint8), ``channel_order`` ('bgr' if absent)
    - changes: ``img``; with ``to_rgb`` also ``channel_order``
    - adds: ``img_shape``
    - removes: nothing

    Args:
        eigval: Standard deviation of the colours along each axis, in the unit of the pixels, 0 to 255: K numbers.
        eigvec: The axes as columns: for each channel, in the image's order, K numbers.
        alphastd: The shift along each axis is ``eigval`` times a number drawn with this standard deviation.
        to_rgb: Turn the image into RGB first, the order of ``eigvec``, and leave it so.

    Raises:
        ConfigError: If the lengths do not match.
    """

    def __init__(self,
                 eigval: Sequence[float],
                 eigvec: Sequence[Sequence[float]],
                 alphastd: NonNegativeFloat = 0.1,
                 to_rgb: bool = False) -> None:
        if not eigvec or any(len(row) != len(eigval) for row in eigvec):
            raise ConfigError(f'Lighting: {eigval=}, {eigvec=}: eigvec needs one row per channel, as long as eigval')
        self.eigval, self.eigvec = np.asarray(eigval, np.float64), np.asarray(eigvec, np.float64)
        self.alphastd, self.to_rgb = alphastd, to_rgb

    def transform(self, results: dict) -> dict:
        """Shift the colour."""
        img = uint8_image(results, 'Lighting')
        if img.shape[2] != len(self.eigvec):
            raise DataError(f'Lighting: eigvec has {len(self.eigvec)} rows, the image {img.shape[2]} channels')
        if self.to_rgb:
            if is_bgr(results):
                img = img[..., ::-1]
            results['channel_order'] = 'rgb'
        shift = self.eigvec @ (self.eigval * np.random.normal(0, self.alphastd, len(self.eigval)))
        return with_image(results, np.clip(np.rint(img + shift), 0, 255).astype(np.uint8))
