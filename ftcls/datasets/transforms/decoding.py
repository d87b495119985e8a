"""From the bytes of a file to what is stored in them: every bit, channel and degree of transparency."""
import contextlib
import io
import warnings
from dataclasses import dataclass, replace

import cv2
import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from ftcls.utils import DataError
from .base import reverse_channels

__all__ = ['StoredImage', 'check_complete', 'from_array', 'from_pillow', 'is_plain', 'read_stored']

_JPEG, _PNG, _NUMPY = b'\xff\xd8', b'\x89PNG', b'\x93NUMPY'
_TIFF = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')
# Numbers of the TIFF tags; that of the orientation is EXIF's too.
_BITS, _PHOTOMETRIC, _ORIENTATION, _SAMPLES, _PLANAR, _EXTRA_SAMPLES, _SAMPLE_FORMAT = 258, 262, 274, 277, 284, 338, 339
_ALPHA = (1, 2)  # kinds of extra samples
_CMYK = 5  # a photometric interpretation
_NOT_READABLE = (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, KeyError, RuntimeError)


@dataclass(frozen=True)
class StoredImage:
    """An image as a file holds it.

    Attributes:
        pixels: (H, W, C) of any dtype: grey, BGR, BGR and another channel, or else the channels in the file's order.
        alpha: (H, W) of any dtype, its greatest value (1 of floats) where nothing shines through; None for no
            transparency.
        orientation: EXIF's, 1 to 8, not applied to ``pixels``.
    """
    pixels: np.ndarray
    alpha: np.ndarray | None = None
    orientation: int = 1

    @property
    def opacity(self) -> np.ndarray | None:
        """``alpha`` as (H, W) uint8; None if there is none."""
        if self.alpha is None or self.alpha.dtype == np.uint8:
            return self.alpha
        most = 1. if self.alpha.dtype.kind == 'f' else np.iinfo(self.alpha.dtype).max
        return np.clip(self.alpha * (255. / most), 0, 255).round().astype(np.uint8)

    def upright(self) -> 'StoredImage':
        """Return the image with its orientation applied."""
        number = self.orientation

        def turn(array: np.ndarray) -> np.ndarray:
            array = array.swapaxes(0, 1) if number >= 5 else array
            array = array[:, ::-1] if number in (2, 3, 6, 7) else array
            return np.ascontiguousarray(array[::-1] if number in (3, 4, 7, 8) else array)

        return StoredImage(turn(self.pixels), None if self.alpha is None else turn(self.alpha))


def check_complete(data: bytes, path: str) -> None:
    """Raise a DataError if a JPEG or PNG is cut off: OpenCV 4 fills the missing part with grey without an error."""
    if data.startswith(_JPEG):
        complete = data.rstrip(b'\x00\r\n ').endswith(b'\xff\xd9')
    else:
        complete = not data.startswith(_PNG) or b'IEND' in data[-64:]
    if not complete:
        open_pillow(data, path)


def is_plain(data: bytes) -> bool:
    """Tell from the header whether a file holds 8 bits of grey or colour only, as nearly all do."""
    if data.startswith(_PNG):
        return data[24:25] <= b'\x08' and data[25:26] in b'\0\2\3' and not _has_colour_key(data)
    if data.startswith(_TIFF):
        tags = _tags(data)
        is_8_bit = max(tags.get(_BITS, (1, ))) <= 8 and max(tags.get(_SAMPLE_FORMAT, (1, ))) == 1
        return is_8_bit and (tags.get(_SAMPLES, 1) in (1, 3) or tags.get(_PHOTOMETRIC) == _CMYK)
    return data.startswith(_JPEG) or (data.startswith(b'BM') and data[28:29] <= b'\x18') or data[12:16] == b'VP8 '


def read_stored(data: bytes, path: str, prefer_pillow: bool = False) -> StoredImage:
    """Decode the first page or frame of a file.

    Raises:
        DataError: If that is not possible.
    """
    if data.startswith(_NUMPY):
        return from_array(_read_numpy(data, path))
    stored, is_tiff = None, data.startswith(_TIFF)
    # Pillow reads GIF, because which frame OpenCV gives depends on its version, and single colours that are transparent
    if not prefer_pillow and not data.startswith(b'GIF8') and not _has_colour_key(data):
        stored = _from_opencv(data)
    if is_tiff and (stored is None or stored.pixels.shape[2] < _tags(data).get(_SAMPLES, 1)):
        stored = _from_tiff(data, path) or stored
    if stored is None:
        return from_pillow(open_pillow(data, path))
    if not is_tiff:  # those OpenCV has turned
        with contextlib.suppress(*_NOT_READABLE), Image.open(io.BytesIO(data)) as img:
            stored = replace(stored, orientation=img.getexif().get(_ORIENTATION, 1))
    return stored


