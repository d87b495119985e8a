"""Drawing parts of a dataset by its pictures' names: the same on every machine, whatever the order of the files."""
import hashlib
import unicodedata
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from ftcls.utils import ConfigError
from .transforms.base import choice_of

__all__ = ['Picture', 'check_shots', 'check_split', 'draw_val', 'fold_numbers', 'strata']

# The name that a picture is drawn by, and the class that it is drawn from.
Picture = tuple[str, Hashable]


def check_split(split: str | None, val_fraction: float | None) -> None:
    """Refuse arguments of a split that cannot be.

    Raises:
        ConfigError: If ``split`` is neither 'train', 'val' nor None, or ``val_fraction`` not between 0 and 1.
    """
    if split is not None:
        choice_of(split, ('train', 'val'), 'split')
    if val_fraction is not None and (isinstance(val_fraction, bool) or not 0 < val_fraction < 1):
        raise ConfigError(f'val_fraction={val_fraction!r}: expected a share above 0 and below 1, such as 0.2')


def check_shots(shots_per_class: int | Mapping[str, int] | None) -> None:
    """Refuse a number of shots that cannot be.

    Raises:
        ConfigError: If it is no whole number, 1 or more, nor a dict of such, nor None.
    """
    counts = shots_per_class.values() if isinstance(shots_per_class, Mapping) else [shots_per_class]
    if shots_per_class is not None and not all(isinstance(count, int) and count >= 1 for count in counts):
        raise ConfigError(
            f'shots_per_class={shots_per_class!r}: expected a whole number, 1 or more, a dict from class names '
            'to such, or None for all')


def strata(labels: Sequence[int | Sequence[int] | None]) -> list[int | None]:
    """Return the class that each sample is drawn from: its label, the rarest of several, None where it has none."""
    several = [label if isinstance(label, list | tuple) else () if label is None else (label, ) for label in labels]
    counts = Counter(one for label in several for one in label)
    return [min(label, key=lambda one: (counts[one], one), default=None) for label in several]


def draw_val(pictures: Sequence[Picture], fraction: float, seed: int) -> np.ndarray:
    """Draw the share ``fraction`` of each class's pictures, at least one of two and never all.

    A name and the seed give a number, and the pictures with the lowest numbers are drawn. So of pictures that are added
    later only so few others change sides as keep the fraction exact. A name that occurs twice is on one side.

    Returns:
        Whether a picture is drawn, (N, ) bool.
    """
    groups, names = _groups(pictures, seed), [name for name, _ in pictures]
    chosen = {name for group in groups for name in group[:_share(len(group), fraction)]}
    return np.asarray([name in chosen for name in names], dtype=bool)


def fold_numbers(pictures: Sequence[Picture], folds: int, seed: int | None) -> np.ndarray:
    """Deal the pictures out to ``folds`` folds, class by class, in the order of :func:`draw_val`'s numbers.

    Folds differ by one picture at most, of each class and in all. A name that occurs twice is in one fold.

    Args:
        pictures: Name and class of each.
        folds: How many.
        seed: None deals them out in the order that they come in.

    Returns:
        The number of each picture's fold, (N, ) int64, from 0.
    """
    order = [name for group in _groups(pictures, seed) for name in group]
    fold = {name: number % folds for number, name in enumerate(order)}
    return np.asarray([fold[name] for name, _ in pictures], dtype=np.int64)


def _share(count: int, fraction: float) -> int:
    return 0 if count < 2 else min(max(round(count * fraction), 1), count - 1)


def _groups(pictures: Sequence[Picture], seed: int | None) -> list[list[str]]:
    """Return the names of each class in the order that they are drawn in; one that is in two classes counts for the first."""
    class_of: dict[str, Hashable] = {}
    for name, stratum in pictures:
        class_of.setdefault(name, stratum)
    groups: dict[Hashable, list[str]] = {}
    for name, stratum in class_of.items():
        groups.setdefault(stratum, []).append(name)
    if seed is None:
        return list(groups.values())
    return [sorted(group, key=lambda name: _rank(name, seed)) for group in groups.values()]


def _rank(name: str, seed: int) -> bytes:
    """Return what a picture is drawn by; macOS spells letters with accents otherwise than others do."""
    return hashlib.sha256(f'{seed}/{unicodedata.normalize("NFC", name)}'.encode()).digest()
