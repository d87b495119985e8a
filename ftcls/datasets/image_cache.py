"""Images that are decoded once, and kept as uint8 in a memory-mapped file that all workers and processes share."""
import copy
import math
import os
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Literal

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from ftcls.utils import ConfigError, DataError, MissingFileError
from ftcls.utils.arguments import check_arguments
from ftcls.utils.array_file import SHARED_MEMORY, ArrayFile, cache_folder, file_state
from ftcls.utils.digest import digest
from ftcls.utils.names import plural
from ftcls.utils.processes import is_last_here, usable_cores
from ftcls.utils.tree import as_list
from ftcls.utils.types import PositiveFloat, PositiveInt
from .bad_samples import IS_DAMAGED, TolerantDataset
from .headers import scan_headers
from .transforms.base import BaseTransform
from .transforms.decoder_errors import DAMAGED
from .transforms.image_ops import resize_image
from .transforms.loading import LoadImageFromFile
from .wrappers import iter_samples

__all__ = ['CacheSettings', 'CachedImages']

_LAYOUT = 1
# Where an image begins, its height, width and channels (0: not kept), those in its file, damage, checksum of the path.
_COLUMNS = 8
_FEW = 256  # images that are decoded before worker processes have started


@dataclass(frozen=True)
class CacheSettings:
    """Where the decoded images of a dataset are kept, and how large.

    Attributes:
        type: 'ram' keeps them in shared memory until the run ends, 'disk' in a file that later runs use too.
        short_side: Pixels of the shorter side, to which larger images are reduced (antialiased); None keeps the pixels
            as they are decoded.
        folder: Of 'disk'; None: ``$XDG_CACHE_HOME/ftcls/images``, by default in ``~/.cache``.
        limit: GiB that all caches in the folder, or in memory, may take; None: half of what is free.
    """
    type: Literal['ram', 'disk'] = 'disk'
    short_side: PositiveInt | None = None
    folder: str | None = None
    limit: PositiveFloat | None = None

    @property
    def path(self) -> Path:
        """The folder."""
        if self.type == 'disk':
            return Path(self.folder or cache_folder('images')).expanduser()
        if not SHARED_MEMORY.is_dir():
            raise ConfigError(f"type='ram' needs {SHARED_MEMORY}, which this system does not have; set type='disk'")
        return SHARED_MEMORY / f'ftcls-{os.getuid()}'


class CachedImages(BaseTransform):
    """Stands for the ``LoadImageFromFile`` of a pipeline; what the cache lacks is read from its file.

    - reads: ``img_path``, ``sample_idx``
    - adds: as ``LoadImageFromFile``; ``ori_shape`` is that of the file
    - removes: nothing

    Args:
        settings: Where and how large.
        pipeline: The transforms, of which the first is the loader.
        infos: What is known of each sample.

    Raises:
        ConfigError: If the samples have no files, or masks that would not fit, the pipeline does not begin with
            ``LoadImageFromFile``, or there is no room.
    """

    REQUIRED_KEYS = ('img_path', 'sample_idx')

    def __init__(self, settings: CacheSettings, pipeline: Sequence, infos: Iterable[Mapping[str, Any]]) -> None:
        has_masks, paths = False, []
        for info in infos:
            if 'img_path' not in info:
                raise ConfigError('the images are in memory already; remove cache')
            paths.append(os.fspath(info['img_path']))
            has_masks |= 'mask_path' in info
        if not pipeline or not isinstance(pipeline[0], LoadImageFromFile):
            raise ConfigError('keeps what LoadImageFromFile gives; let it be the first step of the pipeline')
        if has_masks and settings.short_side:
            raise ConfigError(f'short_side={settings.short_side}: masks keep their size; remove short_side')
        self.loader, self.count = pipeline[0], len(paths)
        started = time.perf_counter()
        decoder = _Decoder(self.loader, paths, settings.short_side)
        path = settings.path / f'{decoder.key()}.images'
        self.file, was_there = ArrayFile.ensure(path, decoder.size, decoder.write, settings.limit)
        if settings.type == 'ram' and is_last_here(path.name):
            path.unlink(missing_ok=True)  # the memory is freed when the last process ends, however it ends
        done = 'made before' if was_there else f'decoded in {time.perf_counter() - started:.1f} s'
        parts = [f'{plural(len(paths), "image")} in {path.parent}, {self.file.data.size / 2**20:,.1f} MiB, {done}']
        parts += self._notes(settings.short_side, pipeline)
        if has_masks:
            parts.append('masks are read from their files')
        self.line = '; '.join(parts)  #: What the preflight shows.

    @property
    def index(self) -> np.ndarray:
        """What is known of each image, (N, 8) int64, see ``_COLUMNS``."""
        return self.file.data[-8 * _COLUMNS * self.count:].view(np.int64).reshape(self.count, _COLUMNS)

    def transform(self, results: dict) -> dict | None:
        """Take the image from the cache."""
        start, *shape, height, width, _, checksum = self.index[results['sample_idx']].tolist()
        if not shape[2] or checksum != _checksum(os.fspath(results['img_path'])):
            return self.loader(results)
        img = self.file.data[start:start + math.prod(shape)].reshape(shape)
        # a copy, since transforms of others may write into it
        results = self.loader.with_loaded(results, img.astype(np.float32 if self.loader.to_float32 else np.uint8))
        results['ori_shape'] = (height, width)
        return results

    def _notes(self, short_side: int | None, pipeline: Sequence) -> Iterator[str]:
        if short_side:
            yield f'short side {short_side}'
        sizes = [as_list(getattr(step, name, 0)) for step in pipeline for name in ('scale', 'crop_size')]
        largest = max((size for size in chain(*sizes) if isinstance(size, int)), default=0)
        if short_side and largest > short_side:
            yield f'NOTE: the pipeline asks for {largest} pixels, which enlarges them'
        if absent := int((self.index[:, 3] == 0).sum()):
            yield f'{absent:,} are read from their files: not readable, or not 8 bits of 1, 3 or 4 channels'


