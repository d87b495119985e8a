"""Reading images."""
import os
import stat
from collections.abc import Callable, Sequence
from typing import Literal

import cv2
import numpy as np
from mmengine.dataset import Compose
from PIL import Image

from ftcls.registry import TRANSFORMS
from ftcls.utils import ConfigError, DataError, MissingFileError
from ..headers import check_image
from .base import BaseTransform, reverse_channels, with_image
from .decoder_errors import noted_errors
from .decoding import StoredImage, decode_opencv, decode_planned, is_plain, read_stored
from .image_ops import Backend
from .mask_loading import LoadAnnotations
from .resizing import ResizingStep

__all__ = ['LoadImageFromFile', 'Pipeline', 'check_finite', 'next_step', 'suggest_range']

_AS_STORED = cv2.IMREAD_IGNORE_ORIENTATION
_COLOR_TYPES = dict(color=cv2.IMREAD_COLOR, grayscale=cv2.IMREAD_GRAYSCALE)
_COLOR_TYPES |= {f'{kind}_ignore_orientation': flags | _AS_STORED for kind, flags in _COLOR_TYPES.items()}
_GROUNDS = dict(white=255, black=0)


def _read_bytes(path: str) -> bytes:
    """Return the file's bytes; Python opens names outside ASCII, which OpenCV does not."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would be waited for
            raise DataError(f'cannot read the image {path}: it is a folder, or not a regular file')
        with open(path, 'rb') as file:
            data = file.read()
    except FileNotFoundError as err:
        raise MissingFileError(f'no image at {path}; check data_root, data_prefix and ann_file') from err
    except OSError as err:
        raise DataError(f'cannot read the image {path}: {err.strerror}') from err
    if not data:
        raise DataError(f'the image {path} is empty (0 bytes); replace or remove it')
    return data


@TRANSFORMS.register_module()
class LoadImageFromFile(BaseTransform):
    """Read an image from a file, as (H, W, C) in BGR order.

    A palette, CMYK and grey become BGR; of several pages or frames the first is read. The orientation that a camera
    wrote into the file is applied. What OpenCV cannot read is read by Pillow, NumPy (``.npy``) or tifffile (many
    channels). A file that is cut off is an error, not an image with a grey half.

    - reads: ``img_path``
    - adds: ``img``, ``img_shape``, ``ori_shape`` (both (H, W)), ``channel_order`` ('bgr'; 'rgb' if there are 2 or more
      than 4 channels, in the file's order)
    - removes: nothing

    Args:
        to_float32: Give float32 (still 0 to 255) instead of uint8.
        color_type: 'color', 'grayscale' (H, W, 1), 'unchanged' (as stored: channels, bit depth), or the first two with
            ``_ignore_orientation``, which drop a fourth channel that is not alpha.
        imdecode_backend: The two decode JPEG with differences of a few grey levels.
        ignore_empty: Skip an image that cannot be read (the dataset then takes another) instead of stopping.
        value_range: The stored values that become 0 and 255; values outside are clipped. Needed for more than 8 bits,
            except by 'unchanged', which without it gives the stored values.
        alpha: What transparent pixels show: 'white' or 'black' ground; 'drop': the colour beneath; 'keep': alpha is
            the last channel, 255 in images without.
        reduce: Decode a JPEG only as far as the step that follows needs it, if that is :class:`RandomResizedCrop`,
            :class:`Resize` or :class:`ResizeEdge`, perhaps after :class:`LoadAnnotations`: at 1/2, 1/4 or 1/8 of its
            size where its part of the image still has at least the pixels of the result (unless it is to be 'nearest'),
            and without the rows below that part.

    Raises:
        MissingFileError: If the file does not exist.
        DataError: If it cannot be read as an image, or ``value_range`` is missing or not for such values.
    """

    REQUIRED_KEYS = ('img_path', )

    def __init__(self,
                 to_float32: bool = False,
                 color_type: Literal['color', 'grayscale', 'unchanged', 'color_ignore_orientation',
                                     'grayscale_ignore_orientation'] = 'color',
                 imdecode_backend: Backend = 'cv2',
                 ignore_empty: bool = False,
                 value_range: tuple[float, float] | None = None,
                 alpha: Literal['white', 'black', 'drop', 'keep'] = 'white',
                 reduce: bool = True) -> None:
        if value_range is not None and value_range[0] >= value_range[1]:
            raise ConfigError(f'value_range={tuple(value_range)}: the first number must be below the second')
        if color_type == 'unchanged' and alpha in ('black', 'drop'):
            raise ConfigError(f"alpha={alpha!r}: color_type='unchanged' keeps alpha as a channel; set "
                              "color_type='color', or remove alpha")
        self.to_float32, self.color_type = to_float32, color_type
        self.imdecode_backend, self.ignore_empty = imdecode_backend, ignore_empty
        self.value_range, self.alpha, self.reduce = value_range, alpha, reduce
        self._may_reduce = reduce and imdecode_backend == 'cv2' and color_type in _COLOR_TYPES

    def transform(self, results: dict) -> dict | None:
        """Read the image at ``img_path``."""
        path, step = os.fspath(results['img_path']), results.pop('next_step', None)
        try:
            stored = self.read(path) if step is None else self.read(path, step)
            img = self.convert(stored, path)
        except (DataError, MissingFileError):
            if self.ignore_empty:
                return None
            raise
        results = self.with_loaded(results, img)
        if stored.plan is not None:
            results.update(plan=stored.plan, ori_shape=stored.plan.whole, img_shape=stored.plan.whole)
        return results

    @staticmethod
    def with_loaded(results: dict, img: np.ndarray) -> dict:
        """Put an image that :meth:`convert` gave into the sample."""
        results['channel_order'] = 'bgr' if img.shape[2] in (1, 3, 4) else 'rgb'
        results['ori_shape'] = img.shape[:2]
        return with_image(results, img)

    def read(self, path: str, step: ResizingStep | None = None) -> StoredImage:
        """Return what a file holds, upright; files of 8 bits without alpha already as ``color_type`` asks.

        Args:
            path: The file.
            step: What comes next, if only the pixels that it needs are to be decoded.
        """
        data = _read_bytes(path)
        img = check_image(data, path)
        plain = is_plain(data, img)
        # Pillow 13 mixes up the rows of some TIFFs that are stored on their side
        with_opencv = self.imdecode_backend == 'cv2' or data[:2] in (b'II', b'MM')
        is_direct = with_opencv and plain and self.color_type in _COLOR_TYPES
        if step is not None and is_direct and img.format in ('JPEG', 'MPO') and img.mode in ('RGB', 'L'):
            stored = decode_planned(data, img, path, _COLOR_TYPES[self.color_type], step)
            if stored is not None:
                return stored
        with noted_errors(path):
            if is_direct:
                array = decode_opencv(data, _COLOR_TYPES[self.color_type])
                if array is not None:
                    return StoredImage(array)
            stored = read_stored(data, img, path, prefer_pillow=plain and not with_opencv)
        return stored.upright() if self.color_type in ('color', 'grayscale') else stored

    def convert(self, stored: StoredImage, name: str) -> np.ndarray:
        """Return the image (H, W, C) that the arguments ask for."""
        img, opacity = self._scale(stored.pixels, name), stored.opacity
        channels = img.shape[2]
        if self.color_type == 'unchanged':
            if stored.alpha is not None:
                img = np.dstack([img, stored.alpha if img.dtype == stored.alpha.dtype else opacity])
        elif channels not in (1, 3, 4):
            raise DataError(f"the image {name} has {channels} channels; for all of them set color_type='unchanged' in "
                            f'LoadImageFromFile, in_channels={channels} and {channels} values in mean and std')
        else:
            img = self._to_channels(img[..., :3], opacity)
        return img.astype(np.float32) if self.to_float32 else img

    def _scale(self, img: np.ndarray, name: str) -> np.ndarray:
        """Map ``value_range`` to 0 to 255; return uint8, or the stored values for 'unchanged'."""
        is_8_bit = img.dtype == np.uint8
        if not is_8_bit:
            check_finite(img, name)
        if self.value_range is None and (is_8_bit or self.color_type == 'unchanged'):
            return img
        if self.value_range is None:
            found, fit = f'{img.dtype} of {img.min():g} to {img.max():g}', suggest_range(img.min(), img.max())
            raise DataError(f'the image {name} holds {found}, the network takes 0 to 255: set value_range={fit} in '
                            'LoadImageFromFile, or save the image with 8 bits')
        low, high = self.value_range
        if is_8_bit and high > 255:
            raise DataError(f'the image {name} has 8 bits, value_range={self.value_range} is for more; keep images of '
                            'one kind in a dataset')
        wide = img.astype(np.float64 if img.dtype.itemsize > 2 else np.float32)
        return np.clip((wide - low) * (255 / (high - low)), 0, 255).round().astype(np.uint8)

    def _to_channels(self, img: np.ndarray, opacity: np.ndarray | None) -> np.ndarray:
        """Turn uint8 grey or BGR into what ``color_type`` and ``alpha`` ask for."""
        if opacity is not None and self.alpha in _GROUNDS and opacity.min() < 255:
            share = opacity[..., np.newaxis].astype(np.uint16)
            img = ((img * share + _GROUNDS[self.alpha] * (255 - share) + 127) // 255).astype(np.uint8)
        if self.color_type.startswith('color') and img.shape[2] == 1:
            img = np.repeat(img, 3, axis=2)
        elif self.color_type.startswith('grayscale') and img.shape[2] == 3:
            img = np.atleast_3d(np.asarray(Image.fromarray(reverse_channels(img)).convert('L')))
        if self.alpha != 'keep':
            return img
        return np.dstack([img, np.full(img.shape[:2], 255, np.uint8) if opacity is None else opacity])


def next_step(steps: Sequence[Callable]) -> ResizingStep | None:
    """Return the step of a pipeline for which the first one may read the images smaller; None if there is none.

    Masks may be read between the two. Subclasses that do something else in ``transform`` get the whole image.
    """
    if not steps or type(steps[0]) is not LoadImageFromFile or not steps[0]._may_reduce:
        return None
    step = next((one for one in steps[1:] if not isinstance(one, LoadAnnotations)), None)
    if getattr(type(step), 'transform', None) is not ResizingStep.transform or step.interpolation == 'nearest':
        return None
    return step


class Pipeline(Compose):
    """MMEngine's, in which the step that reads the images knows what the next one needs of them."""

    def __call__(self, data: dict) -> dict | None:
        """Return the sample as the steps leave it; None if one of them skips it."""
        step = next_step(self.transforms)
        return super().__call__(data if step is None else {**data, 'next_step': step})


def check_finite(img: np.ndarray, name: str) -> None:
    """Raise a DataError if values are NaN or infinite."""
    share = 1 - np.isfinite(img).mean()
    if share:
        raise DataError(f'the image {name} has NaN or infinity in {share:.1%} of its values; replace them')


def suggest_range(low: float, high: float) -> tuple[float, float]:
    """Return the ``value_range`` that images with values from ``low`` to ``high`` probably have.

    Example:
        >>> suggest_range(3, 4003), suggest_range(0.1, 0.9)
        ((0, 4095), (0, 1))
    """
    if low < 0:
        return int(np.floor(low)), int(np.ceil(high))
    return 0, next((bound for bound in (1, 255, 1023, 4095, 16383, 65535) if high <= bound), int(np.ceil(high)))
