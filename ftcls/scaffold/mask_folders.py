"""Where a folder has its images and their masks."""
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ftcls.datasets.headers import is_image
from ftcls.utils import DataError
from ftcls.utils.names import enumerate_names
from .folder_report import SPLITS, subfolders

__all__ = ['MaskFolder', 'find_masks']

_IMAGES = {'images', 'image', 'imgs', 'img'}
_MASKS = set('masks mask labels label annotations annotation segmentations segmentation seg gt groundtruth ground '
             'truth targets'.split())


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
    """Return where the images and the masks are, by the names of folders; None if there are no masks. ::

        images/ masks/             train/images/ train/masks/    images/train/ masks/train/
        train/ train_masks/        a.jpg a_mask.png              a.jpg masks/a.png

    Raises:
        DataError: If no mask is named like its image, or a folder of masks has no images.
    """
    names = subfolders(root)
    images: dict[str, tuple[str, list[str]]] = {}  # split to folder and files
    masks: dict[str, tuple[str, list[str]]] = {}
    for folder in ['', *names, *(f'{name}/{inner}' for name in names for inner in subfolders(root / name))]:
        words = _words(folder)
        split = SPLITS.get(' '.join(words - _IMAGES - _MASKS) or 'train')
        side = masks if words & _MASKS else images
        if split and ((files := _images(root / folder)) or split not in side):
            side[split] = folder, files
    folder, files = images['train']
    mask_folder, mask_files = masks.setdefault('train', images['train'])
    mask_name = _mask_name(files, mask_files, folder == mask_folder)
    if not mask_name and files and folder not in ('', mask_folder):
        other = mask_files or sorted({path.suffix for path in (root / mask_folder).rglob('*.*')})
        found = f'{enumerate_names(map(repr, other), 1) or "it is empty"} and {files[0]!r}'
        raise DataError(f'--data {root}: no mask image in {mask_folder} is named like an image in {folder} ({found}); '
                        'add one per image, such as x_mask.png for x.jpg (boxes and polygons are not supported)')
    if not mask_name:
        return None
    if folder == mask_folder:
        masks = images
    both = [split for split in ('train', 'val', 'test') if split in images and split in masks]
    splits = {split: (images[split][0], masks[split][0]) for split in both}
    used = {part for pair in splits.values() for part in pair}
    used |= {part.split('/')[0] for part in used}
    found = dict.fromkeys([*names, *(folder for folder, files in images.values() if files)])
    return MaskFolder(root, splits, mask_name, [folder for folder in found if folder not in used])


def _words(name: str) -> set[str]:
    return set(re.findall('[^-_. /{}]+', name.lower()))


def _images(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir() if not file.name.startswith('.') and is_image(str(file)))


def _mask_name(files: list[str], masks: list[str], is_mixed: bool) -> str:
    """Return the name of a mask, with ``{stem}``, that most of the images have; '' if there is none.

    Beside the images, a third of the files must be masks, and have a word for it in their names.
    """
    found: Counter = Counter()
    sample = files[:100]
    for name in sample:
        stem = Path(name).stem
        for mask in (mask for mask in masks if stem in mask):
            parts = mask.partition(stem), mask.rpartition(stem)
            found.update({f'{before}{{stem}}{after}' for before, _, after in parts})
    if is_mixed:
        found = Counter({mask: count for mask, count in found.items() if _words(mask) & _MASKS})
    (name, count), = found.most_common(1) or [('', 0)]
    return name if not is_mixed or 3 * count >= len(sample) else ''
