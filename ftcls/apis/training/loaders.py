"""Building datasets that agree on their classes, and dataloaders over them; reporting what the datasets hold."""
import copy
import itertools
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from torch.utils.data import DataLoader, Dataset

from ftcls.config.resolve import dataset_configs, scope_of
from ftcls.datasets import BaseDataset
from ftcls.datasets.in_memory import join
from ftcls.datasets.samplers import sample_labels
from ftcls.datasets.transforms import LoadImageFromFile
from ftcls.datasets.wrappers import child_datasets, inner_datasets
from ftcls.registry import DATASETS
from ftcls.utils import ConfigError, DataError, did_you_mean
from ftcls.utils.arguments import accepted_arguments
from ftcls.utils.errors import located
from ftcls.utils.names import enumerate_names
from ftcls.utils.processes import usable_cores
from .machine_faults import prepare_workers
from .sanity_checks import config_errors

__all__ = [
    'DataReport', 'build_datasets', 'build_loaders', 'dataset_configs', 'describe_counts', 'image_loader', 'open_caches'
]


@dataclass
class DataReport:
    """What the splits hold.

    Attributes:
        classes: The names of the classes in the order of their indices, or None where the data has none.
        sizes: Samples per split.
        counts: Samples per class, by split; None where a split has masks, or does not know them.
        several: How many labels an image has, for splits whose images can have several.
        ignored: Classes in a split's data that are not among ``classes``.
        drawn: How the samples were drawn, for splits that do not use all.
        facts: Lines on the files ('scan'), on what 'images' and 'masks' hold, and on where decoded images are kept
            ('cache').
        notes: Further lines: which images are there twice, or were not compared.
    """
    classes: tuple[str, ...] | None = None
    sizes: dict[str, int] = field(default_factory=dict)
    counts: dict[str, dict[str, int] | None] = field(default_factory=dict)
    several: dict[str, str] = field(default_factory=dict)
    ignored: dict[str, list[str]] = field(default_factory=dict)
    drawn: dict[str, str] = field(default_factory=dict)
    facts: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def missing(self) -> dict[str, list[str]]:
        """Return the classes without a sample, by split."""
        known = {split: counts for split, counts in self.counts.items() if counts is not None}
        found = {split: [n for n in self.classes or () if not counts.get(n)] for split, counts in known.items()}
        return {split: names for split, names in found.items() if names}

    def describe_missing(self, split: str) -> str:
        """Return the classes without a sample in a split, each with a class that was left out and is nearly that."""
        names = []
        for name in self.missing().get(split, ()):
            hint = did_you_mean(name, self.ignored.get(split, ()), most=1, lists=False)
            names.append(f'{name}{hint and f" ({hint[2:]})"}')
        return enumerate_names(names)

    def describe(self, loaders: Mapping[str, DataLoader] = MappingProxyType({})) -> list[str]:
        """Return the lines that the preflight shows: the classes, then one line per split.

        Args:
            loaders: Split name to dataloader, whose sampler may say what an epoch draws.
        """
        lines = []
        if self.classes:
            lines.append(f'classes: {len(self.classes)} ({enumerate_names(self.classes)})')
        missing = self.missing()
        for split, size in self.sizes.items():
            text = describe_counts(self.counts[split] or {})
            parts = [f'{split}: {size:,} samples{text and f" ({text})"}', self.several[split], self.drawn[split]]
            sampler = getattr(loaders.get(split), 'sampler', None)
            if hasattr(sampler, 'describe'):
                parts.append(sampler.describe())
            if split in missing:
                parts.append(f'NONE of {enumerate_names(missing[split])}')
            if self.ignored[split]:
                parts.append(f'ignored, since not among the classes: {enumerate_names(self.ignored[split])}')
            lines.append('; '.join(filter(None, parts)))
        return lines + self.notes


def describe_counts(counts: Mapping[str, int]) -> str:
    """Return how many images each class has, or of more than ten classes the least and the most; '' without any."""
    if len(counts) > 10:
        return f'{min(counts.values())} to {max(counts.values())} per class'
    return ', '.join(f'{name} {count}' for name, count in counts.items())


