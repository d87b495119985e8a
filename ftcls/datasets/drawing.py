"""Drawing parts of a dataset by the names of its images: the same on every machine, in any order of the files."""
import hashlib
import itertools
import unicodedata
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

import numpy as np

from ftcls.utils.tree import as_list, grouped

__all__ = ['draw_val', 'fold_numbers', 'label_lists', 'strata']


def label_lists(labels: Iterable[int | Sequence[int] | None]) -> list[list[int]]:
    """Return each sample's labels as a list, empty without a label."""
    return [[] if label is None else as_list(label) for label in labels]


def strata(labels: Sequence[int | Sequence[int] | None]) -> list[int | None]:
    """Return the class that each sample is drawn from: its label, the rarest of several, None without a label."""
    lists = label_lists(labels)
    counts = Counter(itertools.chain.from_iterable(lists))
    return [min(several, key=lambda label: (counts[label], label), default=None) for several in lists]


def draw_val(images: Sequence[tuple[str, Hashable]], fraction: float, seed: int) -> np.ndarray:
    """Draw the share ``fraction`` of the images of each class: at least one of two, and never all.

    A name and the seed give a number; the images with the lowest numbers are drawn. So images that are added later move
    only so few others to the other side as keep the fraction exact. A name that occurs twice is on one side.

    Args:
        images: Name and class of each image.
        fraction: Share to draw, 0 to 1.
        seed: Seed of the draw.

    Returns:
        Whether an image is drawn, (N, ) bool.
    """
    chosen: set[str] = set()
    for group in _groups(images, seed):
        if len(group) > 1:
            chosen.update(group[:min(max(round(len(group) * fraction), 1), len(group) - 1)])
    return np.asarray([name in chosen for name, _ in images], dtype=bool)


def fold_numbers(images: Sequence[tuple[str, Hashable]], folds: int, seed: int | None) -> np.ndarray:
    """Assign the images to ``folds`` folds, class by class, in the order of :func:`draw_val`'s numbers.

    Folds differ by one image at most, per class and in total. A name that occurs twice is in one fold.

    Args:
        images: Name and class of each image.
        folds: How many.
        seed: None keeps the order of the images.

    Returns:
        The number of each image's fold, (N, ) int64, from 0.
    """
    fold = {name: number % folds for number, name in enumerate(itertools.chain.from_iterable(_groups(images, seed)))}
    return np.asarray([fold[name] for name, _ in images], dtype=np.int64)


def _groups(images: Sequence[tuple[str, Hashable]], seed: int | None) -> list[list[str]]:
    """Return the names of each class in the order of drawing; a name in two classes counts for the first."""
    labels: dict[str, Hashable] = {}
    for name, label in images:
        labels.setdefault(name, label)
    groups = grouped((label, name) for name, label in labels.items())
    if seed is not None:
        for group in groups.values():
            group.sort(key=lambda name: _rank(name, seed))
    return list(groups.values())


def _rank(name: str, seed: int) -> bytes:
    """Return what an image is drawn by, whatever spelling of accents the system uses."""
    return hashlib.sha256(f'{seed}/{unicodedata.normalize("NFC", name)}'.encode()).digest()
