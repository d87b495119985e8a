"""Images that are there twice: the same bytes in two files, the same pixels in memory, or nearly the same picture."""
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from torch.utils.data import Dataset, Subset

from ftcls.utils.download import file_digest
from ftcls.utils.tree import as_list

__all__ = [
    'DOUBLES', 'Finding', 'Image', 'Look', 'child_datasets', 'compare_images', 'describe_pair', 'find_doubles',
    'images_of', 'look_at', 'same_content'
]

#: What the images are, by the kinds of :func:`find_doubles`.
DOUBLES = dict(
    shared='training images too', conflict='there again with another label or mask', copy='there again in the class')
_BLOCK = 4096  # bytes of the beginning, the middle and the end of a file that are compared first
_ROWS = 1000  # of the comparison of thumbnails at a time
_SIDE = 16  # pixels of a thumbnail
_ALIKE = 0.998  # correlation of the thumbnails of one picture, stored anew or in another size
_FLAT = 0.9  # share of one grey value in a placeholder such as "no longer available"
_LEAST_CONTRAST = 8.  # standard deviation of the grey values, 0 to 255; flatter thumbnails resemble one another


class Image(NamedTuple):
    """An image of a split.

    Attributes:
        name: Its path, or what it is called in messages.
        split: For example 'train'.
        label: What it shows; a mask's path counts by the mask's content.
        content: Its path, or the digest of its pixels.
    """
    name: str
    split: str
    label: Hashable
    content: str | bytes


Pairs = list[tuple[Image, Image]]
Look = tuple[np.ndarray, float]


def child_datasets(dataset: Dataset) -> list[Dataset]:
    """Return the datasets that a wrapper wraps; none of an innermost one."""
    return list(getattr(dataset, 'datasets', ())) or as_list(getattr(dataset, 'dataset', []))


def sample_infos(dataset: Dataset) -> Iterator[dict]:
    """Yield what a dataset, perhaps a wrapper, knows of each of its samples; nothing of a foreign dataset."""
    if hasattr(dataset, 'get_data_info'):  # also of a wrapper, which may use only a part of what it wraps
        yield from map(dataset.get_data_info, range(len(dataset)))
    elif isinstance(dataset, Subset):
        infos = list(sample_infos(dataset.dataset))
        yield from (infos[index] for index in dataset.indices if infos)
    else:
        for child in child_datasets(dataset):
            yield from sample_infos(child)


def images_of(dataset: Dataset, split: str) -> Iterator[tuple[Image, dict]]:
    """Yield the images of a dataset with what it knows of them; those in memory of one colour are left out."""
    for number, info in enumerate(sample_infos(dataset)):
        label: Any = info.get('gt_label')
        if 'mask_path' in info:
            label = Path(info['mask_path'])
        elif isinstance(label, list | tuple):
            label = frozenset(label)
        path, pixels = info.get('img_path'), info.get('img')
        if path is not None:
            yield Image(path, split, label, os.path.abspath(path)), info
        elif isinstance(pixels, np.ndarray) and pixels.min() != pixels.max():
            digest = blake2b(pixels.tobytes(), digest_size=16).digest()
            yield Image(f'{split} sample {number}', split, label, digest), info


def same_content(images: Sequence[Image]) -> list[list[Image]]:
    """Return the groups of images with the same content, in the order of the images.

    Only files of equal size are read, and whole only those whose beginning, middle and end agree.
    """
    keys: list[Hashable] = [image.content for image in images]
    again = list(range(len(images)))
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for key_of in (os.path.getsize, _read_parts, file_digest):
            files = [index for index in again if isinstance(images[index].content, str)]
            found = pool.map(partial(_key, key_of), [images[index].content for index in files])
            for index, key in zip(files, found):
                keys[index] = key
            counts = Counter(keys)
            again = [index for index, key in enumerate(keys) if counts[key] > 1]
    groups = defaultdict(list)
    for index in again:
        groups[keys[index]].append(images[index])
    return list(groups.values())


def _key(key_of: Callable[[str], Hashable], path: str) -> Hashable:
    try:
        return key_of(path)
    except OSError:  # whoever reads the image says why
        return path


