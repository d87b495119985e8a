"""The base of all transforms, and what they share."""
from abc import ABCMeta, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from ftcls.utils import ConfigError, DataError, did_you_mean

__all__ = ['BaseTransform', 'choice_of', 'pair', 'probability', 'uint8_image', 'with_image']


class BaseTransform(metaclass=ABCMeta):
    """One step of a pipeline: a dict in, a dict out; the dict that came in is left as it was.

    A subclass writes :meth:`transform`, which may change the (shallow) copy it is given, but not the arrays in it. Random
    steps draw from NumPy's or torch's global generator, which MMEngine seeds in each worker.
    """

    #: Keys that must be in the sample.
    REQUIRED_KEYS: ClassVar[tuple[str, ...]] = ('img', )

    def __call__(self, results: dict) -> dict | None:
        """Return the transformed sample, or None where the sample is to be passed over.

        Raises:
            ConfigError: If a key that this step reads is not in the sample.
        """
        missing = [key for key in self.REQUIRED_KEYS if key not in results]
        if missing:
            hint = '; put LoadImageFromFile before it' if 'img' in missing else ''
            raise ConfigError(f'{type(self).__name__} needs {missing[0]!r} in the sample, which has '
                              f'{sorted(map(str, results))}{hint}')
        return self.transform(dict(results))

    @abstractmethod
    def transform(self, results: dict) -> dict | None:
        """Return the transformed sample; ``results`` may be changed."""

    def __repr__(self) -> str:
        arguments = ', '.join(f'{key}={value!r}' for key, value in vars(self).items() if not key.startswith('_'))
        return f'{type(self).__name__}({arguments})'


def with_image(results: dict, img: np.ndarray, mask: np.ndarray | None = None) -> dict:
    """Put a new image (and mask) into the sample, with its ``img_shape`` (H, W)."""
    results['img'] = img
    results['img_shape'] = img.shape[:2]
    if mask is not None:
        results['gt_mask'] = mask
    return results


def pair(value: int | Sequence[int], name: str) -> tuple[int, int]:
    """Return two positive ints from one or two.

    Raises:
        ConfigError: If ``value`` is neither; ``name`` is the argument's.
    """
    values = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value, value)
    whole = all(isinstance(v, (int, np.integer)) and not isinstance(v, bool) and v > 0 for v in values)
    if len(values) != 2 or not whole:
        raise ConfigError(f'{name}={value!r}: expected a positive int, or two of them')
    return int(values[0]), int(values[1])


def choice_of(value: Any, allowed: Sequence[str], name: str) -> str:
    """Return ``value`` if it is among ``allowed``; otherwise raise a ConfigError that names the argument."""
    if value not in allowed:
        raise ConfigError(f'{name}={value!r} is none of {", ".join(allowed)}{did_you_mean(str(value), allowed)}')
    return value


def probability(value: float, name: str = 'prob') -> float:
    """Return ``value`` if it lies in [0, 1]; otherwise raise a ConfigError that names the argument."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ConfigError(f'{name}={value!r}: expected a probability between 0 and 1')
    return float(value)


def uint8_image(results: dict, name: str) -> np.ndarray:
    """Return the sample's image (H, W, C) of uint8; otherwise raise a DataError that names the transform."""
    img = results['img']
    if img.dtype != np.uint8 or img.ndim != 3:
        raise DataError(f'{name} takes uint8 images (H, W, C), got {img.dtype} of shape {img.shape}; put it before '
                        'Normalize, and load without to_float32')
    return img


def check_fits(img: np.ndarray, crop_size: tuple[int, int], results: dict, fix: str) -> None:
    """Raise a DataError if a crop (H, W) is larger than the image."""
    height, width = img.shape[:2]
    if crop_size[0] > height or crop_size[1] > width:
        where = results.get('img_path', f'sample {results.get("sample_idx", "")}'.strip())
        raise DataError(
            f'crop_size={crop_size[0]}x{crop_size[1]} (H x W) is larger than the image of {height}x{width}: '
            f'{where}; {fix}')
