"""One fold of a dataset, or all but one."""
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge
from torch.utils.data import Dataset

from ftcls.registry import DATASETS
from ftcls.utils import ConfigError
from ftcls.utils.types import NonNegativeInt
from .drawing import fold_numbers, strata
from .samplers import sample_labels

__all__ = ['KFoldDataset']


@DATASETS.register_module()
class KFoldDataset(Dataset):
    """A dataset's part in one run of a k-fold cross-validation: all folds but one, or that one for validation.

    Every class is divided evenly, see :func:`.drawing.fold_numbers`; an image that is listed twice is in one fold.
    What a fold contains depends on the images' names, their classes and the seed, not on ``fold`` or ``test_mode``:
    the same arguments in all runs divide the dataset.

    Args:
        dataset: The dataset, or its config.
        fold: Number of the fold for validation, from 0.
        num_splits: How many folds.
        test_mode: Take that fold; else all others.
        seed: Seed of the draw; None assigns the samples in their order.

    Raises:
        ConfigError: If there is no such fold.
    """

    def __init__(self,
                 dataset: dict | Dataset,
                 fold: NonNegativeInt = 0,
                 num_splits: Annotated[int, Ge(2)] = 5,
                 test_mode: bool = False,
                 seed: int | None = None) -> None:
        if fold >= num_splits:
            raise ConfigError(f'KFoldDataset: fold={fold} must be below num_splits={num_splits}; folds count from 0')
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, Mapping) else dataset
        self.fold, self.num_splits, self.test_mode, self.seed = fold, num_splits, test_mode, seed
        self.full_init()
        in_fold = fold_numbers(list(zip(self._names(), strata(sample_labels(self.dataset)))), num_splits, seed) == fold
        self.indices = np.flatnonzero(in_fold == test_mode)  #: numbers of the samples in ``dataset``, (len(self), )
        if not test_mode:
            self.dataset.drawable = self.indices  # not an image of the fold for validation, in place of a bad one

    def _names(self) -> list[str]:
        size = len(self.dataset)
        if not hasattr(self.dataset, 'image_names'):
            return list(map(str, range(size)))
        return self.dataset.image_names(map(self.dataset.get_data_info, range(size)))

    def full_init(self) -> None:
        """Read the dataset, if it was built with ``lazy_init``."""
        if hasattr(self.dataset, 'full_init'):
            self.dataset.full_init()

    @property
    def metainfo(self) -> dict:
        """What is known about the data."""
        return self.dataset.metainfo

    @property
    def drawn(self) -> str:
        """Which part this is, for the preflight."""
        fold = f'fold {self.fold} of {self.num_splits} (0 to {self.num_splits - 1})'
        if not self.test_mode:
            fold = f'all but {fold}'
        order = 'in the order of the data' if self.seed is None else f'with seed {self.seed}'
        return f'{fold}, assigned {order}'

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
