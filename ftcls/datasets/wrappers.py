"""What is inside of wrapped datasets."""
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from mmengine.dataset import ClassBalancedDataset, RepeatDataset
from torch.utils.data import ConcatDataset, Dataset

from ftcls.utils.tree import as_list

__all__ = ['child_datasets', 'inner_datasets', 'iter_samples']

_USE_ALL = (ClassBalancedDataset, ConcatDataset, RepeatDataset)


def child_datasets(dataset: Dataset) -> list[Dataset]:
    """Return the datasets that a wrapper wraps; none of an innermost one."""
    children = as_list(getattr(dataset, 'datasets', [])) or as_list(getattr(dataset, 'dataset', []))
    return [child for child in children if isinstance(child, Dataset)]


def inner_datasets(dataset: Dataset) -> list[Dataset]:
    """Return the datasets that a wrapper wraps, or the dataset itself."""
    return list(chain.from_iterable(map(inner_datasets, child_datasets(dataset)))) or [dataset]


def iter_samples(dataset: Dataset) -> Iterator[Mapping[str, Any]]:
    """Yield what is known of each sample of a dataset or wrapper, once if it is repeated; {} where that is nothing."""
    if hasattr(dataset, 'get_data_info') and not isinstance(dataset, _USE_ALL):
        yield from map(dataset.get_data_info, range(len(dataset)))
        return
    inner = list(chain.from_iterable(map(iter_samples, child_datasets(dataset))))
    if hasattr(dataset, 'indices') and inner:  # torch's Subset
        yield from map(inner.__getitem__, dataset.indices)
    elif len(inner) == len(dataset) or isinstance(dataset, _USE_ALL):
        yield from inner
    else:
        yield from ({} for _ in range(len(dataset)))
