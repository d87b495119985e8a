"""What an image file says about itself, and whether it is whole, without decoding it."""
import contextlib
import io
import os
import stat
import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import BinaryIO

import cv2
import numpy as np
from PIL import Image, ImageFile, TiffImagePlugin

from ftcls.utils import DataError
from ftcls.utils.tree import as_list

__all__ = [
    'FORMATS', 'IMAGE_SUFFIXES', 'ImageHeader', 'check_pixels', 'content_kind', 'is_image', 'max_pixels', 'read_header',
    'scan_headers'
]

#: Endings by which a file is taken for an image without a look into it.
IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif', '.tiff', '.webp', '.gif')
#: The formats, by Pillow's names, that are read whatever the ending.
FORMATS = ('JPEG', 'MPO', 'PNG', 'PPM', 'BMP', 'TIFF', 'WEBP', 'GIF', 'AVIF', 'JPEG2000')
_ORIENTATION = 0x0112
_BITS = {'1': 1, 'I': 32, 'F': 32}
# Numbers of the TIFF tags: bits and samples of a pixel; offsets and sizes of strips or tiles.
_BITS_PER_SAMPLE, _SAMPLES_PER_PIXEL = 258, 277
_BLOCKS = ((273, 279), (324, 325))
_TIFF, _NUMPY, _PNG_END = (b'II*\0', b'MM\0*'), b'\x93NUMPY', b'IEND\xaeB`\x82'
_MAGIC = (b'\xff\xd8\xff', b'\x89PNG', b'GIF8', b'BM', b'II+\0', b'MM\0+', b'\0\0\0\x0cjP', *_TIFF)
_BRANDS = (b'ftypavif', b'ftypavis', b'ftypheic', b'ftypheix', b'ftypmif1', b'ftyphevc')
_NOT_READABLE = (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, OverflowError, AttributeError,
                 RuntimeError)
_CUT_OFF = 'is cut off: its end is missing'

if 'FTCLS_MAX_PIXELS' in os.environ:
    Image.MAX_IMAGE_PIXELS = int(os.environ['FTCLS_MAX_PIXELS']) // 2


@dataclass(frozen=True)
class ImageHeader:
    """What the header of an image file says.

    Attributes:
        path: The file.
        format: Pillow's name of the format, such as 'JPEG', or 'NPY'; '' if unknown.
        width: Pixels, as stored (``orientation`` is not applied); 0 if unknown.
        height: As ``width``.
        mode: Pillow's mode, such as 'RGB' or 'I;16'; '' where Pillow has none, for example for six channels.
        bits: Bits per channel, as stored; with a palette, of the index.
        channels: Channels, as stored, alpha included; 1 with a palette.
        has_alpha: Whether pixels can be transparent.
        pages: Number of pages or frames.
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
    has_alpha: bool = False
    pages: int = 1
    orientation: int = 1
    fault: str | None = None

    @property
    def shown(self) -> tuple[int, int]:
        """Width and height with the orientation applied."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


def max_pixels() -> float:
    """Return how many pixels an image may have: twice Pillow's ``MAX_IMAGE_PIXELS``, or ``FTCLS_MAX_PIXELS``."""
    return 2 * (Image.MAX_IMAGE_PIXELS or float('inf'))