def build_datasets(cfg: Config,
                   splits: Sequence[str],
                   classes: Sequence[str] | None = None) -> tuple[dict[str, Dataset], DataReport]:
    """Build the datasets of some splits; the first split's classes, or those given, hold for all.

    Args:
        cfg: The config; it is not changed.
        splits: For example ``('train', 'val')``; the training set first, since it decides the list of classes.
        classes: The list of classes, where it is known from a checkpoint.

    Returns:
        Split name to dataset, and a report.

    Raises:
        DataError: If a split has classes that the first does not have, or no sample.
        ConfigError: If two splits contradict each other.
    """
    datasets: dict[str, Dataset] = {}
    report = DataReport(classes=tuple(classes or ()) or None)
    for split in splits:
        settings = cfg[f'{split}_dataloader']['dataset']
        where = f'{split}_dataloader.dataset'
        with located(where), config_errors(where):
            dataset = _build_dataset(settings, report.classes, scope_of(cfg))
            inner = inner_datasets(dataset)
            report.ignored[split] = sorted({name for one in inner for name in getattr(one, 'ignored_classes', ())})
            _check_classes(dataset, settings, report, split)
            report.sizes[split] = len(dataset)
            report.drawn[split] = '; '.join(dict.fromkeys(_drawn(dataset)))
            report.counts[split] = _counts(dataset)
            report.several[split] = _describe_labels(inner)
            if 'train' in datasets:
                for ours, theirs in itertools.product(inner_datasets(datasets['train']), inner):
                    _check_same_settings(ours, theirs, split)
        datasets[split] = dataset
    return datasets, report


def open_caches(datasets: Mapping[str, Dataset]) -> list[str]:
    """Fill the caches of decoded images that the splits ask for, or open them; return the lines for the preflight.

    Raises:
        ConfigError: If a dataset cannot have a cache, or there is no room.
    """
    lines = []
    for split, dataset in datasets.items():
        with located(f'{split}_dataloader.dataset.cache'):
            for inner in inner_datasets(dataset):
                lines += [f'{split}: {line}' for line in getattr(inner, 'build_cache', list)()]
    return lines


def build_loaders(cfg: Config, datasets: Mapping[str, Dataset]) -> dict[str, DataLoader]:
    """Build the dataloaders of a resolved config around datasets.

    Raises:
        ConfigError: If a sampler or a loader cannot be built, or the samples make no batch.
    """
    loaders = {}
    seeds = cfg.get('randomness') or {}
    open_caches(datasets)
    if 'OMP_NUM_THREADS' not in os.environ:  # torch sees neither a container's limit nor the other processes
        torch.set_num_threads(min(torch.get_num_threads(), usable_cores()))
    for split, dataset in datasets.items():
        where = f'{split}_dataloader'
        with located(where), config_errors(where), DefaultScope.overwrite_default_scope(cfg.default_scope):
            settings = {**cfg[where], 'dataset': dict(type=lambda built=dataset: built)}  # MMEngine copies no function
            loader = Runner.build_dataloader(settings, seeds.get('seed'), seeds.get('diff_rank_seed', False))
            if isinstance(dataset, Sized) and isinstance(loader.sampler, Sized) and len(loader) == 0:
                raise ConfigError(f'{len(dataset)} samples make no whole batch of {settings["batch_size"]}; set '
                                  f'{where}.drop_last=False, or a smaller batch_size')
        loader.collate_fn = partial(join, loader.collate_fn)
        prepare_workers(loader, split)
        loaders[split] = loader
    return loaders


def _build_dataset(settings: Mapping[str, Any], classes: Sequence[str] | None, scope: str) -> Dataset:
    """Build a dataset; each one inside it gets the list of classes, where the user has not chosen one."""
    settings = copy.deepcopy(settings)
    with DefaultScope.overwrite_default_scope(scope):
        for inner in dataset_configs(settings):
            accepted = accepted_arguments(DATASETS.get(inner['type']))
            if classes and not _chooses_classes(inner) and (accepted is None or 'classes' in accepted):
                inner['classes'] = list(classes)
        dataset = DATASETS.build(settings)
        if hasattr(dataset, 'full_init'):
            dataset.full_init()
    if len(dataset) == 0:
        raise DataError('holds no sample; see its data_root, data_prefix and ann_file')
    return dataset


