"""Images with masks of foreground and background."""
import os
from collections.abc import Iterable, Sequence, Sized
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from ftcls.registry import DATASETS
from ftcls.utils import ConfigError, DataError, MissingFileError, did_you_mean
from ftcls.utils.types import Fraction
from .base_dataset import BaseDataset, listed
from .list_files import missing_hint
from .transforms.mask_loading import MASK_MODES, binary_mask, many_channels, stored_mask

__all__ = ['BinarySegDataset', 'CarvanaDataset']

_EXTENSIONS = ('.jpg', '.jpeg', '.png', '.gif', '.bmp', '.tif', '.tiff', '.webp', '.ppm', '.pgm')
_CHECKED_PAIRS = 5_000  # so many headers are read at most, evenly spread
_COUNTED_MASKS = 24  # so many masks are read whole for the share of foreground
_ORIENTATION = 0x0112  # EXIF; 5 to 8 mean that the image is stored turned by 90 degrees


@DATASETS.register_module()
class BinarySegDataset(BaseDataset):
    """Images in one folder, their masks in another (or the same), one mask per image: ::

        data/membrane/              data_root='data/membrane'
        ├── images/                 img_dir
        │   └── 0.png               JPEG, PNG, GIF, BMP, TIFF, WebP
        └── masks/                  mask_dir
            └── 0_mask.png          mask_name='{stem}_mask.png'

    Before training, each image is compared with its mask: the names of all, sizes and channels of up to 5,000 pairs
    by the files' headers.

    A split is drawn by the images' names, see :meth:`BaseDataset.draw_split`.

    Args:
        data_root: Folder that the others are relative to.
        img_dir: Folder of the images.
        mask_dir: Folder of the masks.
        mask_name: File name of an image's mask; ``{stem}`` is the image's name without its ending.
        foreground: 'nonzero' (any pixel that is not 0; with a palette, not black), or the value (index) of foreground.
        ignore_value: The value that is neither, which losses and metrics leave out; None for none.
        split: 'train', 'val', or None for all images.
        val_fraction: Share of 'val'; at least one image on each side.
        split_seed: Seed of the split.
        **kwargs: The other arguments of :class:`BaseDataset`, such as ``pipeline`` and ``indices``; ``classes`` gives
            the two other names.

    Raises:
        MissingFileError: If a folder does not exist.
        DataError: If a folder has no images, an image no mask, a mask no image, or the two do not match.
        ConfigError: If ``mask_name`` has no ``{stem}``, or ``ignore_value`` is the foreground.
    """

    METAINFO = {'classes': ('background', 'foreground')}

    def __init__(self,
                 data_root: str = '',
                 img_dir: str = 'images',
                 mask_dir: str = 'masks',
                 mask_name: str = '{stem}_mask.png',
                 foreground: Literal['nonzero'] | int = 'nonzero',
                 ignore_value: int | None = None,
                 split: Literal['train', 'val'] | None = None,
                 val_fraction: Fraction = 0.3,
                 split_seed: int = 0,
                 **kwargs: Any) -> None:
        if mask_name.count('{stem}') != 1 or mask_name.count('{') != 1:
            raise ConfigError(f"mask_name={mask_name!r}: must contain {{stem}} once, such as '{{stem}}_mask.png'")
        if ignore_value is not None and ignore_value == foreground:
            raise ConfigError(f'ignore_value={ignore_value} is also the value of foreground')
        self.mask_name, self.foreground, self.ignore_value = mask_name, foreground, ignore_value
        #: Share of foreground among the pixels of up to 24 masks of the split, 0 to 1.
        self.foreground_share = 0.
        if split is not None:
            kwargs |= dict(split=split, val_fraction=val_fraction, split_seed=split_seed)
        prefixes = dict(img_path=img_dir, mask_path=mask_dir)
        super().__init__('', data_root=data_root, data_prefix=prefixes, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Return ``dict(img_path, mask_path, foreground, ignore_value)`` for every image."""
        if len(self.CLASSES) != 2:
            raise ConfigError(f'classes={list(self.CLASSES)}: there must be two, background and foreground')
        return [
            dict(img_path=image, mask_path=mask, foreground=self.foreground, ignore_value=self.ignore_value)
            for image, mask in self._pairs()
        ]

    def filter_data(self) -> list[dict]:
        """Return the samples of the split, whose images and masks match."""
        kept = super().filter_data()
        for info in _spread(kept, _CHECKED_PAIRS):
            _check_pair(info['img_path'], info['mask_path'])
        self._count_foreground([info['mask_path'] for info in _spread(kept, _COUNTED_MASKS)])
        return kept

    def image_names(self, data_list: Sequence[dict]) -> list[str]:
        """Return the file name of each image without its ending: what a split is drawn by."""
        return [Path(info['img_path']).stem for info in data_list]

    def _pairs(self) -> list[tuple[str, str]]:
        """Return the paths of each image and its mask, sorted."""
        folder, mask_folder = self.data_prefix['img_path'], self.data_prefix['mask_path']
        images, masks = self._files(folder, 'img_dir'), self._files(mask_folder, 'mask_dir')
        before, after = self.mask_name.split('{stem}')
        if os.path.realpath(folder) == os.path.realpath(mask_folder):
            masks = [name for name in masks if name.startswith(before) and name.endswith(after)]
            images = sorted(set(images) - set(masks))
        image_of: dict[str, str] = {}
        for name in images:
            other = image_of.setdefault(f'{before}{Path(name).stem}{after}', name)
            if other != name:
                raise DataError(f'{folder}: {other!r} and {name!r} would have the same mask; rename or remove one')
        missing = sorted(set(image_of) - set(masks))
        orphans = sorted(set(masks) - set(image_of))
        if missing:
            image, mask = os.path.join(folder, image_of[missing[0]]), os.path.join(mask_folder, missing[0])
            raise DataError(
                f'{image} has no mask {mask!r}{did_you_mean(missing[0], orphans)}{_more(missing)}; add the mask, '
                f'remove the image, or change mask_name={self.mask_name!r}')
        if orphans:
            mask = os.path.join(mask_folder, orphans[0])
            raise DataError(f'{mask} is a mask without an image in {folder}{_more(orphans)}; add or remove one')
        return [(os.path.join(folder, image), os.path.join(mask_folder, mask)) for mask, image in image_of.items()]

    def _files(self, folder: str, argument: str) -> list[str]:
        """Return the names of the images in a folder, sorted."""
        if not os.path.isdir(folder):
            raise MissingFileError(f'no folder {folder!r}{missing_hint(folder)}; correct data_root or {argument}')
        names = sorted(n for n in os.listdir(folder) if n.lower().endswith(_EXTENSIONS) and not n.startswith('.'))
        if not names:
            raise DataError(f'{folder!r} has no images ({", ".join(_EXTENSIONS)}); correct data_root or {argument}')
        return names

    def _count_foreground(self, masks: Iterable[str]) -> None:
        """Set :attr:`foreground_share`; refuse a value of foreground that no mask has."""
        foreground = pixels = 0
        values: set[int] = set()
        for path in masks:
            stored = stored_mask(path, self.foreground)
            mask = binary_mask(stored, self.foreground, self.ignore_value)
            foreground += int((mask == 1).sum())
            pixels += int((mask != 255).sum())
            values |= set(np.unique(stored).tolist())
        self.foreground_share = foreground / max(pixels, 1)
        if not foreground and self.foreground != 'nonzero':
            raise DataError(f'foreground={self.foreground}: none of the masks checked, such as {path}, has that value; '
                            f'they have {listed(map(str, sorted(values)))}')

    def class_counts(self) -> None:
        """Return None: images are not counted by class."""

    @property
    def drawn(self) -> str:
        """The split and the share of foreground, for the preflight."""
        share = f'{100 * self.foreground_share:.1f} % of the pixels are foreground'
        return '; '.join(filter(None, [share, super().drawn]))

    def extra_repr(self) -> list[str]:
        """Lines of ``repr`` about where the data is."""
        split = f'split: {self.split}'
        if self.split is not None:
            split += f' (val_fraction={self.val_fraction:.3g}, split_seed={self.split_seed})'
        masks = f'masks: {self.data_prefix["mask_path"]}, {self.mask_name}, foreground: {self.foreground}'
        return [f'images: {self.img_prefix}', masks, split]


@DATASETS.register_module()
class CarvanaDataset(BinarySegDataset):
    """Cars and their outlines (Kaggle's carvana-image-masking-challenge): 5,088 images of 1918x1280. ::

        data/carvana/               or, as public U-Nets have it
        ├── train/*.jpg             ├── imgs/*.jpg
        └── train_masks/*_mask.gif  └── masks/*_mask.gif

    Args:
        data_root: Folder of the two folders.
        img_dir: Folder of the images; None for the one of the two layouts that exists.
        mask_dir: Folder of the masks; None as for ``img_dir``.
        mask_name: See :class:`BinarySegDataset`.
        **kwargs: The other arguments of :class:`BinarySegDataset`.
    """

    def __init__(self,
                 data_root: str = '',
                 img_dir: str | None = None,
                 mask_dir: str | None = None,
                 mask_name: str = '{stem}_mask.gif',
                 **kwargs: Any) -> None:
        folders = ('imgs', 'masks')
        if os.path.isdir(os.path.join(os.path.expanduser(data_root), 'train_masks')):
            folders = ('train', 'train_masks')
        super().__init__(data_root, img_dir or folders[0], mask_dir or folders[1], mask_name, **kwargs)


def _more(names: Sized) -> str:
    return f' (and {len(names) - 1} more of this kind)' if len(names) > 1 else ''


def _spread(infos: Sequence[dict], most: int) -> Sequence[dict]:
    """Return at most so many of the samples, evenly spread."""
    return infos[::-(-len(infos) // most)]


def _check_pair(image: str, mask: str) -> None:
    """Compare an image with its mask by the files' headers.

    Raises:
        DataError: If a file is not an image, the mask has several channels, or their sizes differ.
    """
    size, _ = _header(image)
    mask_size, mode = _header(mask)
    if mode not in MASK_MODES:
        raise many_channels(mask, mode)
    if size != mask_size:
        raise DataError(
            f'{image} is {size[0]}x{size[1]} pixels, its mask {mask} {mask_size[0]}x{mask_size[1]} (width x '
            'height); resize one of them')


def _header(path: str) -> tuple[tuple[int, int], str]:
    """Return the size (W, H), as the image is shown, and Pillow's mode of an image."""
    try:
        with Image.open(path) as img:
            if img.getexif().get(_ORIENTATION, 1) >= 5:
                return img.size[::-1], img.mode
            return img.size, img.mode
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as err:
        raise DataError(f'{path} cannot be read as an image; it is broken or of another kind: replace it') from err
