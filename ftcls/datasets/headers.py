"""What an image file says about itself, and whether it is whole, without decoding it."""
import contextlib
import io
import os
import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import BinaryIO

import cv2
import numpy as np
from PIL import Image, ImageFile, TiffImagePlugin
from PIL.ExifTags import Base as Tag

from ftcls.utils import DataError
from ftcls.utils.tree import as_list

__all__ = [
    'FORMATS', 'IMAGE_SUFFIXES', 'ImageHeader', 'TIFF', 'check_image', 'content_fault', 'content_kind', 'is_image',
    'read_header', 'scan_headers'
]

#: Endings by which a file is taken for an image without a look into it.
IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif', '.tiff', '.webp', '.gif')
#: The formats, by Pillow's names, that are read whatever the ending.
FORMATS = ('JPEG', 'MPO', 'PNG', 'PPM', 'BMP', 'TIFF', 'WEBP', 'GIF', 'AVIF', 'JPEG2000')
_BITS = {'1': 1, 'I': 32, 'F': 32, 'I;16': 16, 'I;16B': 16}
_ANY_DEPTH = ('PPM', 'JPEG2000', 'AVIF')  # Pillow reads their 16 bits as 8
_BLOCKS = ((Tag.StripOffsets, Tag.StripByteCounts), (Tag.TileOffsets, Tag.TileByteCounts))
TIFF, _NUMPY = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+'), b'\x93NUMPY'
_MAGIC = (b'\xff\xd8\xff', b'\x89PNG', b'GIF8', b'BM', b'RIFF', b'P5', b'P6', b'\0\0\0\x0cjP', *TIFF)
_BRANDS = (b'ftypavif', b'ftypavis', b'ftypheic', b'ftypheix', b'ftypmif1', b'ftyphevc')
_JPEG = (b'\xff\xda', b'\xff\xd9')  # what begins the pixels, and what ends the file
_MARKS = dict(JPEG=_JPEG, MPO=_JPEG, JPEG2000=_JPEG, GIF=(b';', b';'), PNG=(b'IDAT', b'IEND\xaeB`\x82'))
_CUT_OFF = 'is cut off: its end is missing'
_NOT_READ = 'is of the kind {}, which is not read here; save it as JPEG or PNG'

if 'FTCLS_MAX_PIXELS' in os.environ:
    Image.MAX_IMAGE_PIXELS = int(os.environ['FTCLS_MAX_PIXELS']) // 2
_MAX_PIXELS = 2 * (Image.MAX_IMAGE_PIXELS or 1 << 60)
_TOO_LARGE = f'has more than {_MAX_PIXELS:,} pixels; make it smaller, or set FTCLS_MAX_PIXELS in the environment'


