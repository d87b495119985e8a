"""Reading masks: what their values, colours and transparency mean, and which way up they lie."""
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import reduce
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from PIL import Image, ImageColor, ImageOps
from PIL.ExifTags import Base as Tag

from ftcls.registry import TRANSFORMS
from ftcls.utils import ConfigError, DataError, MissingFileError
from ftcls.utils.tree import as_list
from .base import IGNORED, BaseTransform
from .decoding import open_pillow, read_stored

__all__ = ['COLOUR', 'LoadAnnotations', 'MaskCoding', 'MaskValue', 'codes']

COLOUR = 1 << 24  #: The value of a pixel that is not grey is this plus its colour, 0xRRGGBB.
MaskValue = int | str  #: A grey level, in a mask with a palette an index, or a colour such as '#ff0000'.
_GREY_MODES = ('1', 'L', 'I', 'I;16', 'I;16B', 'I;16L', 'F')


@dataclass(frozen=True)
class MaskCoding:
    """What the pixels of a mask mean: the arguments of :class:`BinarySegDataset` with these names.

    The ``mask_orientation`` 'stored' leaves a mask as it is in the file.

    Raises:
        ConfigError: If a value is not a number or a colour, or two settings contradict each other.
    """
    foreground: MaskValue | Sequence[MaskValue] = 'nonzero'
    threshold: float | None = None
    ignore_value: MaskValue | None = None
    alpha: bool | None = None
    mask_orientation: Literal['image', 'own', 'stored'] | None = None

    def __post_init__(self) -> None:
        for name in ('foreground', 'ignore_value'):
            for value in as_list(getattr(self, name)):
                try:
                    codes(value)
                except ValueError:
                    raise ConfigError(f"{name}={value!r}: must be an integer, a colour such as 'red' or '#ff0000', or "
                                      f'the default, {getattr(MaskCoding, name)!r}') from None
        if self.ignore_value in as_list(self.foreground):
            raise ConfigError(f'ignore_value={self.ignore_value!r} is also the value of foreground')
        if self.threshold is not None and self.foreground not in ('nonzero', 0):
            raise ConfigError(f"foreground={self.foreground!r}: with a threshold, 'nonzero' (above it) or 0 (the rest)")

    @classmethod
    def of(cls, sample: Mapping) -> 'MaskCoding':
        """Return the coding that a sample's keys give."""
        return cls(**{field.name: sample[field.name] for field in fields(cls) if field.name in sample})

    def read(self, path: str | os.PathLike, orientation: int | None = None) -> np.ndarray:
        """Read the values of a mask, (H, W), turned by an EXIF orientation, by default the file's own.

        Raises:
            MissingFileError: If the file does not exist.
            DataError: If it cannot be read, has several pages or NaN, or its colours and its alpha differ.
        """
        try:
            data = Path(path).read_bytes()
        except OSError as err:
            raise MissingFileError(f'no mask at {path}; check data_root, mask_dir and mask_name') from err
        try:
            img = open_pillow(data, os.fspath(path))
        except DataError:
            if data[:2] not in (b'II', b'MM'):
                raise
            stored = read_stored(data, None, os.fspath(path)).pixels  # a TIFF of 64 bits
            if stored.shape[2] > 1:
                raise
            return stored[..., 0]
        if getattr(img, 'n_frames', 1) > 1:
            raise DataError(f'the mask {path} has {img.n_frames} pages; save each as a mask of its own')
        if orientation is not None:
            img.getexif()[Tag.Orientation] = orientation
        values = self._values(ImageOps.exif_transpose(img), path)
        if values.dtype.kind == 'f' and not np.isfinite(values).all():
            raise DataError(f'the mask {path} has values that are not finite (NaN); give them a number of their own')
        return values

    def binary(self, values: np.ndarray) -> np.ndarray:
        """Turn values, of any shape, into uint8: 0 background, 1 foreground, 255 ignored."""
        levels = values if self.threshold is None else values > self.threshold
        is_nonzero = self.foreground == 'nonzero'  # all but black
        mask = (_is_any(levels, as_list(self.foreground)) != is_nonzero).view(np.uint8)
        if self.ignore_value is not None:
            mask[_is_any(values, [self.ignore_value])] = IGNORED
        return mask

    def _values(self, img: Image.Image, path: str | os.PathLike) -> np.ndarray:
        if self.alpha and not img.has_transparency_data:
            raise DataError(f'alpha=True: the mask {path} has no alpha channel ({img.mode})')
        alpha = np.asarray(img.convert('RGBA'))[..., 3] if img.has_transparency_data else None
        if self.alpha:
            return alpha
        values = self._colours(img)
        if self.alpha is None and alpha is not None:
            pairs = np.unique(values.ravel().astype(np.int64) << 8 | alpha.ravel())
            if len(np.unique(pairs >> 8)) < len(pairs):  # pixels of one value differ in alpha
                raise DataError(f'the mask {path} has a shape in its alpha channel that its colours do not have; set '
                                'alpha=True to take the mask from there, or alpha=False to leave it out')
        return values

    def _colours(self, img: Image.Image) -> np.ndarray:
        """Return grey levels, indices of a palette, or colours."""
        if img.mode in _GREY_MODES:
            return np.array(img, dtype={'1': np.uint8}.get(img.mode))
        if self.threshold is not None:
            return np.asarray(img.convert('L'))
        if img.mode != 'P':
            return _colour_values(np.asarray(img.convert('RGB')))
        index = np.array(img)
        if isinstance(self.foreground, int):
            return index
        palette = np.resize(np.uint8(img.getpalette()), (256, 3))
        table = _colour_values(palette).astype(np.int32)
        for value in {*as_list(self.foreground), self.ignore_value} & {*range(256)}:
            table[table == value] = COLOUR + 0x010101 * value  # the colour, not the index
            table[value] = value
        return table[index]


