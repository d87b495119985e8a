"""The order of an image's axes and channels, and the kind of its array."""
from collections.abc import Sequence
from typing import Literal

import numpy as np
from PIL import Image

from ftcls.registry import TRANSFORMS
from ftcls.utils import ConfigError
from .base import BaseTransform, is_bgr, reverse_channels, uint8_image, with_image
from .color import check_colors

__all__ = ['Collect', 'NumpyToPIL', 'PILToNumpy', 'ToNumpy', 'ToPIL', 'Transpose']


@TRANSFORMS.register_module()
class Transpose(BaseTransform):
    """Reorder the axes of arrays other than the image, whose channels PackInputs puts first.

    - reads: the ``keys``
    - changes: the ``keys``
    - adds, removes: nothing

    Args:
        keys: Of the arrays.
        order: The axes in their new order.

    Raises:
        ConfigError: If ``img`` is one of the keys.
    """

    def __init__(self, keys: Sequence[str], order: Sequence[int]) -> None:
        if 'img' in keys:
            raise ConfigError(f'Transpose: {keys=}: PackInputs puts the channels of img first; remove img')
        self.keys, self.order, self.REQUIRED_KEYS = keys, order, tuple(keys)

    def transform(self, results: dict) -> dict:
        """Reorder the axes."""
        return {**results, **{key: np.ascontiguousarray(results[key].transpose(self.order)) for key in self.keys}}


@TRANSFORMS.register_module(name=['NumpyToPIL', 'ToPIL'])
class NumpyToPIL(BaseTransform):
    """Turn the image into one of Pillow, for transforms of your own or of torchvision; then put PILToNumpy.

    - reads: ``img`` (uint8, of 1 or 3 channels), ``channel_order`` ('bgr' if absent)
    - changes: ``img``; with ``to_rgb`` also ``channel_order``
    - adds, removes: nothing

    Args:
        to_rgb: Turn a BGR image into RGB first.

    Raises:
        ConfigError: If there is a mask, which transforms of Pillow's images would not move.
    """

    def __init__(self, to_rgb: bool = False) -> None:
        self.to_rgb = to_rgb

    def transform(self, results: dict) -> dict:
        """Turn the image into one of Pillow."""
        img = uint8_image(results, 'NumpyToPIL')
        check_colors('NumpyToPIL', img.shape[2])
        if results.get('gt_mask') is not None:
            raise ConfigError('NumpyToPIL: the sample has a mask, which Pillow does not move; remove it and PILToNumpy')
        if self.to_rgb and is_bgr(results):
            img, results['channel_order'] = reverse_channels(img), 'rgb'
        results['img'] = Image.fromarray(img.squeeze(2) if img.shape[2] == 1 else img)
        return results


@TRANSFORMS.register_module(name=['PILToNumpy', 'ToNumpy'])
class PILToNumpy(BaseTransform):
    """Turn an image of Pillow into an array (H, W, C).

    - reads: ``img``, ``channel_order`` ('bgr' if absent)
    - changes: ``img``; with ``to_bgr`` also ``channel_order``
    - adds: ``img_shape``
    - removes: nothing

    Args:
        to_bgr: Turn an RGB image into BGR.
        dtype: 'uint8' or None: the data preprocessor makes floats.
    """

    def __init__(self, to_bgr: bool = False, dtype: Literal['uint8'] | None = None) -> None:
        self.to_bgr, self.dtype = to_bgr, dtype

    def transform(self, results: dict) -> dict:
        """Turn the image into an array."""
        img = np.atleast_3d(results['img'])
        if self.to_bgr and img.shape[2] == 3 and results.get('channel_order') == 'rgb':
            img, results['channel_order'] = reverse_channels(img), 'bgr'
        return with_image(results, img)


@TRANSFORMS.register_module()
class Collect(BaseTransform):
    """Keep some keys; ``channel_order`` and ``img_norm_cfg`` stay, because the data preprocessor needs them.

    - reads: the ``keys``
    - changes, adds: nothing
    - removes: all other keys

    Args:
        keys: What to keep.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self.keys, self.REQUIRED_KEYS = keys, tuple(keys)

    def transform(self, results: dict) -> dict:
        """Keep the keys."""
        return {key: results[key] for key in (*self.keys, 'channel_order', 'img_norm_cfg') if key in results}


ToPIL, ToNumpy = NumpyToPIL, PILToNumpy  # mmpretrain's other names of them
