"""What the images of a dataset hold, and what of it the network gets, from a sample of them."""
import itertools
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ftcls.utils import DataError, MissingFileError
from .headers import ImageHeader, read_header
from .transforms.loading import LoadImageFromFile, check_finite, suggest_range

__all__ = ['ImageSurvey', 'spread', 'survey_images']

_MOST_READ = 16
_MOST_ODD = 4  # of the images that are not plain by their header, so many are read in addition
_LEAST_CONTRAST = 16  # grey levels of 255 between the darkest and the lightest value
_CLIPPED = 0.01  # share of the values
_KINDS = {1: 'grey', 3: 'RGB', '1': 'grey', 'L': 'grey', 'LA': 'grey', 'RGB': 'RGB', 'P': 'palette', 'CMYK': 'CMYK'}
_NOTES = dict(
    pages='several pages or frames; only the first is read',
    alpha="transparent pixels, loaded with alpha={alpha!r}; 'white', 'black', 'drop' and 'keep' are possible",
    fourth="a fourth channel, which is left out; color_type='unchanged' keeps it",
    clipped='values outside value_range, which are clipped',
    flat='hardly any contrast after loading; value_range=(low, high) stretches a part of the values')


@dataclass
class _Facts:
    """An image's folder and name, (width, height), channels and bits, least and greatest value, keys of ``_NOTES``."""
    name: str
    size: tuple[int, int]
    kind: str
    bounds: tuple[float, float] | None = None
    notes: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class ImageSurvey:
    """What was found.

    Attributes:
        lines: For the preflight; those on probable faults begin with WARNING.
        value_range: What fits the images of more than 8 bits; None unless all have these.
        fault: Why the images cannot be loaded; ''.
    """
    lines: list[str] = field(default_factory=list)
    value_range: tuple[float, float] | None = None
    fault: str = ''


def survey_images(paths: Sequence[str],
                  loader: LoadImageFromFile,
                  headers: Mapping[str, ImageHeader] | None = None) -> ImageSurvey:
    """Read up to 16 files, evenly spread, as ``loader`` does; those that cannot be read have messages of their own.

    Args:
        paths: The files.
        loader: What reads them.
        headers: Those that are known, by path; their bits are compared.

    Raises:
        DataError: If ``loader`` refuses an image, except for the bits that ``fault`` names.
    """
    headers = headers or {}
    if fault := _mixed_bits([headers[path] for path in paths if path in headers], loader):
        return ImageSurvey(fault=fault)
    odd = (path for path in paths if path in headers and _is_odd(headers[path]))
    chosen = [*spread(paths, _MOST_READ), *itertools.islice(odd, _MOST_ODD)]
    looked = (_look(os.fspath(path), loader, headers) for path in dict.fromkeys(chosen))
    if not (images := [facts for facts in looked if facts is not None]):
        return ImageSurvey()
    sizes = sorted({facts.size for facts in images}, key=np.prod)
    kinds = Counter(facts.kind for facts in images)
    line = ' to '.join(dict.fromkeys(f'{width}x{height}' for width, height in (sizes[0], sizes[-1]))) + ' '
    line += ', '.join(kinds if len(kinds) == 1 else (f'{kind} ({kinds[kind]} of {len(images)})' for kind in kinds))
    if loader.color_type.startswith('grayscale'):
        line += ', read as grey (color_type)'
    deep, value_range = [facts for facts in images if facts.bounds], None
    if deep:
        low, high = min(facts.bounds[0] for facts in deep), max(facts.bounds[1] for facts in deep)
        line += f', {low:g}..{high:g}'
        value_range = suggest_range(low, high)
        if _needs_range(loader):
            fault = (f'the images hold {line} (for example {deep[0].name}), the network takes 0 to 255: set '
                     f'value_range={value_range} in LoadImageFromFile')
        elif loader.value_range is None:
            line += ', as stored'
    if loader.value_range is not None:
        line += f', scaled by value_range={tuple(loader.value_range)}'
    lines = [line]
    for key, text in _NOTES.items():
        if names := [facts.name for facts in images if key in facts.notes]:
            text = text.format(alpha=loader.alpha)
            start = 'WARNING ' * (key == 'flat')
            lines.append(f'{start}{len(names)} of {len(images)} images have {text} (for example {names[0]})')
    return ImageSurvey(lines, value_range if len(deep) == len(images) else None, fault)


def spread(paths: Sequence[str], most: int) -> list[str]:
    """Return at most so many of the paths, evenly spread."""
    count = min(len(paths), most)
    return [paths[i * len(paths) // count] for i in range(count)]


def _is_odd(header: ImageHeader) -> bool:
    return header.has_pages or header.mode not in ('RGB', 'L', 'CMYK', '1')


def _needs_range(loader: LoadImageFromFile) -> bool:
    return loader.value_range is None and loader.color_type != 'unchanged'


def _mixed_bits(headers: Sequence[ImageHeader], loader: LoadImageFromFile) -> str:
    """Return which images have 8 bits and which more, if they cannot be loaded alike."""
    deep = [header.path for header in headers if header.bits > 8]
    flat = [header.path for header in headers if 0 < header.bits <= 8]
    if loader.color_type == 'unchanged' or max(loader.value_range or (256, )) <= 255 or not deep or not flat:
        return ''
    return (f'{len(flat):,} images have 8 bits (for example {flat[0]}), {len(deep):,} have more ({deep[0]}): save '
            'these with 8 bits too, or leave one kind out by exclude=[…]')


def _look(path: str, loader: LoadImageFromFile, headers: Mapping[str, ImageHeader]) -> _Facts | None:
    """Return the facts of an image; None if it cannot be read."""
    try:
        stored = loader.read(path)
    except (DataError, MissingFileError):
        return None
    header, pixels, alpha = headers.get(path) or read_header(path), stored.pixels, stored.alpha
    kind = _KINDS.get(pixels.shape[2], f'{pixels.shape[2]} channels')
    if kind in _KINDS.values():  # of 8 bits they are converted already
        kind = _KINDS.get(header.mode, kind)
    if alpha is not None:
        kind += ' and alpha'
    is_deep = pixels.dtype != np.uint8
    bits = 8 * pixels.itemsize if is_deep else header.bits or 8
    suffix = dict(f=' float', i=' signed').get(pixels.dtype.kind, '')
    facts = _Facts('/'.join(Path(path).parts[-2:]), pixels.shape[1::-1], f'{kind}, {bits} bit{suffix}')
    if is_deep:
        check_finite(pixels, path)
        facts.bounds = float(pixels.min()), float(pixels.max())
    loses = loader.color_type != 'unchanged'
    found = dict(
        pages=header.has_pages and header.format != 'MPO',  # a phone's JPEG with a preview
        alpha=loses and alpha is not None and stored.opacity.min() < 255,
        fourth=loses and pixels.shape[2] == 4)
    if not is_deep or not _needs_range(loader):
        loaded, (low, high) = loader.convert(stored, path), loader.value_range or (-np.inf, np.inf)
        found['clipped'] = ((pixels < low) | (pixels > high)).mean() > _CLIPPED
        found['flat'] = loaded.dtype == np.uint8 and np.ptp(loaded) < _LEAST_CONTRAST
    facts.notes = {key for key, is_found in found.items() if is_found}
    return facts
