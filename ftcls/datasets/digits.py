"""Scikit-learn's embedded digits, for transfer and for several labels per image: nothing to download."""
from functools import lru_cache
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Interval

from ftcls.registry import DATASETS
from ftcls.utils import ConfigError
from ftcls.utils.types import PositiveInt
from .in_memory import InMemoryDataset, array_sample

__all__ = ['DigitPairs', 'Digits']

_CUT = 1797  # seed of the fixed cuts; the argument `seed` draws the shots only
_VAL_PER_CLASS = 10


@lru_cache(maxsize=1)
def _scans() -> tuple[np.ndarray, np.ndarray]:
    """Return images (1797, 8, 8, 1) uint8 and labels (1797, ); scikit-learn parses text for them each time."""
    from sklearn.datasets import load_digits  # here, because importing scikit-learn takes a second

    images, labels = load_digits(return_X_y=True)
    return np.rint(images.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8), labels


@DATASETS.register_module()
class Digits(InMemoryDataset):
    """1,797 scans of handwritten digits, 8x8, one channel, light ink on dark (Alpaydin and Kaynak, 1998).

    For transfer, each class is cut into two halves, always the same ones: ::

        source ── train 80 %, val 20 % ('test' is val)
        target ── val   10 per class, to choose rates on
               ├─ train ``shots_per_class`` per class, drawn by ``seed`` (None: all but val)
               └─ test  all others: neither val nor the shots of the same ``shots_per_class`` and ``seed``

    Args:
        subset: 'all' puts both halves together, split by split.
        split: Part of the subset.
        invert: Dark ink on light instead.
        shots_per_class: Size of the target's training set.
        seed: Seed of the draw of the shots.
        **kwargs: The other arguments of :class:`.BaseDataset`, such as ``classes`` and ``pipeline``.

    Raises:
        ConfigError: If the target's test set is requested without ``shots_per_class``, on which it depends.

    Example:
        >>> len(Digits(subset='target', split='train', shots_per_class=3))
        30
    """

    METAINFO = {'classes': tuple('0123456789')}

    def __init__(self,
                 subset: Literal['source', 'target', 'all'] = 'source',
                 split: Literal['train', 'val', 'test'] = 'train',
                 invert: bool = False,
                 shots_per_class: PositiveInt | None = None,
                 seed: int = 0,
                 **kwargs: Any) -> None:
        self.subset, self.split, self.invert = subset, split, invert
        if shots_per_class is None and split == 'test' and subset != 'source':
            raise ConfigError("Digits: split='test' of the target needs the shots_per_class and seed of the training")
        super().__init__(ann_file='', shots_per_class=shots_per_class, seed=seed, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Return the samples, their labels matched to the classes."""
        return self.match_classes(self.samples(), self.METAINFO['classes'])

    def samples(self) -> list[dict]:
        """Return a dict with ``img`` (8, 8, 1) uint8 and ``gt_label`` for every scan of the split."""
        pixels, labels = _scans()
        if self.invert:
            pixels = 255 - pixels
        return [array_sample(pixels[index], int(labels[index])) for index in self._chosen(labels)]

    def _chosen(self, labels: np.ndarray) -> np.ndarray:
        """Return the numbers of the scans of this subset and split, in ascending order."""
        cut, draw = np.random.RandomState(_CUT), np.random.RandomState(self.seed)
        chosen = []
        for label in range(10):
            members = cut.permutation(np.flatnonzero(labels == label))
            source, target = np.split(members, [len(members) // 2])
            if self.subset != 'target':
                train, val = np.split(source, [round(len(source) * 0.8)])
                chosen.append(train if self.split == 'train' else val)
            if self.subset != 'source':
                chosen.append(self._of_target(target, draw))
        return np.sort(np.concatenate(chosen))

    def _of_target(self, members: np.ndarray, draw: np.random.RandomState) -> np.ndarray:
        """Return one class's part of the target half."""
        val, pool = members[:_VAL_PER_CLASS], draw.permutation(members[_VAL_PER_CLASS:])
        shots = self.shots_per_class
        if shots is not None and shots >= len(pool):
            raise ConfigError(f'shots_per_class={shots}: must be below {len(pool)}, the scans of a class')
        return {'val': val, 'train': pool[:shots], 'test': pool[shots:]}[self.split]

    def draw_shots(self, data_list: list[dict]) -> list[dict]:
        """Return all: :meth:`load_data_list` has drawn them, and left the others for the test."""
        return data_list

    @property
    def drawn(self) -> str:
        """How the samples were drawn; only the training set is."""
        return super().drawn if self.split == 'train' else ''

    def extra_repr(self) -> list[str]:
        """Lines of ``repr`` about what was taken."""
        ink = 'dark on light' if self.invert else 'light on dark'
        return [f'{self.subset} {self.split}, {ink}, shots_per_class={self.shots_per_class}, seed={self.seed}']


@DATASETS.register_module()
class DigitPairs(Digits):
    """Two cells side by side, 8x16, each with a scan of a digit or empty; the labels are the digits that are there.

    An image has two labels, one (one cell empty, or the same digit twice) or none. The scans are those of
    :class:`Digits`, so no scan is in two splits; which of them make an image is drawn once, by ``seed`` and the
    split.

    Args:
        pairs: Number of images.
        blank: Probability that a cell is empty.
        **kwargs: The arguments of :class:`Digits`: ``subset``, ``split``, ``shots_per_class`` (scans of a digit),
            ``seed`` …

    Example:
        >>> dataset = DigitPairs(pairs=200)
        >>> dataset.get_cat_ids(2)
        [6, 9]
    """

    multi_label = True

    def __init__(self,
                 pairs: PositiveInt = 1000,
                 blank: Annotated[float, Interval(ge=0, lt=1)] = 0.2,
                 **kwargs: Any) -> None:
        self.pairs, self.blank = pairs, blank
        super().__init__(**kwargs)

    def samples(self) -> list[dict]:
        """Return a dict with ``img`` (8, 16, 1) uint8 and ``gt_label``, a list, for every image of the split."""
        scans = super().samples()
        empty = dict(img=np.full((8, 8, 1), 255 * self.invert, dtype=np.uint8))
        rng = np.random.default_rng([self.seed, ('train', 'val', 'test').index(self.split)])
        samples = []
        for _ in range(self.pairs):
            cells = [empty if rng.random() < self.blank else scans[rng.integers(len(scans))] for _ in range(2)]
            labels = dict.fromkeys(cell['gt_label'] for cell in cells if cell is not empty)
            samples.append(array_sample(np.concatenate([cell['img'] for cell in cells], axis=1), list(labels)))
        return samples

    @property
    def drawn(self) -> str:
        """How the images were made, for the preflight."""
        scans = 'all scans'
        if self.split != 'train':
            scans = 'the scans left'
        elif self.shots_per_class is not None:
            scans = f'{self.shots_per_class} scans of each digit'
        return f'pairs of {scans}, drawn with seed {self.seed}'

    def extra_repr(self) -> list[str]:
        """Lines of ``repr`` about what was taken."""
        return [f'{self.pairs} pairs, {self.blank:.0%} of the cells empty', *super().extra_repr()]
