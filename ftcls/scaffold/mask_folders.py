"""Where a folder has its images and their masks."""
import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ftcls.datasets.headers import is_image
from ftcls.utils import DataError
from ftcls.utils.names import enumerate_names
from .folder_report import SPLITS, subfolders

__all__ = ['MaskFolder', 'find_masks']

_IMAGES = ('images', 'image', 'imgs', 'img')
_MASKS = ('masks', 'mask', 'labels', 'label', 'annotations', 'annotation', 'segmentations', 'segmentation', 'gt',
          'groundtruth', 'ground_truth', 'targets')
_MARK = re.compile(rf'(.+?)[-_. ]?(?:{"|".join(_MASKS)}|seg)', flags=re.IGNORECASE)


@dataclass(frozen=True)
class MaskFolder:
    """Images with masks.

    Attributes:
        root: The folder.
        splits: 'train', and 'val' and 'test' if there are folders for them, to the folders of the images and of the
            masks, relative to the root.
        mask_name: Name of an image's mask, with ``{stem}``.
        left_out: Folders in the root that are not used.
    """
    root: Path
    splits: dict[str, tuple[str, str]]
    mask_name: str
    left_out: list[str]


def find_masks(root: Path) -> MaskFolder | None:
    """Return where the images and the masks are; None if the folder is not one of images and masks. ::

        images/ masks/             train/images/ train/masks/    images/train/ masks/train/
        train/ train_masks/        a.jpg a_mask.png

    Raises:
        DataError: If no mask is named like its image, or a folder of masks has no images.
    """
    names = subfolders(root)
    found = {'train': _beside(root, '')}
    if found['train'] and not _images(root / found['train'][0]):
        images, masks = found['train']
        found = {
            SPLITS.get(name.lower(), ''): (f'{images}/{name}', f'{masks}/{name}')
            for name in subfolders(root / images)
        }
    elif not found['train']:
        splits = {name: SPLITS[name.lower()] for name in names if name.lower() in SPLITS}
        found = {split: _beside(root, name) for name, split in splits.items()}
        if not any(found.values()):
            found = {split: _of_split(names, name) for name, split in splits.items()}
    if not any(found.values()) and _side_by_side(_images(root)):
        found = {'train': ('', '')}
    if not found.get('train'):
        return None
    splits = {split: found[split] for split in ('train', 'val', 'test') if found.get(split)}
    used = {folder.split('/')[0] for pair in splits.values() for folder in pair}
    return MaskFolder(root, splits, _mask_name(root, *splits['train']), [name for name in names if name not in used])


def _images(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(file.name for file in folder.iterdir() if not file.name.startswith('.') and is_image(os.fspath(file)))


def _beside(root: Path, folder: str) -> tuple[str, str] | None:
    """Return the folders of images and of masks inside a folder, or the folder itself if it holds both."""
    by_name = {name.lower(): name for name in subfolders(root / folder)}
    images, masks = ([by_name[name] for name in names if name in by_name] for names in (_IMAGES, _MASKS))
    if images and masks:
        return Path(folder, images[0]).as_posix(), Path(folder, masks[0]).as_posix()
    return (folder, folder) if folder and _side_by_side(_images(root / folder)) else None


def _of_split(names: Iterable[str], name: str) -> tuple[str, str] | None:
    """Return a split's folder and that of its masks beside it, such as ``train_masks``."""
    masks = [other for other in names if (match := _MARK.fullmatch(other)) and match[1] == name]
    return (name, masks[0]) if masks else None


def _side_by_side(names: list[str]) -> str:
    """Return how masks are named that are in the folder of their images; '' if there are none."""
    stems = {Path(name).stem for name in names}
    marks: Counter = Counter()
    for name in names:
        match = _MARK.fullmatch(Path(name).stem)
        if match and match[1] in stems:
            marks[f'{{stem}}{name[len(match[1]):]}'] += 1
    (mark, count), = marks.most_common(1) or [('', 0)]
    return mark if 3 * count >= len(names) else ''


def _mask_name(root: Path, images: str, masks: str) -> str:
    """Return the name of a mask, with ``{stem}``, that most of the images have."""
    files, mask_files = _images(root / images), _images(root / masks)
    if images == masks:
        return _side_by_side(files)
    if not mask_files:
        others = Counter(Path(file.name).suffix or file.name for file in (root / masks).iterdir())
        hint = f', but {enumerate_names(others, 3)}; boxes and polygons are not supported' if others else ''
        raise DataError(f'--data {root}: the folder {masks!r} has no masks that are images{hint}; add one per image')
    found: Counter = Counter()
    for name in files[:100]:
        stem = Path(name).stem
        found.update({mask.replace(stem, '{stem}', 1) for mask in mask_files if stem in mask})
    if found:
        return found.most_common(1)[0][0]
    raise DataError(f'--data {root}: no mask in {masks} is named like the images in {images} ({mask_files[0]!r} and '
                    f'{files[0]!r}); name each mask like its image, for example x.jpg and x_mask.png')
