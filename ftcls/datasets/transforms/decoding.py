"""From the bytes of a file to what is stored in them: every bit, channel and degree of transparency."""
import contextlib
import io
from dataclasses import dataclass, replace

import cv2
import numpy as np
from PIL import Image
from PIL.ExifTags import Base as Tag

from ftcls.utils import DataError
from ..headers import TIFF, check_image, content_fault
from .base import reverse_channels
from .decoder_errors import noted_errors
from .image_ops import Plan
from .resizing import ResizingStep

__all__ = ['StoredImage', 'decode_opencv', 'decode_planned', 'from_array', 'from_pillow', 'is_plain', 'read_stored']

# glibc hands large blocks back at once, and new pages take as long to clear as to decode into; but of blocks smaller
# than one that has been freed, of up to 32 MiB, it keeps the memory.
np.empty(31 << 20, np.uint8)

_PLAIN = ('JPEG', 'MPO', 'PNG', 'TIFF', 'BMP', 'WEBP')
_BLOCK = 16  # rows of a JPEG that are decoded together
_MULTIPLIED, _ALPHA = (1, ), (2, )  # kinds of a TIFF's extra channel
_REDUCED = {1: 0, 2: 16, 4: 32, 8: 64}  # cv2.IMREAD_REDUCED_GRAYSCALE_2 and so on
# EXIF's orientation: quarter turns to the left, then whether left and right change places
_TURNS = {2: (0, True), 3: (2, False), 4: (2, True), 5: (-1, True), 6: (-1, False), 7: (1, True), 8: (1, False)}


@dataclass(frozen=True)
class StoredImage:
    """An image as a file holds it.

    Attributes:
        pixels: (H, W, C) of any dtype: grey, BGR, BGR and another channel, or else the channels in the file's order.
        alpha: (H, W) of any dtype, its greatest value (1 of floats) where nothing shines through; None for no
            transparency.
        orientation: EXIF's, 1 to 8, not applied to ``pixels``.
        plan: What is made of the image, if only the pixels that this needs were decoded.
    """
    pixels: np.ndarray
    alpha: np.ndarray | None = None
    orientation: int = 1
    plan: Plan | None = None

    @property
    def opacity(self) -> np.ndarray | None:
        """``alpha`` as (H, W) uint8; None if there is none."""
        if self.alpha is None or self.alpha.dtype == np.uint8:
            return self.alpha
        return np.clip(self.alpha * (255. / _most(self.alpha)), 0, 255).round().astype(np.uint8)

    def upright(self) -> 'StoredImage':
        """Return the image with its orientation applied."""
        turns, is_mirrored = _TURNS.get(self.orientation, (0, False))

        def turn(array: np.ndarray) -> np.ndarray:
            array = np.rot90(array, turns)
            return np.ascontiguousarray(array[:, ::-1] if is_mirrored else array)

        return StoredImage(turn(self.pixels), None if self.alpha is None else turn(self.alpha))


def is_plain(data: bytes, img: Image.Image | None) -> bool:
    """Tell whether an opened file holds 8 bits of grey or colour only, as nearly all do."""
    if img is None or img.format not in _PLAIN or img.has_transparency_data:
        return False
    if img.format == 'PNG':
        return data[24] <= 8
    if img.format != 'TIFF':
        return True
    is_8_bit = max(img.tag_v2.get(Tag.BitsPerSample, (1, ))) <= 8 and max(img.tag_v2.get(Tag.SampleFormat, (1, ))) == 1
    return is_8_bit and (img.tag_v2.get(Tag.SamplesPerPixel, 1) in (1, 3) or img.mode == 'CMYK')


def read_stored(data: bytes, img: Image.Image | None, path: str, prefer_pillow: bool = False) -> StoredImage:
    """Decode the first page or frame of a file, which Pillow has opened as ``img``.

    Raises:
        DataError: If that is not possible.
    """
    if data.startswith(b'\x93NUMPY'):
        try:
            return from_array(np.load(io.BytesIO(data), allow_pickle=False))
        except (ValueError, EOFError, OSError) as err:
            raise DataError(f'cannot read the array {path}: {err}') from err
    # Which frame of a GIF OpenCV gives depends on its version; it knows no transparent colours, Pillow not 16 bits.
    has_key = img is not None and 'transparency' in img.info and data[24] <= 8
    if img is not None and (prefer_pillow or img.format == 'GIF' or has_key):
        return from_pillow(open_pillow(data, path))
    array = decode_opencv(data, cv2.IMREAD_UNCHANGED)
    has_alpha = img is None or img.has_transparency_data
    is_tiff = data.startswith(TIFF)
    # OpenCV leaves out channels of a TIFF, and multiplies them by alpha
    if is_tiff and (has_alpha or array is None or array.shape[2] < img.tag_v2.get(Tag.SamplesPerPixel, 1)):
        try:
            return _from_tiff(data)
        except Exception as err:  # whatever a decoder of a compression raises
            if img is None:
                raise DataError(f'cannot read the image {path}: {err}') from err
    if array is None or (is_tiff and has_alpha and array.dtype == np.uint8):
        return from_pillow(open_pillow(data, path))
    stored = StoredImage(array)
    if array.shape[2] == 4 and has_alpha:
        stored = StoredImage(array[..., :3], array[..., 3])
    if img is None or is_tiff:  # those OpenCV has turned
        return stored
    return replace(stored, orientation=_orientation(img))


