"""Building the dataloaders so that every split speaks of the same classes, and reporting what is in them."""
import copy
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from torch.utils.data import DataLoader, Dataset

from ftcls.datasets.samplers import sample_labels
from ftcls.registry import DATASETS
from ftcls.utils import ConfigError, DataError, UserError
from ftcls.utils.arguments import accepted_arguments
from ftcls.utils.errors import unwrapped
from .label_kinds import describe_labels, label_faults, metric_configs
from .sanity_checks import config_errors
from .splits import compare_splits, inner_datasets

__all__ = ['DataReport', 'build_loaders', 'check_heads', 'check_missing_classes', 'dataset_configs', 'shorten']


@dataclass
class DataReport:
    """What the splits hold.

    Attributes:
        classes: The names of the classes in the order of their indices, or None where the data has none.
        sizes: Samples a split.
        counts: Samples a class name, a split; None where a split has masks, or does not know them.
        several: How many labels a picture has, a split where it need not be one.
        ignored: Classes that stand in a split's data and not among ``classes``.
        drawn: How the samples were drawn, a split that does not have all.
        sampled: What an epoch draws of them, a split whose sampler says so.
        shared: How many of a split's pictures are training pictures too.
    """
    classes: tuple[str, ...] | None = None
    sizes: dict[str, int] = field(default_factory=dict)
    counts: dict[str, dict[str, int] | None] = field(default_factory=dict)
    several: dict[str, str] = field(default_factory=dict)
    ignored: dict[str, list[str]] = field(default_factory=dict)
    drawn: dict[str, str] = field(default_factory=dict)
    sampled: dict[str, str] = field(default_factory=dict)
    shared: dict[str, int] = field(default_factory=dict)

    def missing(self) -> dict[str, list[str]]:
        """Return, a split, the classes of which it has no sample."""
        found = {}
        for split, counts in self.counts.items():
            if counts is not None:
                empty = [name for name in self.classes or () if not counts.get(name)]
                if empty:
                    found[split] = empty
        return found

    def describe(self) -> list[str]:
        """Return the lines that the preflight shows, one a split."""
        lines = []
        if self.classes:
            lines.append(f'classes: {len(self.classes)} ({shorten(self.classes)})')
        missing = self.missing()
        for split, size in self.sizes.items():
            line = f'{split}: {size:,} samples'
            counts = self.counts.get(split)
            if counts and len(counts) <= 10:
                line += ' (' + ', '.join(f'{name} {n}' for name, n in counts.items()) + ')'
            elif counts:
                line += f' ({min(counts.values())} to {max(counts.values())} a class)'
            line += ''.join(f'; {how[split]}' for how in (self.several, self.drawn, self.sampled) if how.get(split))
            if self.shared.get(split):
                line += f'; {self.shared[split]:,} OF THEM ARE TRAINING PICTURES TOO'
            if split in missing:
                line += f'; NONE of {shorten(missing[split])}'
            if self.ignored.get(split):
                line += f'; ignored, since not among the classes: {shorten(self.ignored[split])}'
            lines.append(line)
        return lines


def shorten(names: Sequence[str], most: int = 10) -> str:
    """Return the first names in one line, and how many more there are."""
    shown = ', '.join(str(n) for n in names[:most])
    return shown if len(names) <= most else f'{shown}, … {len(names) - most} more'


def build_loaders(cfg: Config, splits: Sequence[str], classes: Sequence[str] | None = None) -> tuple[dict, DataReport]:
    """Build the dataloaders of some splits; the first split's classes, or those given, hold for all.

    Args:
        cfg: The config; it is not changed.
        splits: For example ``('train', 'val')``; the training set first, since it fixes the list of classes.
        classes: The list of classes, where it is known from a checkpoint.

    Returns:
        Split name to dataloader, and a report.

    Raises:
        DataError: If a split has classes that the first has not.
    """
    loaders: dict[str, DataLoader] = {}
    report = DataReport(classes=tuple(classes) if classes else None)
    randomness, scope = cfg.get('randomness') or {}, cfg.get('default_scope', 'ftcls')
    for split in splits:
        settings = copy.deepcopy(cfg[f'{split}_dataloader'])
        chosen_by_user = _set_classes(settings.dataset, report.classes)
        try:
            with config_errors(f'{split}_dataloader'), DefaultScope.overwrite_default_scope(scope):
                loader = Runner.build_dataloader(settings, randomness.get('seed'),
                                                 randomness.get('diff_rank_seed', False))
        except UserError as err:
            err = unwrapped(err)
            where = f'{split}_dataloader'
            raise err if str(err).startswith(where) else type(err)(f'{where}.dataset: {err}') from err
        dataset = loader.dataset
        if len(dataset) == 0:
            raise DataError(f'{split}_dataloader.dataset: holds no sample; see its data_root, data_prefix and ann_file')
        if isinstance(loader.dataset, Sized) and isinstance(loader.sampler, Sized) and len(loader) == 0:
            raise ConfigError(
                f'{split}_dataloader: {len(dataset)} samples make no whole batch of {settings.batch_size}; '
                f'set {split}_dataloader.drop_last=False, or a smaller batch_size')
        names = (getattr(dataset, 'metainfo', None) or {}).get('classes')
        if report.classes is None:
            report.classes = tuple(names) if names else None
        elif names and tuple(names) != report.classes:
            raise DataError(
                f'{split}_dataloader.dataset: its classes ({shorten(names)}) are not those of the training set '
                f'({shorten(report.classes)}); the indices would not mean the same. Set '
                f'{split}_dataloader.dataset.classes to the training set\'s')
        ignored = _ignored(dataset)
        if ignored and not chosen_by_user and len(report.sizes):
            raise DataError(
                f'{split}_dataloader.dataset: has classes that the training set has not: {shorten(ignored)}; '
                f'rename or remove them, or choose classes by {split}_dataloader.dataset.classes')
        report.ignored[split] = ignored
        report.drawn[split] = '; '.join(dict.fromkeys(_drawn(dataset)))
        report.sampled[split] = loader.sampler.describe() if hasattr(loader.sampler, 'describe') else ''
        report.sizes[split] = len(dataset)
        if 'train' in loaders and split != 'train':
            report.shared[split] = compare_splits(loaders['train'].dataset, dataset, split)
        report.counts[split] = _counts(dataset)
        report.several[split] = describe_labels(dataset)
        loaders[split] = loader
    return loaders, report