@dataclass(frozen=True)
class ImageHeader:
    """What the header of an image file says.

    Attributes:
        path: The file.
        format: Pillow's name of the format, such as 'JPEG', or 'NPY'; '' if unknown.
        width: Pixels, as stored (``orientation`` is not applied); 0 if unknown.
        height: As ``width``.
        mode: Pillow's mode, such as 'RGB' or 'I;16'; '' where Pillow has none, for example for six channels.
        bits: Bits per channel, as stored; with a palette, of the index; 0 if unknown.
        channels: Channels, as stored, alpha included; 1 with a palette.
        has_pages: Whether further pages or frames follow.
        orientation: EXIF's, 1 to 8; 5 to 8 mean that the image is shown turned by 90 degrees.
        fault: Why the image cannot be used, to be read after the file's name ('is empty'); None if nothing is wrong.
    """
    path: str
    format: str = ''
    width: int = 0
    height: int = 0
    mode: str = ''
    bits: int = 0
    channels: int = 0
    has_pages: bool = False
    orientation: int = 1
    fault: str | None = None

    @property
    def shown(self) -> tuple[int, int]:
        """Width and height with the orientation applied."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


def check_image(data: bytes, path: str) -> Image.Image | None:
    """Return what Pillow opens of a file's bytes; None if it does not know the kind.

    Raises:
        DataError: If it must not be decoded (too many pixels, a program) or lacks its end, which OpenCV makes grey.
    """
    file = io.BytesIO(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # about odd metadata and large images
            img = Image.open(file)
        fault = _decoding_fault(img, file, False)
    except Image.DecompressionBombError:
        fault = _TOO_LARGE
    except Exception:
        return None
    if fault:
        raise DataError(f'cannot read the image {path}: it {fault}; replace or remove it')
    return img


def read_header(path: str | os.PathLike, decode: bool = False) -> ImageHeader:
    """Read the header and the end of an image file; a file that cannot be used gets a ``fault``, not an exception.

    Args:
        path: The file.
        decode: Whether to decode the first page too, which finds more faults.
    """
    return scan_headers([os.fspath(path)], 1, decode)[0]


def scan_headers(paths: Iterable[str], workers: int = 8, decode: bool = False) -> list[ImageHeader]:
    """Read many headers at once, see :func:`read_header`, in the order of ``paths``."""
    with warnings.catch_warnings(), ThreadPoolExecutor(workers) as pool:
        warnings.simplefilter('ignore')
        return list(pool.map(partial(_read, decode=decode), paths))


def is_image(path: str) -> bool:
    """Tell by its ending, or else by its content, whether a file is an image."""
    return path.lower().endswith(IMAGE_SUFFIXES) or content_kind(path) in FORMATS


def content_kind(path: str) -> str:
    """Return the format of an image, whatever its ending: one of :data:`FORMATS`, another that is not read, or ''."""
    head = b''
    if os.path.isfile(path):
        with contextlib.suppress(OSError), open(path, 'rb') as file:
            head = file.read(12)
    return read_header(path).format if head.startswith(_MAGIC) or head[4:] in _BRANDS else ''


def _read(path: str, decode: bool) -> ImageHeader:
    try:
        if os.path.islink(path) and not os.path.exists(path):
            return ImageHeader(path, fault=f'is a link to {os.readlink(path)}, which does not exist')
        if os.path.exists(path) and not os.path.isfile(path):  # a pipe would be waited for
            return ImageHeader(path, fault='is a folder, or not a regular file')
        with open(path, 'rb') as file:
            return _header(path, file, decode)
    except (OSError, ValueError) as err:
        return ImageHeader(path, fault=f'cannot be read: {getattr(err, "strerror", None) or err}')


def _header(path: str, file: BinaryIO, decode: bool) -> ImageHeader:
    try:
        with Image.open(file) as img:
            header = _from_pillow(path, img, file)
            return replace(header, fault=_decoding_fault(img, file, decode))
    except Image.DecompressionBombError:
        return ImageHeader(path, fault=_TOO_LARGE)
    except Exception:  # whatever Pillow raises for a broken file
        header = _without_pillow(path, file)
    if header.width * header.height > _MAX_PIXELS:
        return replace(header, fault=_TOO_LARGE)
    return header


def _from_pillow(path: str, img: Image.Image, file: BinaryIO) -> ImageHeader:
    size, bits, channels = img.size, _BITS.get(img.mode, 8), len(img.getbands())
    if img.format == 'PNG':
        file.seek(24)
        bits, kind = file.read(2)
        channels = (1, 0, 3, 1, 2, 0, 4)[kind]
    elif img.format == 'TIFF':
        bits, channels = max(img.tag_v2.get(Tag.BitsPerSample, (1, ))), img.tag_v2.get(Tag.SamplesPerPixel, 1)
        size = img.tag_v2[Tag.ImageWidth], img.tag_v2[Tag.ImageLength]  # Pillow has turned its own
    elif bits == 8 and img.format in _ANY_DEPTH:
        bits = 0
    orientation = Image.Image.getexif(img).get(Tag.Orientation, 1)  # PNG's own decodes the image
    if orientation not in range(1, 9):
        orientation = 1
    has_pages = getattr(img, 'is_animated', False)
    return ImageHeader(path, img.format or '', *size, img.mode, bits, channels, has_pages, orientation)


def _without_pillow(path: str, file: BinaryIO) -> ImageHeader:
    """Return the header of what Pillow does not read, or the fault of what nothing reads."""
    file.seek(0)
    head = file.read(1024)
    with contextlib.suppress(Exception):
        if head.startswith(_NUMPY):
            array = np.load(path, mmap_mode='r')
            height, width, channels = (*array.shape, 1)[:3]
            return ImageHeader(path, 'NPY', width, height, '', 8 * array.itemsize, channels)
        if head.startswith(TIFF):
            tags = TiffImagePlugin.ImageFileDirectory_v2(head[:16 if b'+' in head[:4] else 8])
            file.seek(tags.next)
            tags.load(file)
            bits, channels = max(tags.get(Tag.BitsPerSample, (1, ))), tags.get(Tag.SamplesPerPixel, 1)
            fault = None if _has_blocks(tags, file) else _CUT_OFF
            return ImageHeader(
                path, 'TIFF', tags[Tag.ImageWidth], tags[Tag.ImageLength], '', bits, channels, fault=fault)
    return ImageHeader(path, 'HEIF' if head[4:12] in _BRANDS else '', fault=content_fault(path, head))


def content_fault(path: str, head: bytes) -> str | None:
    """Return what a file holds instead of an image, by its first bytes; None for what only OpenCV reads."""
    if not head:
        return 'is empty (0 bytes)'
    if head.startswith((*_MAGIC, _NUMPY)) or head[4:11] == b'ftypavi':
        return 'is broken or cut off in its header'
    if cv2.haveImageReader(path):
        return None
    if head[4:8] == b'ftyp':
        return _NOT_READ.format(repr(head[8:12].decode('latin-1')))
    start = b' '.join(head[:40].split()).decode('latin-1')
    if start.isascii() and start.isprintable():
        return f'is text, not an image: it begins with {start!r}'
    return 'is not an image of a known kind'


def _decoding_fault(img: Image.Image, file: BinaryIO, decode: bool) -> str | None:
    """Return why an image whose header is right cannot be decoded; one without its end is decoded to see."""
    if isinstance(img, ImageFile.StubImageFile) or img.format == 'EPS':  # Ghostscript would run a program
        return _NOT_READ.format(img.format)
    position = file.tell()
    file.seek(8)
    if img.format == 'TIFF' and (file.read(2) == b'CR' or
                                 (Tag.SubIFDs in img.tag_v2 and img.tag_v2.get(Tag.NewSubfileType, 0) & 1)):
        return "is a camera's raw file, of which only a preview would be read; save it as JPEG, PNG or TIFF"
    is_whole = _has_end(img, file)
    file.seek(position)
    if is_whole and not decode:
        return None
    try:
        img.load()
        if img.format == 'GIF':
            img.seek(img.n_frames - 1)
            img.load()
    except Exception as err:
        return f'cannot be decoded: {err}' if is_whole else _CUT_OFF
    return None


def _has_end(img: Image.Image, file: BinaryIO) -> bool:
    """Tell whether the end mark is there, or all bytes that the header announces; True for other formats."""
    size = file.seek(0, os.SEEK_END)
    if img.format in _MARKS:
        start, end = _MARKS[img.format]
        file.seek(max(0, size - 64))
        if file.read().rstrip(b'\0\r\n ').endswith(end):
            return True
        file.seek(0)
        data = file.read()  # phones append data
        return data.rfind(start) < data.rfind(end)
    if img.format == 'TIFF':
        return _has_blocks(img.tag_v2, file)
    if img.tile and img.tile[0][0] == 'raw':
        _, _, offset, args = img.tile[0]
        stride = args[1] if isinstance(args, tuple) and len(args) > 1 else 0
        return offset + (stride or len(img.getbands()) * img.width) * img.height <= size
    return True


def _has_blocks(tags: TiffImagePlugin.ImageFileDirectory_v2, file: BinaryIO) -> bool:
    size = file.seek(0, os.SEEK_END)
    blocks = [block for keys in _BLOCKS for block in zip(*(as_list(tags.get(key, ())) for key in keys))]
    return bool(blocks) and all(offset + count <= size for offset, count in blocks)
