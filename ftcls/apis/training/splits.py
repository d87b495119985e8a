"""Holding the validation and test sets against the training set: no contradiction, no picture in both unsaid."""
import logging
import os
from collections.abc import Iterator

from mmengine.logging import print_log
from torch.utils.data import Dataset

from ftcls.utils import ConfigError

__all__ = ['compare_splits', 'inner_datasets']

# What two datasets over the same folder must agree on for their labels to mean the same …
_OF_LABELS = ('foreground', 'ignore_value')
# … and for what they are drawn by to part them.
_OF_DRAWS = ('val_fraction', 'split_seed')
_MOST_COMPARED = 200_000  # pictures of the training set; a set that large has folders of its own


def inner_datasets(dataset: Dataset) -> list[Dataset]:
    """Return the datasets that a wrapper wraps, or the dataset itself."""
    if hasattr(dataset, 'datasets'):
        return [d for child in dataset.datasets for d in inner_datasets(child)]
    if hasattr(dataset, 'dataset'):
        return inner_datasets(dataset.dataset)
    return [dataset]


def compare_splits(train: Dataset, other: Dataset, split: str) -> int:
    """Return how many pictures of a split are in the training set too; the log warns of them.

    Pictures are told by their paths; a training set of more than 200,000 is not compared.

    Args:
        train: The training set.
        other: The dataset of ``split``.
        split: 'val' or 'test', for messages.

    Raises:
        ConfigError: If both are over the same folder and their masks or their draws contradict each other.
    """
    for ours in inner_datasets(train):
        for theirs in inner_datasets(other):
            _check_settings(ours, theirs, split)
    shared = set(_paths(train)) & set(_paths(other)) if len(train) <= _MOST_COMPARED else set()
    if shared:
        print_log(
            f'{split}_dataloader.dataset: {len(shared):,} of its {len(other):,} pictures are in the training set too '
            f'({min(shared)} for one): its scores will flatter; give it pictures of its own, or split=\'val\' beside '
            'split=\'train\' where one folder serves both',
            logger='current',
            level=logging.WARNING)
    return len(shared)


def _check_settings(train: Dataset, other: Dataset, split: str) -> None:
    folder = getattr(train, 'data_prefix', None)
    if folder is None or folder != getattr(other, 'data_prefix', None):
        return
    same_list = getattr(train, 'ann_file', None) == getattr(other, 'ann_file', None)
    both_drawn = same_list and all(getattr(part, 'val_fraction', None) is not None for part in (train, other))
    for name in _OF_LABELS + (_OF_DRAWS if both_drawn else ()):
        ours, theirs = getattr(train, name, None), getattr(other, name, None)
        if ours != theirs:
            why = ('the two parts would overlap' if name in _OF_DRAWS else 'the same masks would mean two things')
            raise ConfigError(
                f'{split}_dataloader.dataset.{name} is {theirs!r}, but train_dataloader.dataset.{name} is '
                f'{ours!r}, of the same folder: {why}; give both the same')


def _paths(dataset: Dataset) -> Iterator[str]:
    """Yield the paths of the pictures, where a dataset knows them."""
    # a wrapper is asked itself: it may take a part only of what it wraps
    for part in [dataset] if hasattr(dataset, 'get_data_info') else inner_datasets(dataset):
        if hasattr(part, 'get_data_info'):
            for index in range(len(part)):
                path = part.get_data_info(index).get('img_path')
                if path is not None:
                    yield os.path.abspath(path)