def _chooses_classes(dataset: Mapping[str, Any]) -> bool:
    return 'classes' in dataset or 'classes' in dataset.get('metainfo', {})


def _check_classes(dataset: Dataset, settings: Mapping[str, Any], report: DataReport, split: str) -> None:
    """Check that a split has the classes of those before it, or note them if it is the first."""
    names = (getattr(dataset, 'metainfo', None) or {}).get('classes')
    if report.classes is None:
        report.classes = tuple(names or ()) or None
    elif names and tuple(names) != report.classes:
        raise DataError(f'its classes ({enumerate_names(names)}) differ from those of the training set '
                        f'({enumerate_names(report.classes)}); set {split}_dataloader.dataset.classes to these')
    ignored = report.ignored[split]
    if ignored and report.sizes and not all(_chooses_classes(one) for one in dataset_configs(settings)):
        text = f'has classes that the training set has not: {enumerate_names(ignored)}; '
        first = next(iter(report.sizes))
        if 'did you mean' in (missing := report.describe_missing(first)):
            raise DataError(f'{text}{first}_dataloader.dataset has no sample of {missing}; correct its `classes`')
        raise DataError(f'{text}rename or remove them, or set {split}_dataloader.dataset.classes')


def _drawn(dataset: Dataset) -> Iterator[str]:
    """Yield how samples were drawn, from a wrapper inwards."""
    if hasattr(dataset, 'repeat_indices'):  # MMEngine's ClassBalancedDataset
        yield f'{len(dataset.dataset):,} samples, some repeated (oversample_thr {dataset.oversample_thr:g})'
    if getattr(dataset, 'drawn', ''):
        yield dataset.drawn
    for child in child_datasets(dataset):
        yield from _drawn(child)


def _counts(dataset: Dataset) -> dict[str, int] | None:
    """Return the samples per class, or None for masks and for datasets that do not know them."""
    parts = inner_datasets(dataset)
    total: Counter = Counter()
    for part in parts:
        if (part_counts := getattr(part, 'class_counts', lambda: None)()) is None:
            return None
        total.update(part_counts)
    counts = dict(total)
    if dataset is not parts[0] and hasattr(dataset, 'get_data_info'):  # a wrapper repeats samples, or leaves some out
        hits = Counter(itertools.chain.from_iterable(sample_labels(dataset)))
        counts.update({name: hits[index] for index, name in enumerate(dataset.metainfo['classes'])})
    return counts


def _describe_labels(datasets: Sequence[Dataset]) -> str:
    """Return how many labels their images have, for the preflight; '' where each has one by its kind."""
    parts = [part for part in datasets if getattr(part, 'multi_label', False)]
    if not (numbers := [len(part.get_cat_ids(index)) for part in parts for index in range(len(part))]):
        return ''
    unlabelled = f', {numbers.count(0):,} without any' if 0 in numbers else ''
    return f'{sum(numbers) / len(numbers):.2f} labels per image{unlabelled}'


def image_loader(dataset: Dataset) -> LoadImageFromFile | None:
    """Return the step that reads the images of a dataset, None if it has none of ours."""
    steps = getattr(getattr(inner_datasets(dataset)[0], 'pipeline', None), 'transforms', ())
    return next((step for step in steps if isinstance(step, LoadImageFromFile)), None)


def _check_same_settings(train: Dataset, other: Dataset, split: str) -> None:
    """Check that two datasets over the same list draw their parts alike, so that these do not overlap."""
    are_drawn = all(isinstance(one, BaseDataset) and one.val_fraction is not None for one in (train, other))
    if not are_drawn or (train.data_prefix, train.ann_file) != (other.data_prefix, other.ann_file):
        return
    for name in ('val_fraction', 'split_seed'):
        ours, theirs = getattr(train, name), getattr(other, name)
        if ours != theirs:
            with located(f'{split}_dataloader.dataset.{name}'):
                raise ConfigError(f'{theirs!r}, but train_dataloader.dataset.{name} is {ours!r}, of the same folder: '
                                  'the two parts would overlap; give both the same')
