"""Scikit-learn's embedded digits, cut up for transfer: nothing to download."""
from functools import lru_cache
from typing import Any

import numpy as np

from ftcls.registry import DATASETS
from ftcls.utils import ConfigError
from .base_dataset import BaseDataset
from .transforms.base import choice_of

__all__ = ['Digits']

_CUT = 1797  # seed of the fixed cuts; the argument `seed` draws the shots only
_VAL_PER_CLASS = 10


@lru_cache(maxsize=1)
def _scans() -> tuple[np.ndarray, np.ndarray]:
    """Return images (1797, 8, 8, 1) uint8 and labels (1797, ); scikit-learn parses text for them each time."""
    from sklearn.datasets import load_digits  # here, because importing scikit-learn takes a second

    images, labels = load_digits(return_X_y=True)
    # The scanner's 0 to 16 become 0 to 255.
    return np.rint(images.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8), labels


@DATASETS.register_module()
class Digits(BaseDataset):
    """1,797 scans of handwritten digits, 8x8, one channel, light ink on dark (Alpaydin and Kaynak, 1998).

    For transfer, each class is cut into two halves, always the same ones: ::

        source ── train 80 %, val 20 % ('test' is val)
        target ── val   10 a class, to choose rates on
               ├─ train ``shots_per_class`` a class, drawn by ``seed`` (None: all but val)
               └─ test  the rest: neither val nor the shots of the same ``shots_per_class`` and ``seed``

    ``subset='all'`` puts both together, split by split.

    Args:
        subset: 'source', 'target' or 'all'.
        split: 'train', 'val' or 'test'.
        invert: Dark ink on light instead.
        shots_per_class: Size of the target's training set.
        seed: Seed of the draw of the shots.
        **kwargs: The other arguments of :class:`BaseDataset`, ``classes`` and ``pipeline`` among them.

    Raises:
        ConfigError: If the target's test set is asked for without ``shots_per_class``: it depends on them.

    Example:
        >>> len(Digits(subset='target', split='train', shots_per_class=3))
        30
    """

    METAINFO = {'classes': tuple('0123456789')}

    def __init__(self,
                 subset: str = 'source',
                 split: str = 'train',
                 invert: bool = False,
                 shots_per_class: int | None = None,
                 seed: int = 0,
                 **kwargs: Any) -> None:
        self.subset = choice_of(subset, ('source', 'target', 'all'), 'subset')
        self.split = choice_of(split, ('train', 'val', 'test'), 'split')
        self.invert = invert
        if shots_per_class is None and split == 'test' and subset != 'source':
            raise ConfigError(
                f'Digits(subset={subset!r}, split=\'test\') needs shots_per_class and seed, the same as in '
                'training: the test set is what training does not see')
        super().__init__(ann_file='', shots_per_class=shots_per_class, seed=seed, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Return the samples, their labels matched to the classes."""
        return self.match_classes(self.samples(), self.METAINFO['classes'])

    def samples(self) -> list[dict]:
        """Return a dict with ``img`` (8, 8, 1) uint8 and ``gt_label`` for every scan of the split."""
        pixels, labels = _scans()
        if self.invert:
            pixels = 255 - pixels
        return [{
            'img': pixels[index],
            'gt_label': int(labels[index]),
            'channel_order': 'bgr',
            'ori_shape': (8, 8),
            'img_shape': (8, 8)
        } for index in self._chosen(labels)]

    def _chosen(self, labels: np.ndarray) -> np.ndarray:
        """Return the numbers of the scans of this subset and split, in ascending order."""
        cut, draw = np.random.RandomState(_CUT), np.random.RandomState(self.seed)
        chosen = []
        for label in range(10):
            members = cut.permutation(np.flatnonzero(labels == label))
            source, target = np.split(members, [len(members) // 2])
            if self.subset != 'target':
                chosen.append(self._of_source(source))
            if self.subset != 'source':
                chosen.append(self._of_target(target, draw))
        return np.sort(np.concatenate(chosen))

    def _of_source(self, members: np.ndarray) -> np.ndarray:
        """Return one class's part of the source half."""
        train = round(len(members) * 0.8)
        return members[:train] if self.split == 'train' else members[train:]

    def _of_target(self, members: np.ndarray, draw: np.random.RandomState) -> np.ndarray:
        """Return one class's part of the target half."""
        val, pool = members[:_VAL_PER_CLASS], draw.permutation(members[_VAL_PER_CLASS:])
        shots = len(pool) if self.shots_per_class is None else self.shots_per_class
        if shots >= len(pool) and self.shots_per_class is not None:
            raise ConfigError(
                f'shots_per_class={shots}: a class has only {len(pool)} scans to draw from, and some must be '
                'left for the test')
        return {'val': val, 'train': pool[:shots], 'test': pool[shots:]}[self.split]

    def draw_shots(self, data_list: list[dict]) -> list[dict]:
        """Return all: :meth:`load_data_list` has drawn them, and left the others to the test."""
        return data_list

    @property
    def drawn(self) -> str:
        """How the samples were drawn; only the training set is."""
        return super().drawn if self.split == 'train' else ''

    def extra_repr(self) -> list[str]:
        """Lines of ``repr`` about what was taken."""
        ink = 'dark on light' if self.invert else 'light on dark'
        return [f'{self.subset} {self.split}, {ink}, shots_per_class={self.shots_per_class}, seed={self.seed}']
