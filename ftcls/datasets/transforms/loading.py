"""Reading images."""
import contextlib
import io
import os
import warnings
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from PIL import Image, ImageOps

from ftcls.registry import TRANSFORMS
from ftcls.utils import DataError, MissingFileError
from .base import BaseTransform, with_image
from .image_ops import Backend

__all__ = ['LoadImageFromFile']

_COLOR_TYPES = {
    'color': cv2.IMREAD_COLOR,
    'grayscale': cv2.IMREAD_GRAYSCALE,
    'unchanged': cv2.IMREAD_UNCHANGED,
    'color_ignore_orientation': cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION,
    'grayscale_ignore_orientation': cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION,
}


@TRANSFORMS.register_module()
class LoadImageFromFile(BaseTransform):
    """Read an image from a file, as (H, W, C) in BGR order.

    Whatever the file contains (16 bits, a palette, CMYK, transparency, a GIF's first frame), 'color' gives three
    channels of uint8; transparency is dropped. The orientation that a camera wrote into the file is applied. What
    OpenCV cannot read is read by Pillow. A file that is cut off is an error, not an image with a grey half.

    - reads: ``img_path``
    - adds: ``img``, ``img_shape``, ``ori_shape`` (both (H, W)), ``channel_order`` ('bgr')
    - removes: nothing

    Args:
        to_float32: Give float32 (still 0 to 255) instead of uint8.
        color_type: 'color', 'grayscale' (H, W, 1), 'unchanged' (as stored: channels, bit depth), or the first two with
            ``_ignore_orientation``.
        imdecode_backend: The two decode JPEG with differences of a few grey levels.
        ignore_empty: Skip an image that cannot be read (the dataset then takes another) instead of stopping.

    Raises:
        MissingFileError: If the file does not exist.
        DataError: If it cannot be read as an image.
    """

    REQUIRED_KEYS = ('img_path', )

    def __init__(self,
                 to_float32: bool = False,
                 color_type: Literal['color', 'grayscale', 'unchanged', 'color_ignore_orientation',
                                     'grayscale_ignore_orientation'] = 'color',
                 imdecode_backend: Backend = 'cv2',
                 ignore_empty: bool = False) -> None:
        self.to_float32, self.color_type = to_float32, color_type
        self.imdecode_backend, self.ignore_empty = imdecode_backend, ignore_empty

    def transform(self, results: dict) -> dict | None:
        """Read the image at ``img_path``."""
        path = os.fspath(results['img_path'])
        try:
            img = self._decode(self._read(path), path)
        except (DataError, MissingFileError):
            if self.ignore_empty:
                return None
            raise
        if self.to_float32:
            img = img.astype(np.float32)
        results['channel_order'] = 'bgr'
        results['ori_shape'] = img.shape[:2]
        return with_image(results, img)

    @staticmethod
    def _read(path: str) -> bytes:
        """Return the file's bytes; Python opens names outside ASCII, which OpenCV does not."""
        try:
            data = Path(path).read_bytes()
        except FileNotFoundError as err:
            raise MissingFileError(f'no image at {path}; check data_root, data_prefix and ann_file') from err
        except OSError as err:
            raise DataError(f'cannot read the image {path}: {err.strerror}') from err
        if not data:
            raise DataError(f'the image {path} is empty (0 bytes); replace or remove it')
        return data

    def _decode(self, data: bytes, path: str) -> np.ndarray:
        """Return (H, W, C), from OpenCV if it can read the file, else from Pillow."""
        img = None
        # Pillow reads GIF, because which frame OpenCV gives, if any, depends on its version.
        if self.imdecode_backend == 'cv2' and not data.startswith(b'GIF8'):
            if not _is_complete(data):
                _decode_pillow(data, path, self.color_type)  # raises if the image is cut off
            with contextlib.suppress(cv2.error):
                img = cv2.imdecode(np.frombuffer(data, np.uint8), _COLOR_TYPES[self.color_type])
        if img is None:
            img = _decode_pillow(data, path, self.color_type)
        return np.atleast_3d(img)


def _is_complete(data: bytes) -> bool:
    """Tell whether a JPEG or PNG has its end mark; other kinds are left to the decoder.

    If not, the file may be cut off; OpenCV 4 fills the missing part with grey without an error, Pillow raises one.
    """
    if data.startswith(b'\xff\xd8'):
        return data.rstrip(b'\x00\r\n ').endswith(b'\xff\xd9')
    return not data.startswith(b'\x89PNG') or b'IEND' in data[-64:]


def _decode_pillow(data: bytes, path: str, color_type: str) -> np.ndarray:
    """Read the first frame with Pillow: (H, W, 3) in BGR order, (H, W), or as stored."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # about odd metadata and large images
            with Image.open(io.BytesIO(data)) as img:
                img.load()
                if not color_type.endswith('ignore_orientation') and color_type != 'unchanged':
                    img = ImageOps.exif_transpose(img)
                return _as_array(img, color_type)
    except Image.DecompressionBombError as err:
        raise DataError(f'the image {path} is too large: {err}; make it smaller') from err
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError) as err:
        reason = 'not an image of a known kind' if 'BytesIO' in str(err) else err
        raise DataError(
            f'cannot read the image {path}: {reason}; it is broken or cut off: replace or remove it') from err


def _as_array(img: Image.Image, color_type: str) -> np.ndarray:
    """Convert Pillow's image to the array that OpenCV would give."""
    if color_type == 'unchanged':
        array = np.asarray(img)
        if array.ndim == 3 and array.shape[2] >= 3:
            array = np.concatenate([array[..., 2::-1], array[..., 3:]], axis=2)
        return np.ascontiguousarray(array)
    if img.mode.startswith('I') or img.mode == 'F':  # more than 8 bits: Pillow itself would clip them at 255
        array = np.asarray(img).astype(np.float64)
        if img.mode.startswith('I') and array.max() > 255:
            array = array // 256
        img = Image.fromarray(np.clip(array, 0, 255).astype(np.uint8))
    if 'transparency' in img.info and img.mode == 'P':
        img = img.convert('RGBA')
    if color_type.startswith('grayscale'):
        return np.asarray(img.convert('L'))
    return np.ascontiguousarray(np.asarray(img.convert('RGB'))[..., ::-1])