def _read_parts(path: str) -> bytes:
    """Return the beginning, the middle and the end of a file."""
    parts = []
    with open(path, 'rb') as file:
        size = file.seek(0, os.SEEK_END)
        for start in (0, size // 2, max(size - _BLOCK, 0)):
            file.seek(start)
            parts.append(file.read(_BLOCK))
    return b''.join(parts)


def find_doubles(groups: Iterable[Sequence[Image]]) -> dict[tuple[str, str], Pairs]:
    """Return pairs of images that are the same, an image and an earlier one, by kind and split of the image.

    The kinds are 'shared' (a training image in another split), 'conflict' (with another label, or a mask of another
    content) and 'copy' (in the same split, with the same label).
    """
    found: dict[tuple[str, str], Pairs] = defaultdict(list)
    for group in groups:
        first_of: dict[str, Image] = {}
        for image in group:
            first = first_of.setdefault(image.split, image)
            if group[0].split == 'train' != image.split:
                found['shared', image.split].append((image, group[0]))
            if first is image:
                first = group[0]
            if _truth(first) != _truth(image):
                found['conflict', image.split].append((image, first))
            elif first is not image and first.split == image.split:
                found['copy', image.split].append((image, first))
    return found


def _truth(image: Image) -> Hashable:
    """Return an image's label, or the digest of its mask."""
    return file_digest(image.label) if isinstance(image.label, Path) else image.label


def describe_pair(pair: tuple[Image, Image]) -> str:
    """Return a pair of :func:`find_doubles` in words, the earlier image first."""
    image, other = pair
    paths = {image.content, other.content} if isinstance(image.content, str) else ()
    is_link = len(paths) == 2 and os.path.samefile(*paths)
    link = ' (one file, by a link)' if is_link else ''
    return f'{other.name} = {image.name}{link}'


class Finding(NamedTuple):
    """What is wrong with images of a split; ``level`` is 'ERROR', 'WARNING' or 'note'."""
    level: str
    split: str
    text: str
    names: list[str]


def compare_images(images: Sequence[Image], looks: Mapping[str, Look]) -> list[Finding]:
    """Return what images have in common that they should not, by content, and by :func:`look_at` of their names."""
    same = same_content(images)
    group_of = {image.name: number for number, group in enumerate(same) for image in group}
    seen = [image for image in images if image.name in looks]
    if isinstance(next(iter(seen), images[0]).label, Path):  # masks of nearly the same images differ
        seen = [image._replace(label=None) for image in seen]
    near = near_pairs(seen, np.stack([looks[image.name][0] for image in seen])) if seen else []
    near = [pair for pair in near if len({group_of.get(image.name, image.name) for image in pair}) > 1]
    findings = []
    for nearly, level_of_others, groups in (('', 'ERROR', same), ('nearly ', 'WARNING', near)):
        for (kind, split), pairs in find_doubles(groups).items():
            level = 'note' if kind == 'copy' else level_of_others
            findings.append(Finding(level, split, f'{nearly}{DOUBLES[kind]}', list(map(describe_pair, pairs))))
    outliers = find_outliers(seen, [looks[image.name][1] for image in seen])
    for split in dict.fromkeys(image.split for image in outliers):
        names = [image.name for image in outliers if image.split == split]
        findings.append(Finding('WARNING', split, 'one colour nearly everywhere, unlike all others', names))
    return findings


def look_at(img: np.ndarray) -> Look:
    """Return what :func:`near_pairs` and :func:`is_outlier` compare images (H, W, C) by.

    Returns:
        The image as grey values (256, ) float32 of mean 0 and length 1, all 0 where it is nearly flat; and the share of
        its most frequent grey value.
    """
    grey = img.mean(axis=2, dtype=np.float32)
    small = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).ravel()
    small -= small.mean()
    length = np.linalg.norm(small)
    if length < _LEAST_CONTRAST * _SIDE:
        small, length = np.zeros_like(small), 1.
    return small / length, float(np.unique(grey.astype(np.int64), return_counts=True)[1].max() / grey.size)


def near_pairs(images: Sequence[Image], thumbnails: np.ndarray) -> Pairs:
    """Return the pairs of images whose thumbnails (N, 256) show one picture, stored anew or in another size."""
    pairs = []
    for start in range(0, len(images), _ROWS):
        alike = thumbnails[start:start + _ROWS] @ thumbnails[start:].T > _ALIKE
        for row, column in zip(*np.nonzero(np.triu(alike, k=1))):
            pairs.append((images[start + row], images[start + column]))
    return pairs


def find_outliers(images: Sequence[Image], shares: Sequence[float]) -> list[Image]:
    """Return images that nearly have one grey value only, such as placeholders, among others that have not."""
    flat = [image for image, share in zip(images, shares) if share > _FLAT]
    return flat if flat and np.median(shares) < _FLAT / 3 and len(flat) <= max(1, len(images) // 50) else []
