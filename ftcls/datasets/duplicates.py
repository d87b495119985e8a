"""Images that are there twice: the same bytes in two files, the same pixels in memory, or nearly the same picture."""
import contextlib
import os
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from torch.utils.data import Dataset

from ftcls.utils.download import file_digest
from ftcls.utils.tree import grouped
from .wrappers import iter_samples

__all__ = [
    'DOUBLES', 'Finding', 'Image', 'Look', 'compare_images', 'describe_pair', 'find_doubles', 'images_of', 'look_at',
    'same_content'
]

DOUBLES = dict(  #: What the images are, by the kinds of :func:`find_doubles`.
    shared='training images too',
    conflict='there again with another label or mask',
    copy='there again in the class')
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
    content: Path | bytes


Pairs = list[tuple[Image, Image]]
Look = tuple[np.ndarray, float]


def images_of(dataset: Dataset, split: str) -> Iterator[tuple[Image, Mapping[str, Any]]]:
    """Yield the images of a dataset with what it knows of them; those in memory of one colour are left out."""
    for number, info in enumerate(iter_samples(dataset)):
        label: Any = info.get('gt_label')
        if 'mask_path' in info:
            label = Path(info['mask_path'])
        elif isinstance(label, list | tuple):
            label = frozenset(label)
        path, pixels = info.get('img_path'), info.get('img')
        if path is not None:
            yield Image(path, split, label, Path(os.path.abspath(path))), info
        elif isinstance(pixels, np.ndarray) and (data := pixels.tobytes()) != data[:pixels.itemsize] * pixels.size:
            yield Image(f'{split} sample {number}', split, label, blake2b(data, digest_size=16).digest()), info


def same_content(images: Sequence[Image]) -> list[list[Image]]:
    """Return the groups of images with the same content.

    Only files of equal size are read, and whole only those whose beginning, middle and end agree.
    """
    in_memory = grouped((image.content, image) for image in images if isinstance(image.content, bytes))
    again = [image for image in images if isinstance(image.content, Path)]
    groups: dict[Hashable, list[Image]] = {}
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for key_of in (os.path.getsize, _hash_parts, file_digest):
            groups = grouped(zip(pool.map(partial(_key, key_of), [image.content for image in again]), again))
            again = [image for group in groups.values() if len(group) > 1 for image in group]
    return [group for group in (*in_memory.values(), *groups.values()) if len(group) > 1]


def _key(key_of: Callable[[Path], Hashable], content: Hashable) -> Hashable:
    """Return what is known of a file, or what is given if it is no file that can be read."""
    with contextlib.suppress(OSError):  # whoever reads the image says why
        return key_of(content) if isinstance(content, Path) else content
    return content


def _hash_parts(path: Path) -> int:
    size = os.path.getsize(path)
    starts = (0, size // 2, max(size - _BLOCK, 0))
    return hash(tuple(np.fromfile(path, np.uint8, _BLOCK, offset=start).tobytes() for start in starts))


def find_doubles(groups: Iterable[Sequence[Image]]) -> dict[tuple[str, str], Pairs]:
    """Return pairs of images that are the same, an image and the first of its group, by kind and split of the image.

    The kinds are 'shared' (a training image in another split), 'conflict' (with another label, or a mask of another
    content) and 'copy' (in the same split, with the same label).
    """
    found: dict[tuple[str, str], Pairs] = defaultdict(list)
    for first, *others in groups:
        for image in others:
            if first.split == 'train' != image.split:
                found['shared', image.split].append((image, first))
            if _key(file_digest, first.label) != _key(file_digest, image.label):
                found['conflict', image.split].append((image, first))
            elif first.split == image.split:
                found['copy', image.split].append((image, first))
    return found


def describe_pair(pair: tuple[Image, Image]) -> str:
    """Return a pair of :func:`find_doubles` in words, the earlier image first."""
    image, first = pair
    text = f'{first.name} = {image.name}'
    files = {one.content for one in pair if isinstance(one.content, Path)}
    if len(files) == 2 and os.path.samefile(*files):
        text += ' (one file, by a link)'
    return text


class Finding(NamedTuple):
    """What is wrong with images of a split; ``level`` is 'ERROR', 'WARNING' or 'note'."""
    level: str
    split: str
    text: str
    names: list[str]
    pairs: Pairs = ()


def compare_images(images: Sequence[Image], looks: Mapping[str, Look]) -> list[Finding]:
    """Return what images have in common that they should not, by content, and by :func:`look_at` of their names."""
    same = same_content(images)
    again = {image for group in same for image in group[1:]}
    seen = [image for image in images if image.name in looks and image not in again]
    if any(isinstance(image.label, Path) for image in seen):  # masks of nearly the same images differ
        seen = [image._replace(label=None) for image in seen]
    near = near_pairs(seen, np.array([looks[image.name][0] for image in seen]))
    findings = []
    for nearly, level, groups in (('', 'ERROR', same), ('nearly ', 'WARNING', near)):
        for (kind, split), pairs in find_doubles(groups).items():
            names = list(map(describe_pair, pairs))
            kind_level = dict(copy='note').get(kind, level)
            findings.append(Finding(kind_level, split, f'{nearly}{DOUBLES[kind]}', names, pairs))
    outliers = find_outliers(seen, [looks[image.name][1] for image in seen])
    for split, names in grouped((image.split, image.name) for image in outliers).items():
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