def check_pixels(data: bytes, path: str) -> Image.Image | None:
    """Return what Pillow opens of a file's bytes, not decoded; None if it does not know the kind.

    Raises:
        DataError: If it must not be decoded: too many pixels, or a program (EPS).
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            img = Image.open(io.BytesIO(data))
        fault = _kind_fault(img)
    except Image.DecompressionBombError as err:
        fault = _bomb_fault(err)
    except _NOT_READABLE:
        return None
    if fault:
        raise DataError(f'the image {path} {fault}')
    return img


def read_header(path: str | os.PathLike, decode: bool = False) -> ImageHeader:
    """Read the header and the end of an image file; a file that cannot be used gets a ``fault``, not an exception.

    Args:
        path: The file.
        decode: Whether to decode the first page too, which finds more faults.
    """
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # about odd metadata and large images
        return _read(os.fspath(path), decode)


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
    return read_header(path).format if head.startswith((*_MAGIC, b'RIFF', b'P5', b'P6')) or head[4:] in _BRANDS else ''


def _read(path: str, decode: bool) -> ImageHeader:
    try:
        fault = _path_fault(path)
        if fault is None:
            with open(path, 'rb') as file:
                return _header(path, file, decode)
    except (OSError, ValueError) as err:
        fault = f'cannot be read: {getattr(err, "strerror", None) or err}'
    return ImageHeader(path, fault=fault)


def _path_fault(path: str) -> str | None:
    """Return what is wrong with a path that is no file; opening a pipe would wait for ever."""
    if os.path.islink(path) and not os.path.exists(path):
        return f'is a link to {os.readlink(path)}, which does not exist'
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        return 'is a folder'
    return None if stat.S_ISREG(mode) else 'is not a regular file'


def _header(path: str, file: BinaryIO, decode: bool) -> ImageHeader:
    head = file.read(1024)
    file.seek(0)
    try:
        with Image.open(file) as img:
            header = _from_pillow(path, img, head)
            return replace(header, fault=_decoding_fault(img, file, head, decode))
    except Image.DecompressionBombError as err:
        return ImageHeader(path, fault=_bomb_fault(err))
    except _NOT_READABLE:
        header = _without_pillow(path, file, head)
    if header.width * header.height > max_pixels():
        return replace(header, fault=_bomb_fault(header.width * header.height))
    return header


def _bomb_fault(what: object) -> str:
    pixels = int(''.join(filter(str.isdigit, str(what).partition('pixels')[0])))
    return (f'has {pixels:,} pixels, more than the limit of {max_pixels():,}; make it smaller, or set FTCLS_MAX_PIXELS '
            'in the environment')


def _from_pillow(path: str, img: Image.Image, head: bytes) -> ImageHeader:
    bits = 16 if img.mode.startswith('I;16') else _BITS.get(img.mode, 8)
    size, channels = img.size, len(img.getbands())
    if img.format == 'PNG':
        bits, channels = head[24], (1, 0, 3, 1, 2, 0, 4)[head[25]]
    elif img.format == 'TIFF':
        bits, channels = max(img.tag_v2.get(_BITS_PER_SAMPLE, (1, ))), img.tag_v2.get(_SAMPLES_PER_PIXEL, 1)
        size = img.tag_v2[256], img.tag_v2[257]  # Pillow has turned its own
    elif img.format == 'PPM' and img.mode == 'I':
        bits = 16
    orientation = Image.Image.getexif(img).get(_ORIENTATION, 1)  # PNG's own decodes the image
    return ImageHeader(
        path,
        img.format or '',
        *size,
        img.mode,
        bits,
        channels,
        has_alpha='A' in img.getbands() or 'transparency' in img.info,
        pages=getattr(img, 'n_frames', 1),
        orientation=orientation if orientation in range(1, 9) else 1)


def _without_pillow(path: str, file: BinaryIO, head: bytes) -> ImageHeader:
    """Return the header of what Pillow does not read, or the fault of what nothing reads."""
    try:
        if head.startswith(_NUMPY):
            array = np.load(path, mmap_mode='r')
            height, width, channels = (*array.shape, 1)[:3]
            return ImageHeader(path, 'NPY', width, height, '', 8 * array.itemsize, channels)
        if head.startswith(_TIFF):
            tags = TiffImagePlugin.ImageFileDirectory_v2(head[:8])
            file.seek(tags.next)
            tags.load(file)
            bits, channels = max(tags.get(_BITS_PER_SAMPLE, (1, ))), tags.get(_SAMPLES_PER_PIXEL, 1)
            return ImageHeader(path, 'TIFF', tags[256], tags[257], '', bits, channels, fault=_tags_fault(tags, file))
    except _NOT_READABLE:
        pass
    fault = _content_fault(head)
    if fault is None and not cv2.haveImageReader(path):
        fault = 'is not an image of a known kind'
    return ImageHeader(path, 'HEIF' if head[4:12] in _BRANDS else '', fault=fault)


def _content_fault(head: bytes) -> str | None:
    """Return what a file holds instead of an image, by its first bytes."""
    start = head.lstrip(b'\xef\xbb\xbf \t\r\n').lower()
    if not head:
        return 'is empty (0 bytes)'
    if not head.strip(b'\0'):
        return 'contains only zeros; copy it again'
    if start.startswith(b'version https://git-lfs'):
        return 'is a git-lfs pointer, not the image; run `git lfs pull`'
    if start.startswith((b'<!doctype html', b'<html')):
        return 'is a web page (HTML), not an image; download it again'
    if head[4:8] == b'ftyp':
        return f'is of the kind {head[8:12].decode("latin-1")!r}, which is not read here; save it as JPEG or PNG'
    if head.startswith((*_MAGIC, _NUMPY)) or head[8:12] == b'WEBP':
        return 'is broken or cut off in its header'
    if head.startswith(b'#?'):  # a Radiance image begins like a text
        return None
    try:
        head[:-4].decode()  # the last character may be cut
    except UnicodeDecodeError:
        return None
    return 'is text, not an image'


def _decoding_fault(img: Image.Image, file: BinaryIO, head: bytes, decode: bool) -> str | None:
    """Return why an image whose header is right cannot be decoded; one without its end is decoded to see."""
    fault = _kind_fault(img)
    if fault:
        return fault
    is_whole = _has_end(img, file, head)
    if is_whole and not decode:
        return None
    try:
        img.load()
        if img.format == 'GIF':
            img.seek(img.n_frames - 1)
            img.load()
    except _NOT_READABLE as err:
        return f'cannot be decoded: {err}' if is_whole else _CUT_OFF
    return None


def _kind_fault(img: Image.Image) -> str | None:
    if isinstance(img, ImageFile.StubImageFile) or img.format == 'EPS':
        return f'is of the kind {img.format}, which is not read here; save it as JPEG or PNG'
    return None


def _has_end(img: Image.Image, file: BinaryIO, head: bytes) -> bool:
    """Tell whether the end mark is there, or all bytes that the header announces; True for other formats."""
    size = os.fstat(file.fileno()).st_size
    file.seek(max(0, size - 64))
    tail = file.read()
    if img.format in ('JPEG', 'MPO', 'JPEG2000'):
        if tail.rstrip(b'\0\r\n ').endswith(b'\xff\xd9'):
            return True
        file.seek(0)  # phones append data; the last scan must begin before the last end mark
        data = file.read()
        return img.format != 'JPEG2000' and data.rfind(b'\xff\xda') < data.rfind(b'\xff\xd9')
    if img.format == 'PNG':
        file.seek(0)
        return _PNG_END in tail or _PNG_END in file.read()
    if img.format == 'GIF':
        return tail.rstrip(b'\0').endswith(b';')
    if img.format == 'WEBP':
        return int.from_bytes(head[4:8], 'little') + 8 <= size
    if img.format == 'TIFF':
        return _tags_fault(img.tag_v2, file) is None
    if img.tile and img.tile[0][0] == 'raw':
        _, _, offset, args = img.tile[0]
        stride = args[1] if isinstance(args, tuple) and len(args) > 1 else 0
        return offset + (stride or len(img.getbands()) * img.width) * img.height <= size
    return True


def _tags_fault(tags: TiffImagePlugin.ImageFileDirectory_v2, file: BinaryIO) -> str | None:
    size = os.fstat(file.fileno()).st_size
    blocks = [block for keys in _BLOCKS for block in zip(*(as_list(tags.get(key, ())) for key in keys))]
    if not blocks or any(offset + count > size for offset, count in blocks):
        return _CUT_OFF
    return None