@TRANSFORMS.register_module()
class LoadAnnotations(BaseTransform):
    """Read an image's mask.

    - reads: ``mask_path``; ``foreground``, ``threshold``, ``ignore_value``, ``alpha`` and ``mask_orientation``, as
      :class:`BinarySegDataset` gives them; ``img_path`` and ``img_shape`` (if there), which the mask must fit
    - adds: ``gt_mask`` (H, W) uint8: 0 background, 1 foreground, 255 to be ignored
    - removes: nothing

    Raises:
        MissingFileError: If the file does not exist.
        DataError: If it cannot be read, its alpha channel is not explained, or it has another size than the image.
    """

    REQUIRED_KEYS: ClassVar[tuple[str, ...]] = ('mask_path', )

    def transform(self, results: dict) -> dict:
        """Read the mask at ``mask_path``."""
        coding, path, image = MaskCoding.of(results), results['mask_path'], results.get('img_path')
        size = tuple(results.get('img_shape', ()))
        orientation = {'stored': 1}.get(coding.mask_orientation)
        if coding.mask_orientation == 'image':
            orientation = _orientation(image)
        stored = coding.read(path, orientation)
        if coding.mask_orientation is None and stored.shape != size == stored.shape[::-1]:
            stored = coding.read(path, _orientation(image))  # drawn on the photo as it is stored
        if size and stored.shape != size:
            raise DataError(f'{image} has shape {size}, its mask {path} {stored.shape}; put LoadAnnotations right '
                            'after LoadImageFromFile')
        results['gt_mask'] = coding.binary(stored)
        return results


def _orientation(path: str | os.PathLike) -> int:
    with Image.open(path) as img:
        return img.getexif().get(Tag.Orientation, 1)


def codes(value: MaskValue | None) -> list[int | None]:
    """Return the values that pixels of a grey level, an index or a colour can have; those of black for 'nonzero'.

    Raises:
        ValueError: If it is a string, but no colour.
    """
    if not isinstance(value, str):
        return [value]
    red, green, blue = ImageColor.getrgb('black' if value == 'nonzero' else value)
    code = COLOUR + (red << 16) + (green << 8) + blue
    return [code, red] if red == green == blue else [code]


def _is_any(values: np.ndarray, wanted: Sequence[MaskValue]) -> np.ndarray:
    """Tell where values are one of those wanted."""
    return reduce(np.logical_or, [values == code for value in wanted for code in codes(value)])


def _colour_values(rgb: np.ndarray) -> np.ndarray:
    """Return grey levels where a colour (…, 3) uint8 is grey, else ``COLOUR`` plus the colour."""
    red, green, blue = np.moveaxis(rgb, -1, 0)
    is_grey = (red == green) & (red == blue)
    if is_grey.all():
        return red
    code = COLOUR + (red.astype(np.int32) << 16) + (green.astype(np.int32) << 8) + blue
    return np.where(is_grey, red, code)