def from_array(array: np.ndarray, bgr: bool = False) -> StoredImage:
    """Return an array (H, W) or (H, W, C) as a stored image; of three or four channels, the first are RGB or BGR.

    Raises:
        DataError: If it has another shape, or other numbers than integers and floats.
    """
    if array.ndim not in (2, 3) or array.dtype.kind not in 'uif' or not array.size:
        raise DataError(f'an array must be (H, W) or (H, W, C) of integers or floats, got {array.shape} {array.dtype}')
    array = np.atleast_3d(array).astype(array.dtype.newbyteorder('='), copy=False)
    return StoredImage(array if bgr or array.shape[2] not in (3, 4) else reverse_channels(array))


def from_pillow(img: Image.Image) -> StoredImage:
    """Return what Pillow has opened as a stored image; palettes and other colour spaces become RGB."""
    img.load()
    orientation = img.getexif().get(_ORIENTATION, 1)  # after loading, since Pillow turns a TIFF then
    if img.has_transparency_data:
        rgba = np.asarray(img.convert('RGBA'))
        return StoredImage(reverse_channels(rgba[..., :3]), rgba[..., 3], orientation)
    if not img.mode.startswith(('I', 'F')):
        img = img.convert('L' if img.mode in ('1', 'L') else 'RGB')
    return replace(from_array(np.asarray(img)), orientation=orientation)


def open_pillow(data: bytes, path: str) -> Image.Image:
    """Decode the first frame with Pillow, or raise a DataError that names the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # about odd metadata and large images
            img = Image.open(io.BytesIO(data))
            img.load()
            return img
    except Image.DecompressionBombError as err:
        raise DataError(f'the image {path} is too large: {err}; make it smaller') from err
    except _NOT_READABLE as err:
        reason = 'not an image of a known kind' if 'BytesIO' in str(err) else err
        raise DataError(
            f'cannot read the image {path}: {reason}; it is broken or cut off: replace or remove it') from err


def _has_colour_key(data: bytes) -> bool:
    """Tell whether a PNG has transparent colours instead of an alpha channel."""
    return data.startswith(_PNG) and b'tRNS' in data[:data.find(b'IDAT')]


def _tags(data: bytes) -> dict:
    """Return the tags of a TIFF's first page; {} if they cannot be read."""
    file = io.BytesIO(data)
    with contextlib.suppress(*_NOT_READABLE):
        tags = ImageFileDirectory_v2(file.read(16 if data[2:3] == b'+' or data[3:4] == b'+' else 8))
        file.seek(tags.next)
        tags.load(file)
        return dict(tags)
    return {}


def _from_opencv(data: bytes) -> StoredImage | None:
    try:
        array = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if array is None:
        return None
    array = np.atleast_3d(array)
    is_alpha = not data.startswith(_TIFF) or _tags(data).get(_EXTRA_SAMPLES, (0, ))[0] in _ALPHA
    if array.shape[2] != 4 or not is_alpha:
        return StoredImage(array)
    return StoredImage(array[..., :3], array[..., 3])


def _from_tiff(data: bytes, path: str) -> StoredImage | None:
    """Read a TIFF of which OpenCV leaves out channels, or which it does not read; None if tifffile cannot either."""
    tags = _tags(data)
    import tifffile
    try:
        array = tifffile.imread(io.BytesIO(data), key=0)
    except Exception as err:  # whatever a decoder of a compression raises
        if tags.get(_SAMPLES, 1) <= 4:
            return None
        raise DataError(f'cannot read the image {path}, of {tags[_SAMPLES]} channels: {err}') from err
    if array.ndim == 3 and tags.get(_PLANAR) == 2:  # channel by channel
        array = np.moveaxis(array, 0, 2)
    alpha = None
    if array.ndim == 3 and array.shape[2] in (2, 4) and tags.get(_EXTRA_SAMPLES, (0, ))[0] in _ALPHA:
        array, alpha = array[..., :-1], array[..., -1]
    return replace(from_array(array), alpha=alpha, orientation=tags.get(_ORIENTATION, 1))


def _read_numpy(data: bytes, path: str) -> np.ndarray:
    try:
        return np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError) as err:
        raise DataError(f'cannot read the array {path}: {err}') from err
