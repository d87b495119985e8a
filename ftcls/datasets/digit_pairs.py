"""Scikit-learn's digits two by two: several labels a picture, nothing to download."""
from typing import Any

import numpy as np

from ftcls.registry import DATASETS
from ftcls.utils import ConfigError
from .digits import Digits

__all__ = ['DigitPairs']


@DATASETS.register_module()
class DigitPairs(Digits):
    """Two places side by side, 8x16, each with a scan of a digit or empty; the labels are the digits that are there.

    A picture has two labels, one (one place empty, or the same digit twice) or none. The scans are those of
    :class:`Digits`, so that no scan is in two splits; which of them make a picture is drawn once, by ``seed`` and the split.

    Args:
        pairs: Number of pictures.
        blank: Probability that a place is empty, 0 or more and below 1.
        **kwargs: The arguments of :class:`Digits`: ``subset``, ``split``, ``shots_per_class`` (scans of a digit), ``seed`` …

    Raises:
        ConfigError: If an argument is out of range.

    Example:
        >>> dataset = DigitPairs(pairs=200)
        >>> dataset.get_cat_ids(0)
        [4, 3]
    """

    multi_label = True

    def __init__(self, pairs: int = 1000, blank: float = 0.2, **kwargs: Any) -> None:
        if isinstance(pairs, bool) or not isinstance(pairs, int) or pairs < 1:
            raise ConfigError(f'DigitPairs: pairs={pairs!r}: expected a number of pictures, 1 or more')
        if not 0 <= blank < 1:
            raise ConfigError(f'DigitPairs: blank={blank!r}: expected a probability of at least 0 and below 1')
        self.pairs, self.blank = pairs, blank
        super().__init__(**kwargs)

    def samples(self) -> list[dict]:
        """Return a dict with ``img`` (8, 16, 1) uint8 and ``gt_label``, a list, for every picture of the split."""
        scans = super().samples()
        empty = np.full((8, 8, 1), 255 if self.invert else 0, dtype=np.uint8)
        rng = np.random.default_rng([self.seed, ('train', 'val', 'test').index(self.split)])
        pictures = []
        for _ in range(self.pairs):
            drawn = [None if rng.random() < self.blank else scans[rng.integers(len(scans))] for _ in range(2)]
            pictures.append({
                'img': np.concatenate([empty if scan is None else scan['img'] for scan in drawn], axis=1),
                'gt_label': list(dict.fromkeys(scan['gt_label'] for scan in drawn if scan is not None)),
                'channel_order': 'bgr',
                'ori_shape': (8, 16),
                'img_shape': (8, 16)
            })
        return pictures

    @property
    def drawn(self) -> str:
        """How the pictures were made, for the preflight."""
        scans = 'all scans' if self.shots_per_class is None else f'{self.shots_per_class} scans of each digit'
        return f'pairs of {scans if self.split == "train" else "the scans left"}, drawn with seed {self.seed}'

    def extra_repr(self) -> list[str]:
        """Lines of ``repr`` about what was taken."""
        return [f'{self.pairs} pairs, {self.blank:.0%} of the places empty', *super().extra_repr()]