def _set_classes(dataset: ConfigDict, classes: tuple[str, ...] | None) -> bool:
    """Give every dataset inside a dataset dict the list of classes; tell whether the user had chosen one."""
    if not isinstance(dataset, Mapping):
        return True
    inner = [dataset[k] for k in ('dataset', 'datasets') if k in dataset]
    if inner:
        children = inner[0] if isinstance(inner[0], list | tuple) else [inner[0]]
        return all([_set_classes(child, classes) for child in children])
    if 'classes' in dataset or 'classes' in dataset.get('metainfo', {}):
        return True
    if classes:
        accepted = accepted_arguments(DATASETS.get(dataset['type']))
        if accepted is None or 'classes' in accepted:
            dataset['classes'] = list(classes)
    return False


def dataset_configs(node: Any) -> Iterator[dict]:
    """Yield the dataset dicts in the ``dataset`` of a dataloader, those inside wrappers."""
    if isinstance(node, list | tuple):
        for child in node:
            yield from dataset_configs(child)
    elif isinstance(node, Mapping):
        inner = node.get('dataset', node.get('datasets'))
        yield from [node] if inner is None else dataset_configs(inner)


def _ignored(dataset: Dataset) -> list[str]:
    return sorted({name for d in inner_datasets(dataset) for name in getattr(d, 'ignored_classes', ())})


def _drawn(dataset: Dataset) -> Iterator[str]:
    """Yield how samples were drawn, from a wrapper inwards."""
    if hasattr(dataset, 'repeat_indices'):  # MMEngine's ClassBalancedDataset
        yield f'{len(dataset.dataset):,} samples, some repeated (oversample_thr {dataset.oversample_thr:g})'
    if getattr(dataset, 'drawn', ''):
        yield dataset.drawn
    for child in getattr(dataset, 'datasets', [getattr(dataset, 'dataset', None)]):
        if child is not None:
            yield from _drawn(child)


def _counts(dataset: Dataset) -> dict[str, int] | None:
    parts = inner_datasets(dataset)
    counted = [part.class_counts() if hasattr(part, 'class_counts') else None for part in parts]
    if None in counted:  # masks, or another's dataset
        return None
    total = {name: sum(counts.get(name, 0) for counts in counted) for counts in counted for name in counts}
    if dataset is not parts[0] and hasattr(dataset, 'get_data_info'):  # a wrapper repeats samples, or leaves some out
        classes = list(dataset.metainfo['classes'])
        hits = Counter(label for labels in sample_labels(dataset) for label in labels)
        total.update({name: hits[index] for index, name in enumerate(classes)})
    return total


def check_heads(cfg: Config, report: DataReport) -> None:
    """Check every number of classes in the model, the preprocessor and the metrics against the data.

    Raises:
        ConfigError: Naming the key and the number to set.
    """
    if not report.classes or report.counts.get('train', report.counts.get('test')) is None:
        return
    size, faults = len(report.classes), []
    places = {
        'model.head.num_classes': (cfg.model.get('head') or {}).get('num_classes'),
        'model.backbone.num_classes': (cfg.model.get('backbone') or {}).get('num_classes'),
        'data_preprocessor.num_classes': (cfg.get('data_preprocessor') or {}).get('num_classes'),
        'model.data_preprocessor.num_classes': (cfg.model.get('data_preprocessor') or {}).get('num_classes'),
    }
    for key, value in places.items():
        if value is not None and value > 0 and value != size:
            faults.append(
                f'{key} is {value}, but the data has {size} classes ({shorten(report.classes, 5)}); set {key}={size}')
    for key in ('val_evaluator', 'test_evaluator'):
        faults += _too_large_topk(cfg.get(key), key, size)
    faults += label_faults(cfg, report.several)
    if faults:
        raise ConfigError('\n'.join(faults))


def _too_large_topk(evaluator: Any, where: str, size: int) -> Iterator[str]:
    for path, metric in metric_configs(evaluator, where):
        topk = metric.get('topk') or 0
        if (max(topk) if isinstance(topk, list | tuple) else topk) > size:
            yield f'{path}.topk={topk}: the data has only {size} classes'


def check_missing_classes(cfg: Config, report: DataReport) -> None:
    """Stop where a split has no sample of a class, unless the config says ``allow_missing_classes = True``.

    Raises:
        DataError: Naming the split and the classes.
    """
    missing = report.missing()
    if missing and not cfg.get('allow_missing_classes', False):
        lines = [f'{split}_dataloader.dataset: no sample of {shorten(names)}' for split, names in missing.items()]
        raise DataError('\n'.join(lines) +
                        '\nadd samples (a folder of that name), leave the class out by `classes`, or accept '
                        'it with allow_missing_classes=True; the other classes keep their indices either way')