class CachedDataset(TolerantDataset):
    """A dataset that can decode each of its images once, and keep the pixels for all epochs.

    Args:
        *args: As of :class:`.TolerantDataset`.
        cache: 'ram', 'disk', or a dict of :class:`CacheSettings`; None decodes an image whenever it is drawn.
        **kwargs: As of :class:`.TolerantDataset`.
    """

    IN_MEMORY: ClassVar[bool] = False  #: Whether the images are kept in memory anyway.

    def __init__(self, *args: Any, cache: Literal['ram', 'disk'] | dict | None = None, **kwargs: Any) -> None:
        self.cache: CacheSettings | None = None  #: Where decoded images are kept; None for nowhere.
        self.cached: CachedImages | None = None
        if isinstance(cache, str):
            cache = {'type': cache}
        if cache is not None:
            check_arguments(CacheSettings, cache, 'cache')
            self.cache = CacheSettings(**cache)
        super().__init__(*args, **kwargs)

    def __getitem__(self, idx: int) -> Any:
        """Return sample ``idx`` as the pipeline leaves it."""
        self.build_cache()
        return super().__getitem__(idx)

    def build_cache(self) -> list[str]:
        """Decode all images into the cache, if there is one and it is not open yet; return what the preflight shows.

        Raises:
            ConfigError: If the samples or the pipeline do not fit a cache, or there is no room.
        """
        if self.cache is None:
            return []
        if self.cached is None:
            if self.cache.type == 'ram' and get_worker_info() is not None:
                raise ConfigError("cache: 'ram' must be filled before workers start; call build_cache() of the dataset")
            steps = self.pipeline.transforms
            self.cached = CachedImages(self.cache, steps, iter_samples(self))
            steps[0] = self.cached
            self.marks[torch.from_numpy(self.cached.index[:, 6] > 0)] |= IS_DAMAGED
        return [self.cached.line]


class _Decoder(Dataset):
    """Decodes images as ``loader`` does, reduces them, and writes them to a file."""

    def __init__(self, loader: LoadImageFromFile, paths: Sequence[str], short_side: int | None) -> None:
        self.loader, self.paths, self.short_side = copy.copy(loader), paths, short_side
        self.loader.to_float32 = False

    def key(self) -> str:
        """Return what changes with anything that the pixels depend on."""
        loader, settings = type(self.loader).__name__, sorted(vars(self.loader).items())
        return digest(_LAYOUT, cv2.__version__, self.short_side, loader, settings, *map(file_state, self.paths))

    @property
    def size(self) -> int:
        """Bytes of all images and of what is known of them, from their headers."""
        channels = 4
        if self.loader.alpha != 'keep' and self.loader.color_type != 'unchanged':
            channels = 1 if self.loader.color_type.startswith('grayscale') else 3
        sizes = (self._reduced(header.height, header.width) for header in scan_headers(self.paths))
        return 8 * _COLUMNS * len(self.paths) + channels * sum(map(math.prod, sizes))

    def write(self, file: BinaryIO) -> None:
        """Decode all images, in worker processes where there are many, and write them."""
        workers = 0
        if len(self) >= _FEW and usable_cores() > 1:
            workers = usable_cores()
        # without a generator, the run's random numbers would move on
        images = DataLoader(self, None, num_workers=workers, collate_fn=_as_is, generator=torch.Generator())
        rows = []
        for path, (img, size, is_damaged) in zip(self.paths, images):
            rows.append((file.tell(), *img.shape, *size, is_damaged, _checksum(path)))
            file.write(np.ascontiguousarray(img))
        file.write(np.array(rows, np.int64))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> tuple[np.ndarray, tuple[int, int], bool]:
        path = self.paths[number]
        with suppress(DataError, MissingFileError):
            img = self.loader.convert(self.loader.read(path), path)
            if img.dtype == np.uint8 and img.shape[2] in (1, 3, 4):
                size = img.shape[:2]
                return resize_image(img, self._reduced(*size), 'bilinear', 'pillow'), size, path in DAMAGED
        return np.empty((0, 0, 0), np.uint8), (0, 0), False

    def _reduced(self, height: int, width: int) -> tuple[int, int]:
        ratio = min(1, (self.short_side or math.inf) / max(1, min(height, width)))
        return round(height * ratio), round(width * ratio)


def _as_is(image: Any) -> Any:
    return image


def _checksum(path: str) -> int:
    return zlib.crc32(path.encode(errors='surrogateescape'))
