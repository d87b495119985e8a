"""Changes of colour."""
from collections.abc import Sequence

import numpy as np
from PIL import Image
from torchvision.transforms.v2 import functional as F

from ftcls.registry import TRANSFORMS
from ftcls.utils import ConfigError, DataError
from .base import BaseTransform, choice_of, probability, uint8_image, with_image

__all__ = ['ColorJitter', 'Lighting', 'Normalize', 'RandomGrayscale']


@TRANSFORMS.register_module()
class ColorJitter(BaseTransform):
    """Change brightness, contrast, saturation and hue at random, in random order.

    - reads: ``img`` (uint8), ``channel_order`` ('bgr' where absent)
    - changes: ``img``
    - adds: ``img_shape``
    - removes: nothing

    Args:
        brightness: A factor is drawn from ``[max(0, 1 - brightness), 1 + brightness]``, or from the given (min, max).
        contrast: As ``brightness``.
        saturation: As ``brightness``; no effect on grey pictures.
        hue: A shift is drawn from ``[-hue, hue]`` or the given (min, max), in turns of the colour circle: within
            [-0.5, 0.5].
        backend: 'pillow', the only one.
    """

    def __init__(self,
                 brightness: float | Sequence[float] = 0.,
                 contrast: float | Sequence[float] = 0.,
                 saturation: float | Sequence[float] = 0.,
                 hue: float | Sequence[float] = 0.,
                 backend: str = 'pillow') -> None:
        self.brightness = self._range(brightness, 'brightness', 1., (0., float('inf')))
        self.contrast = self._range(contrast, 'contrast', 1., (0., float('inf')))
        self.saturation = self._range(saturation, 'saturation', 1., (0., float('inf')))
        self.hue = self._range(hue, 'hue', 0., (-0.5, 0.5))
        self.backend = choice_of(backend, ('pillow', ), 'backend')

    @staticmethod
    def _range(value: float | Sequence[float], name: str, middle: float, bounds: tuple[float,
                                                                                       float]) -> tuple[float, float]:
        """Return (least, greatest)."""
        if isinstance(value, (int, float)):
            low, high = middle - value, middle + value
            low = max(low, 0.) if middle else low
            valid = value >= 0
        else:
            low, high = value
            valid = low <= high
        if not valid or low < bounds[0] or high > bounds[1]:
            raise ConfigError(f'{name}={value!r}: expected a number, 0 or more, or (least, greatest), '
                              f'within [{bounds[0]}, {bounds[1]}]')
        return float(low), float(high)

    def transform(self, results: dict) -> dict:
        """Jitter the image."""
        img = uint8_image(results, 'ColorJitter')
        if img.shape[2] not in (1, 3):
            raise DataError(f'ColorJitter takes images of 1 or 3 channels, got shape {img.shape}')
        flipped = img.shape[2] == 3 and results.get('channel_order', 'bgr') == 'bgr'
        picture = Image.fromarray(img[..., ::-1] if flipped else img if img.shape[2] == 3 else img[..., 0])
        for step in np.random.permutation(4):
            name = ('brightness', 'contrast', 'saturation', 'hue')[step]
            low, high = getattr(self, name)
            if low == high == (0. if name == 'hue' else 1.):
                continue
            picture = getattr(F, f'adjust_{name}')(picture, float(np.random.uniform(low, high)))
        out = np.array(picture).reshape(img.shape)
        return with_image(results, np.ascontiguousarray(out[..., ::-1]) if flipped else out)


@TRANSFORMS.register_module()
class RandomGrayscale(BaseTransform):
    """Turn the picture grey with some probability.

    - reads: ``img``, ``channel_order`` ('bgr' where absent)
    - changes: ``img``
    - adds: ``img_shape``
    - removes: nothing

    Args:
        prob: Probability.
        keep_channels: Keep the number of channels, all alike; otherwise a grey picture has one, and ``prob`` must be 1 for
            the pictures of a batch to fit together.
        channel_weights: Share of each channel in the grey value, made to sum to 1.
        color_format: Order that ``channel_weights`` are given in, 'bgr' or 'rgb'; the sample's own order is heeded.
    """

    def __init__(self,
                 prob: float = 0.1,
                 keep_channels: bool = False,
                 channel_weights: Sequence[float] = (1., 1., 1.),
                 color_format: str = 'bgr') -> None:
        self.prob = probability(prob)
        self.keep_channels = keep_channels
        self.channel_weights = tuple(channel_weights)
        self.color_format = choice_of(color_format, ('bgr', 'rgb'), 'color_format')
        if len(self.channel_weights) != 3 or min(self.channel_weights) < 0 or sum(self.channel_weights) <= 0:
            raise ConfigError(f'channel_weights={channel_weights!r}: expected three numbers, 0 or more, not all 0')

    def transform(self, results: dict) -> dict:
        """Turn the image grey, or not."""
        img = results['img']
        if np.random.rand() >= self.prob or img.shape[2] == 1:
            return with_image(results, img)
        weights = np.asarray(self.channel_weights, np.float64) / sum(self.channel_weights)
        if results.get('channel_order', 'bgr') != self.color_format:
            weights = weights[::-1]
        grey = img @ weights
        grey = (np.rint(grey) if np.issubdtype(img.dtype, np.integer) else grey).astype(img.dtype)[..., np.newaxis]
        return with_image(results, np.repeat(grey, img.shape[2], axis=2) if self.keep_channels else grey)