def decode_opencv(data: bytes, flags: int) -> np.ndarray | None:
    """Return an image as (H, W, C), grey, BGR or BGR and another channel; None if OpenCV cannot read it."""
    with contextlib.suppress(cv2.error):
        array = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        return array if array is None else np.atleast_3d(array)


def decode_planned(data: bytes, img: Image.Image, path: str, flags: int, step: ResizingStep) -> StoredImage | None:
    """Decode of a JPEG only what ``step`` needs: at 1/2, 1/4 or 1/8 of its size, and without the rows below.

    Returns:
        The image with its plan; None if its size is not what the header says.
    """
    orientation = 1 if flags & cv2.IMREAD_IGNORE_ORIENTATION else _orientation(img)
    plan = step.plan(img.size if orientation >= 5 else img.size[::-1])
    plan = replace(plan, reduction=plan.most_reduction())
    height, width = plan.whole
    start = _frame_header(data)
    last = plan.box[0] + plan.box[2] + 2 * plan.reduction  # 2: the row that is left out is not to colour the last one
    is_cut = orientation == 1 and start is not None and last + _BLOCK <= height
    if is_cut:
        height = last
        data = b''.join([data[:start + 5], height.to_bytes(2, 'big'), data[start + 7:]])
    with noted_errors(path, is_cut):
        array = decode_opencv(data, flags | _REDUCED[plan.reduction])
    expected = -(-height // plan.reduction), -(-width // plan.reduction)
    if array is None or array.shape[:2] != expected:
        return None
    return StoredImage(array, plan=plan)


def _frame_header(data: bytes) -> int | None:
    """Return where the header of a baseline JPEG's image begins; its height is five bytes further."""
    start = 2
    while data[start:start + 1] == b'\xff' and data[start + 1] not in (0xC2, 0xDA):  # progressive; pixels
        if data[start + 1] in (0xC0, 0xC1):
            return start
        start += 2 + int.from_bytes(data[start + 2:start + 4], 'big')
    return None


def from_array(array: np.ndarray, bgr: bool = False) -> StoredImage:
    """Return an array (H, W) or (H, W, C) as a stored image; of three or four channels, the first are RGB or BGR.

    Raises:
        DataError: If it has another shape, or other values than integers and floats.
    """
    if array.ndim not in (2, 3) or array.dtype.kind not in 'uif' or not array.size:
        raise DataError(f'an array must be (H, W) or (H, W, C) of integers or floats, got {array.shape} {array.dtype}')
    array = np.atleast_3d(array).astype(array.dtype.newbyteorder('='), copy=False)
    return StoredImage(array if bgr or array.shape[2] not in (3, 4) else reverse_channels(array))


def from_pillow(img: Image.Image) -> StoredImage:
    """Return what Pillow has opened as a stored image; palettes and other colour spaces become RGB."""
    img.load()
    orientation = _orientation(img)  # after loading, since Pillow turns a TIFF then
    if img.has_transparency_data:
        rgba = np.asarray(img.convert('RGBA'))
        return StoredImage(reverse_channels(rgba[..., :3]), rgba[..., 3], orientation)
    if not img.mode.startswith(('I', 'F')):
        img = img.convert({'1': 'L', 'L': 'L'}.get(img.mode, 'RGB'))
    return replace(from_array(np.asarray(img)), orientation=orientation)


def open_pillow(data: bytes, path: str) -> Image.Image:
    """Decode the first frame with Pillow, or raise a DataError that names the file."""
    fault = content_fault(path, data[:40]) or 'is not an image of a known kind'
    img = check_image(data, path)
    if img is not None:
        try:
            img.load()
            return img
        except Exception as err:  # each of Pillow's decoders has its own
            fault = f'is broken or cut off ({err})'
    raise DataError(f'cannot read the image {path}: it {fault}; replace or remove it')


def _orientation(img: Image.Image) -> int:
    with contextlib.suppress(Exception):  # what is broken there is no loss
        return Image.Image.getexif(img).get(Tag.Orientation, 1)  # PNG's own decodes the image
    return 1


def _most(alpha: np.ndarray) -> float:
    return 1. if alpha.dtype.kind == 'f' else np.iinfo(alpha.dtype).max


def _from_tiff(data: bytes) -> StoredImage:
    """Read a TIFF by tifffile."""
    import tifffile
    page = tifffile.TiffFile(io.BytesIO(data)).pages[0]
    array, alpha = page.asarray(), None
    if page.axes.startswith('S'):  # channel by channel
        array = np.moveaxis(array, 0, 2)
    kind = tuple(page.extrasamples[:1])
    if kind in (_MULTIPLIED, _ALPHA) and array.shape[2] in (2, 4):
        array, alpha = array[..., :-1], array[..., -1]
    if kind == _MULTIPLIED and alpha is not None:
        share = np.maximum(alpha[..., np.newaxis] / _most(alpha), 1e-6)
        array = np.minimum(array / share, _most(alpha)).astype(array.dtype)
    return replace(from_array(array), alpha=alpha, orientation=page.tags.valueof(Tag.Orientation, 1))
