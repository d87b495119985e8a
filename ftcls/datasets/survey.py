"""What the images of a dataset hold, and what of it the network gets, from a sample of them."""
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ftcls.utils import DataError, MissingFileError
from .headers import read_header
from .transforms.loading import LoadImageFromFile, suggest_range

__all__ = ['ImageSurvey', 'survey_images']

_MOST_READ = 16
_LEAST_CONTRAST = 16  # grey levels of 255 between the darkest and the lightest value
_CLIPPED = 0.01  # share of the values
_KINDS = {1: 'grey', 3: 'RGB', '1': 'grey', 'L': 'grey', 'LA': 'grey', 'RGB': 'RGB', 'P': 'palette', 'CMYK': 'CMYK'}
_NOTES = {
    'pages': 'several pages or frames; only the first is read',
    'alpha': "transparent pixels, loaded with alpha={alpha!r}; 'white', 'black', 'drop' and 'keep' are possible",
    'fourth': "a fourth channel, which is left out; color_type='unchanged' keeps it",
    'clipped': 'values outside value_range, which are clipped',
    'flat': 'hardly any contrast after loading; value_range=(low, high) stretches a part of the values',
}


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
        value_range: What fits the images of more than 8 bits; None unless most have these.
        fault: Why the images cannot be loaded; ''.
    """
    lines: list[str] = field(default_factory=list)
    value_range: tuple[float, float] | None = None
    fault: str = ''


def survey_images(paths: Sequence[str], loader: LoadImageFromFile) -> ImageSurvey:
    """Read up to 16 files, evenly spread, as ``loader`` does; those that cannot be read have messages of their own.

    Raises:
        DataError: If ``loader`` refuses an image, except for the bits that ``fault`` names.
    """
    count = min(len(paths), _MOST_READ)
    with ThreadPoolExecutor(4) as pool:  # OpenCV decodes without Python's lock
        read = pool.map(lambda i: _look(os.fspath(paths[i * len(paths) // count]), loader), range(count))
        images = [facts for facts in read if facts is not None]
    if not images:
        return ImageSurvey()
    sizes = sorted({facts.size for facts in images}, key=np.prod)
    kinds = Counter(facts.kind for facts in images)
    line = ' to '.join(dict.fromkeys(f'{width}x{height}' for width, height in (sizes[0], sizes[-1]))) + ' '
    line += ', '.join(kinds if len(kinds) == 1 else (f'{kind} ({kinds[kind]} of {len(images)})' for kind in kinds))
    if loader.color_type.startswith('grayscale'):
        line += ', read as grey (color_type)'
    deep, value_range, fault = [facts for facts in images if facts.bounds], None, ''
    if deep:
        low, high = min(facts.bounds[0] for facts in deep), max(facts.bounds[1] for facts in deep)
        line += f', {low:g}..{high:g}'
        value_range = suggest_range(low, high) if 2 * len(deep) > len(images) else None
        if _needs_range(loader):
            remedy = f'set value_range={value_range} in LoadImageFromFile'
            if len(deep) < len(images):
                remedy = 'save all with 8 bits, or all with more and set value_range in LoadImageFromFile'
            fault = f'the images hold {line} (for example {deep[0].name}), the network takes 0 to 255: {remedy}'
        elif loader.value_range is None:
            line += ', as stored'
    if loader.value_range is not None:
        line += f', scaled by value_range={tuple(loader.value_range)}'
    lines = [line]
    for key, text in _NOTES.items():
        names = [facts.name for facts in images if key in facts.notes]
        if names:
            start = 'WARNING ' if key == 'flat' else ''
            lines.append(f'{start}{len(names)} of {len(images)} images have {text.format(alpha=loader.alpha)} (for '
                         f'example {names[0]})')
    return ImageSurvey(lines, value_range, fault)


def _needs_range(loader: LoadImageFromFile) -> bool:
    return loader.value_range is None and loader.color_type != 'unchanged'


def _look(path: str, loader: LoadImageFromFile) -> _Facts | None:
    """Return the facts of an image; None if it cannot be read."""
    try:
        stored = loader.read(path)
    except (DataError, MissingFileError):
        return None
    header, pixels, alpha = read_header(path), stored.pixels, stored.alpha
    kind = _KINDS.get(pixels.shape[2], f'{pixels.shape[2]} channels')
    if kind in _KINDS.values():  # of 8 bits they are converted already
        kind = _KINDS.get(header.mode, kind)
    if alpha is not None:
        kind += ' and alpha'
    facts = _Facts('/'.join(Path(path).parts[-2:]), pixels.shape[1::-1], f'{kind}, {header.bits or 8} bit')
    if pixels.dtype != np.uint8:
        suffix = dict(f=' float', i=' signed').get(pixels.dtype.kind, '')
        facts.kind = f'{kind}, {8 * pixels.itemsize} bit{suffix}'
        facts.bounds = float(np.nanmin(pixels)), float(np.nanmax(pixels))
    if header.has_pages and header.format != 'MPO':  # a phone's JPEG with a preview
        facts.notes.add('pages')
    if alpha is not None and stored.opacity.min() < 255 and loader.color_type != 'unchanged':
        facts.notes.add('alpha')
    if pixels.shape[2] == 4 and loader.color_type != 'unchanged':
        facts.notes.add('fourth')
    if facts.bounds is None or not _needs_range(loader):
        _compare(facts, pixels, loader.convert(stored, path), loader.value_range)
    return facts


def _compare(facts: _Facts, pixels: np.ndarray, loaded: np.ndarray, value_range: tuple[float, float] | None) -> None:
    """Note what the network would not see of an image."""
    if value_range is not None and ((pixels < value_range[0]) | (pixels > value_range[1])).mean() > _CLIPPED:
        facts.notes.add('clipped')
    if loaded.dtype == np.uint8 and int(loaded.max()) - int(loaded.min()) < _LEAST_CONTRAST:
        facts.notes.add('flat')
