"""Pictures with masks of foreground and background."""
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from ftcls.registry import DATASETS
from ftcls.utils import ConfigError, DataError, MissingFileError, did_you_mean
from .base_dataset import BaseDataset, listed, missing_hint
from .drawing import check_split
from .transforms.annotations import MASK_MODES, binary_mask, stored_mask

__all__ = ['BinarySegDataset', 'CarvanaDataset']

_EXTENSIONS = ('.jpg', '.jpeg', '.png', '.gif', '.bmp', '.tif', '.tiff', '.webp', '.ppm', '.pgm')
_CHECKED_PAIRS = 5_000  # so many headers are read at most, evenly spread
_COUNTED_MASKS = 24  # so many masks are read whole for the share of foreground
_ORIENTATION = 0x0112  # EXIF; 5 to 8 stand for a picture that lies on its side


@DATASETS.register_module()
class BinarySegDataset(BaseDataset):
    """Pictures in one folder, their masks in another (or the same), one mask a picture: ::

        data/membrane/              data_root='data/membrane'
        ├── images/                 img_dir
        │   └── 0.png               JPEG, PNG, GIF, BMP, TIFF, WebP
        └── masks/                  mask_dir
            └── 0_mask.png          mask_name='{stem}_mask.png'

    Before training, each picture is held against its mask: names of all, sizes and channels of up to 5,000 pairs by the
    files' headers.

    A split is drawn by the pictures' names, see :meth:`BaseDataset.draw_split`.

    Args:
        data_root: Folder that the others count from.
        img_dir: Folder of the pictures.
        mask_dir: Folder of the masks.
        mask_name: File name of a picture's mask, ``{stem}`` being the picture's name without its ending.
        foreground: 'nonzero' (any pixel that is not 0; with a palette, not black), or the value (index) of foreground.
        ignore_value: The value that is neither, which losses and metrics leave out; None for none.
        split: 'train', 'val', or None for all pictures.
        val_fraction: Share of 'val', above 0 and below 1; at least one picture on each side.
        split_seed: Seed of the split.
        **kwargs: The other arguments of :class:`BaseDataset`, ``pipeline`` and ``indices`` among them; ``classes`` gives
            the two other names.

    Raises:
        MissingFileError: If a folder is not there.
        DataError: If a folder has no pictures, a picture no mask, a mask no picture, or the two do not fit each other.
        ConfigError: If an argument cannot be.
    """

    METAINFO = {'classes': ('background', 'foreground')}

    def __init__(self,
                 data_root: str = '',
                 img_dir: str = 'images',
                 mask_dir: str = 'masks',
                 mask_name: str = '{stem}_mask.png',
                 foreground: str | int = 'nonzero',
                 ignore_value: int | None = None,
                 split: Literal['train', 'val'] | None = None,
                 val_fraction: float = 0.3,
                 split_seed: int = 0,
                 **kwargs: Any) -> None:
        if mask_name.count('{stem}') != 1 or mask_name.replace('{stem}', '').count('{'):
            raise ConfigError(f"mask_name={mask_name!r}: expected a file name with one {{stem}}, '{{stem}}_mask.png'")
        if foreground != 'nonzero' and (not isinstance(foreground, int) or isinstance(foreground, bool)):
            raise ConfigError(f"foreground={foreground!r}: expected 'nonzero', or a value of the masks, such as 255")
        if ignore_value is not None and ignore_value == foreground:
            raise ConfigError(f'ignore_value={ignore_value} is also the value of foreground')
        check_split(split, val_fraction)
        self.mask_name, self.foreground, self.ignore_value = mask_name, foreground, ignore_value
        #: Share of foreground among the pixels of up to 24 masks of the split, 0 to 1.
        self.foreground_share = 0.
        super().__init__(
            ann_file='',
            data_root=data_root,
            data_prefix=dict(img_path=img_dir, mask_path=mask_dir),
            split=split,
            val_fraction=None if split is None else val_fraction,
            split_seed=0 if split is None else split_seed,
            **kwargs)

    def load_data_list(self) -> list[dict]:
        """Return ``dict(img_path, mask_path, foreground, ignore_value)`` for every picture."""
        if len(self.CLASSES) != 2:
            raise ConfigError(f'classes={list(self.CLASSES)}: {type(self).__name__} has two, background and foreground')
        return [
            dict(img_path=picture, mask_path=mask, foreground=self.foreground, ignore_value=self.ignore_value)
            for picture, mask in self._pairs()
        ]

    def filter_data(self) -> list[dict]:
        """Return the samples of the split, whose pictures and masks fit each other."""
        kept = super().filter_data()
        _check_pairs([(info['img_path'], info['mask_path']) for info in kept])
        self._count_foreground([info['mask_path'] for info in kept])
        return kept

    def picture_names(self, data_list: Sequence[dict]) -> list[str]:
        """Return the file name of each picture without its ending: what a split is drawn by."""
        return [Path(info['img_path']).stem for info in data_list]

    def _pairs(self) -> list[tuple[str, str]]:
        """Return the paths of each picture and its mask, sorted."""
        folder, mask_folder = self.data_prefix['img_path'], self.data_prefix['mask_path']
        pictures, masks = self._pictures(folder, 'img_dir'), self._pictures(mask_folder, 'mask_dir')
        before, after = self.mask_name.split('{stem}')
        if os.path.realpath(folder) == os.path.realpath(mask_folder):
            masks = [m for m in masks if m.startswith(before) and m.endswith(after)]
            pictures = sorted(set(pictures) - set(masks))
        by_stem: dict[str, str] = {}
        for name in pictures:
            other = by_stem.setdefault(Path(name).stem, name)
            if other != name:
                raise DataError(f'{folder}: {other!r} and {name!r} would have the same mask; rename or remove one')
        expected = {f'{before}{stem}{after}': name for stem, name in by_stem.items()}
        missing = {mask: name for mask, name in expected.items() if mask not in set(masks)}
        orphans = sorted(set(masks) - set(expected))
        if missing:
            mask, name = next(iter(missing.items()))
            raise DataError(f'{os.path.join(folder, name)} has no mask {os.path.join(mask_folder, mask)!r}'
                            f'{did_you_mean(mask, orphans)}{_more(missing)}; add the mask, remove the picture, or set '
                            f'mask_name (now {self.mask_name!r}) to how the masks are named')
        if orphans:
            raise DataError(f'{os.path.join(mask_folder, orphans[0])} is the mask of no picture in {folder}'
                            f'{_more(orphans)}; add the picture, or remove the mask')
        return [(os.path.join(folder, name), os.path.join(mask_folder, mask)) for mask, name in expected.items()]

    def _pictures(self, folder: str, argument: str) -> list[str]:
        """Return the names of the pictures that lie in a folder, sorted."""
        if not os.path.isdir(folder):
            raise MissingFileError(f'no folder {folder!r}{missing_hint(folder)}; set data_root and {argument} to where '
                                   f'the {"pictures" if argument == "img_dir" else "masks"} are')
        names = sorted(n for n in os.listdir(folder) if n.lower().endswith(_EXTENSIONS) and not n.startswith('.'))
        if not names:
            raise DataError(f'the folder {folder!r} has no pictures ({", ".join(_EXTENSIONS)}); put them there, or '
                            f'set {argument}')
        return names

    def _count_foreground(self, masks: Sequence[str]) -> None:
        """Set :attr:`foreground_share`; refuse a value of foreground that no mask has."""
        foreground = pixels = 0
        values: set[int] = set()
        for path in masks[::-(-len(masks) // _COUNTED_MASKS)]:
            stored = stored_mask(path, self.foreground)
            mask = binary_mask(stored, self.foreground, self.ignore_value)
            foreground += int((mask == 1).sum())
            pixels += int((mask != 255).sum())
            values |= set(np.unique(stored).tolist())
        self.foreground_share = foreground / max(pixels, 1)
        if not foreground and self.foreground != 'nonzero':
            raise DataError(f'foreground={self.foreground}: none of the masks looked at has that value, {masks[0]} for '
                            f'one; they have {listed([str(v) for v in sorted(values)])}')

    def class_counts(self) -> None:
        """Return None: pictures are not counted by class."""

    @property
    def drawn(self) -> str:
        """The split and the share of foreground, for the preflight."""
        how = super().drawn
        return f'{100 * self.foreground_share:.1f} % of the pixels are foreground' + (f'; {how}' if how else '')

    def extra_repr(self) -> list[str]:
        """Lines of ``repr`` about where the data is."""
        return [
            f'pictures: {self.data_prefix["img_path"]}',
            f'masks: {self.data_prefix["mask_path"]}, {self.mask_name}, foreground: {self.foreground}',
            f'split: {self.split}' +
            ('' if self.split is None else f' (val_fraction={self.val_fraction:.3g}, split_seed={self.split_seed})')
        ]


@DATASETS.register_module()
class CarvanaDataset(BinarySegDataset):
    """Cars and their outlines (Kaggle's carvana-image-masking-challenge): 5,088 pictures of 1918x1280. ::

        data/carvana/               or, as public U-Nets have it
        ├── train/*.jpg             ├── imgs/*.jpg
        └── train_masks/*_mask.gif  └── masks/*_mask.gif

    Args:
        data_root: Folder of the two folders.
        img_dir: Folder of the pictures; None for the one of the two that is there.
        mask_dir: Folder of the masks; None likewise.
        mask_name: As of :class:`BinarySegDataset`.
        **kwargs: The other arguments of :class:`BinarySegDataset`.
    """

    def __init__(self,
                 data_root: str = '',
                 img_dir: str | None = None,
                 mask_dir: str | None = None,
                 mask_name: str = '{stem}_mask.gif',
                 **kwargs: Any) -> None:
        kaggle = os.path.isdir(os.path.join(os.path.expanduser(data_root), 'train_masks'))
        super().__init__(
            data_root=data_root,
            img_dir=img_dir or ('train' if kaggle else 'imgs'),
            mask_dir=mask_dir or ('train_masks' if kaggle else 'masks'),
            mask_name=mask_name,
            **kwargs)


def _more(names: Sequence[str] | dict) -> str:
    return f' (and {len(names) - 1} more like this)' if len(names) > 1 else ''


def _check_pairs(pairs: Sequence[tuple[str, str]]) -> None:
    """Hold pictures against their masks by the files' headers.

    Raises:
        DataError: If a file is no picture, a mask has several channels, or their sizes differ.
    """
    for picture, mask in pairs[::-(-len(pairs) // _CHECKED_PAIRS)]:
        size, _ = _header(picture)
        mask_size, mode = _header(mask)
        if mode not in MASK_MODES:
            raise DataError(f'the mask {mask} has several channels ({mode}); a mask has one: save it again as grey, '
                            "Image.open(path).convert('L').save(path) with Pillow")
        if size != mask_size:
            raise DataError(f'{picture} is {size[0]}x{size[1]} pixels, its mask {mask} {mask_size[0]}x{mask_size[1]} '
                            '(width x height); make the mask from this very picture, or resize one of them')


def _header(path: str) -> tuple[tuple[int, int], str]:
    """Return the size (W, H), as the picture is shown, and Pillow's mode of a picture."""
    try:
        with Image.open(path) as img:
            lies = img.getexif().get(_ORIENTATION, 1) >= 5
            return (img.size[::-1] if lies else img.size), img.mode
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as err:
        raise DataError(f'{path} cannot be read as a picture; it is broken or of another kind: replace it') from err