@TRANSFORMS.register_module()
class Normalize(BaseTransform):
    """Subtract the mean and divide by the standard deviation, as float32.

    The data preprocessor does this on the device; use one of the two. It refuses samples that were normalised here.

    - reads: ``img``, ``channel_order`` ('bgr' where absent)
    - changes: ``img``, ``channel_order`` ('rgb' after ``to_rgb``)
    - adds: ``img_norm_cfg`` (mean, std, to_rgb), ``img_shape``
    - removes: nothing

    Args:
        mean: One number a channel, in the order of the result, on the scale of the pixels (0 to 255).
        std: One number a channel, above 0.
        to_rgb: Give RGB: the channels of a BGR picture are turned round first.

    Raises:
        ConfigError: If the sample is normalised already, or has another number of channels.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], to_rgb: bool = True) -> None:
        self.mean = np.array(mean, dtype=np.float32)
        self.std = np.array(std, dtype=np.float32)
        self.to_rgb = to_rgb
        if self.mean.ndim != 1 or self.mean.shape != self.std.shape or not (self.std > 0).all():
            raise ConfigError(
                f'Normalize(mean={mean!r}, std={std!r}): expected one number a channel in each, std above 0')

    def transform(self, results: dict) -> dict:
        """Normalise the image."""
        img = results['img']
        if 'img_norm_cfg' in results:
            raise ConfigError('Normalize stands twice in the pipeline; remove one')
        if img.shape[2] != len(self.mean):
            raise ConfigError(f'Normalize has {len(self.mean)} means, the image has {img.shape[2]} channels')
        img = img.astype(np.float32)
        if self.to_rgb and img.shape[2] == 3:
            if results.get('channel_order', 'bgr') == 'bgr':
                img = img[..., ::-1]
            results['channel_order'] = 'rgb'
        results['img_norm_cfg'] = {'mean': self.mean, 'std': self.std, 'to_rgb': self.to_rgb}
        return with_image(results, np.ascontiguousarray((img - self.mean) / self.std))


@TRANSFORMS.register_module()
class Lighting(BaseTransform):
    """Shift the colour of the whole picture along the principal axes of the pixels' colours.

    Krizhevsky et al., `ImageNet Classification with Deep Convolutional Neural Networks
    <https://papers.nips.cc/paper/4824-imagenet-classification-with-deep-convolutional-neural-networks>`_, section 4.1.

    - reads: ``img`` (uint8), ``channel_order`` ('bgr' where absent)
    - changes: ``img``; with ``to_rgb`` also ``channel_order``
    - adds: ``img_shape``
    - removes: nothing

    Args:
        eigval: Standard deviation of the colours along each axis, in the unit of the pixels, 0 to 255: K numbers.
        eigvec: The axes as columns: for each channel, in the picture's order, K numbers.
        alphastd: The shift along each axis is ``eigval`` times a number drawn with this standard deviation.
        to_rgb: Turn the picture to RGB before, and leave it so: ``eigvec`` is in that order.

    Raises:
        ConfigError: If the lengths do not fit each other.
    """

    def __init__(self,
                 eigval: Sequence[float],
                 eigvec: Sequence[Sequence[float]],
                 alphastd: float = 0.1,
                 to_rgb: bool = False) -> None:
        if not eigvec or any(len(row) != len(eigval) for row in eigvec):
            raise ConfigError(
                f'Lighting(eigval={eigval!r}, eigvec={eigvec!r}): eigvec has one row a channel, and in it '
                f'one number for each of the {len(eigval)} eigval')
        if alphastd < 0:
            raise ConfigError(f'alphastd={alphastd!r}: must be 0 or more')
        self.eigval = np.asarray(eigval, np.float64)
        self.eigvec = np.asarray(eigvec, np.float64)
        self.alphastd = alphastd
        self.to_rgb = to_rgb

    def transform(self, results: dict) -> dict:
        """Shift the colour."""
        img = uint8_image(results, 'Lighting')
        if img.shape[2] != len(self.eigvec):
            raise DataError(f'Lighting: eigvec has {len(self.eigvec)} rows, the picture {img.shape[2]} channels')
        if self.to_rgb and results.get('channel_order', 'bgr') == 'bgr':
            img = img[..., ::-1]
        if self.to_rgb:
            results['channel_order'] = 'rgb'
        shift = self.eigvec @ (self.eigval * np.random.normal(0, self.alphastd, len(self.eigval)))
        return with_image(results, np.clip(np.rint(img + shift), 0, 255).astype(np.uint8))
