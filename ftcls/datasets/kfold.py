"""One fold of a dataset, or all but one."""
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from ftcls.registry import DATASETS
from ftcls.utils import ConfigError
from .drawing import fold_numbers, strata
from .samplers import sample_labels

__all__ = ['KFoldDataset']


@DATASETS.register_module()
class KFoldDataset(Dataset):
    """A dataset's part in one run of a k-fold cross-validation: all folds but one to train on, or that one to validate on.

    Every class is dealt out evenly, see :func:`.drawing.fold_numbers`; a picture that is listed twice is in one fold. What
    each fold holds hangs on the pictures' names, their classes and the seed, and not on ``fold`` or ``test_mode``: the same
    arguments in all runs part the dataset.

    Args:
        dataset: The dataset, or its config.
        fold: Number of the fold to validate on, from 0.
        num_splits: How many folds.
        test_mode: Take that fold; else all others.
        seed: Seed of the draw; None deals out the samples in their order.

    Raises:
        ConfigError: If there is no such fold.
    """

    def __init__(self,
                 dataset: dict | Dataset,
                 fold: int = 0,
                 num_splits: int = 5,
                 test_mode: bool = False,
                 seed: int | None = None) -> None:
        if num_splits < 2 or not 0 <= fold < num_splits:
            raise ConfigError(
                f'KFoldDataset(fold={fold}, num_splits={num_splits}): expected 2 folds or more, and one of them, '
                'counted from 0')
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, Mapping) else dataset
        self.fold, self.num_splits, self.test_mode, self.seed = fold, num_splits, test_mode, seed
        self.full_init()
        pictures = list(zip(self._names(), strata(sample_labels(self.dataset))))
        in_fold = fold_numbers(pictures, num_splits, seed) == fold
        #: The numbers of the samples in ``dataset``, (len(self), ) int64.
        self.indices = np.flatnonzero(in_fold if test_mode else ~in_fold)

    def _names(self) -> list[str]:
        size = len(self.dataset)
        if not hasattr(self.dataset, 'picture_names'):
            return list(map(str, range(size)))
        infos = (self.dataset.get_data_info(index) for index in range(size))
        return self.dataset.picture_names([{'img_path': i['img_path']} if 'img_path' in i else {} for i in infos])

    def full_init(self) -> None:
        """Read the dataset, where that is put off."""
        if hasattr(self.dataset, 'full_init'):
            self.dataset.full_init()

    @property
    def metainfo(self) -> dict:
        """What is known about the data."""
        return self.dataset.metainfo

    @property
    def drawn(self) -> str:
        """Which part this is, for the preflight."""
        order = 'in the order of the data' if self.seed is None else f'with seed {self.seed}'
        return f'{"" if self.test_mode else "all but "}fold {self.fold} of {self.num_splits} (0 to {self.num_splits - 1}), ' \
               f'dealt out {order}'

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, idx: int) -> Any:
        """Return sample ``idx`` of this part as the dataset's pipeline leaves it."""
        return self.dataset[int(self.indices[idx])]

    def get_data_info(self, idx: int) -> dict:
        """Return what is known of sample ``idx``."""
        return self.dataset.get_data_info(int(self.indices[idx]))

    def get_cat_ids(self, idx: int) -> list[int]:
        """Return the labels of sample ``idx``."""
        return self.dataset.get_cat_ids(int(self.indices[idx]))
