"""The base of all transforms, and what they share."""
from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np

from ftcls.utils import ConfigError, DataError
from ftcls.utils.arguments import own_arguments

__all__ = [
    'BaseTransform', 'IGNORED', 'as_pair', 'brief_repr', 'changed_arguments', 'check_order', 'in_rgb', 'is_bgr',
    'reverse_channels', 'uint8_image', 'with_image'
]

IGNORED = 255  #: The value of mask pixels without an image (padding, erased parts), left out by losses and metrics.


class BaseTransform(metaclass=ABCMeta):
    """One step of a pipeline: a dict in, a dict out; the dict that came in is not changed.

    A subclass defines :meth:`transform`, which may change the (shallow) copy that it gets, but not the arrays in it.
    Random steps draw from NumPy's or torch's global generator, which MMEngine seeds in each worker.
    """

    REQUIRED_KEYS: ClassVar[tuple[str, ...]] = ('img', )  #: Keys that must be in the sample.

    def __call__(self, results: dict) -> dict | None:
        """Return the transformed sample, or None if the sample is to be skipped.

        Raises:
            ConfigError: If a key that this step reads is not in the sample.
        """
        missing = [key for key in self.REQUIRED_KEYS if key not in results]
        if missing and type(self).__module__.startswith('ftcls.'):
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


def changed_arguments(step: object) -> dict:
    """Return the arguments of a step, by the attributes of the same names, that are not the defaults."""
    values = {name: getattr(step, name, one.default) for name, one in own_arguments(type(step)).items()}
    return {name: value for name, value in values.items() if value != own_arguments(type(step))[name].default}


def brief_repr(step: object) -> str:
    """Return the name of a step and its arguments that are not the defaults."""
    return f'{type(step).__name__}({", ".join(f"{name}={value!r}" for name, value in changed_arguments(step).items())})'


def with_image(results: dict, img: np.ndarray, move_mask: Callable[[np.ndarray], np.ndarray] | None = None) -> dict:
    """Put a new image into the sample, with its ``img_shape`` (H, W); apply ``move_mask`` to a mask."""
    results['img'] = img
    results['img_shape'] = img.shape[:2]
    if move_mask is not None and results.get('gt_mask') is not None:
        results['gt_mask'] = move_mask(results['gt_mask'])
    return results


def is_bgr(results: dict) -> bool:
    """Tell whether the sample's image has three or four channels, of which the first are in BGR order."""
    return results['img'].shape[2] in (3, 4) and results.get('channel_order', 'bgr') == 'bgr'


def reverse_channels(img: np.ndarray) -> np.ndarray:
    """Turn BGR (H, W, 3) into RGB, or back, as a contiguous array; a fourth channel stays the last."""
    return np.ascontiguousarray(img[..., ::-1] if img.shape[2] == 3 else img[..., [2, 1, 0, 3]])


def in_rgb(results: dict, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return what ``change`` makes of the image; it sees the channels as RGB, whatever their order in the sample."""
    if not is_bgr(results):
        return change(results['img'])
    img = change(reverse_channels(results['img']))
    return reverse_channels(img) if img.shape[2] in (3, 4) else img


def as_pair(value: float | Sequence[float]) -> tuple:
    """Return two numbers from one or two."""
    return tuple(value) if isinstance(value, Sequence) else (value, value)


def check_order(**ranges: Sequence[float]) -> None:
    """Raise a ConfigError if the first number of a range is above the second; the key is the argument's name."""
    for name, (least, greatest) in ranges.items():
        if least > greatest:
            raise ConfigError(f'{name}=({least}, {greatest}): the first number must not be above the second')


def uint8_image(results: dict, name: str) -> np.ndarray:
    """Return the sample's image (H, W, C) of uint8; otherwise raise a DataError that names the transform."""
    img = results['img']
    if img.dtype != np.uint8 or img.ndim != 3:
        raise DataError(f'{name} takes uint8 images (H, W, C), got {img.dtype} {img.shape}; put it before Normalize, '
                        'and load without to_float32')
    return img
