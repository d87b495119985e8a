"""Whether model, metrics and data fit: numbers of classes and labels, samples of every class, masks, no image twice."""
import inspect
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.logging import print_log
from torch import nn
from torch.utils.data import DataLoader, Dataset

from ftcls.config.resolve import EvalOptions, resolve
from ftcls.datasets import BinarySegDataset
from ftcls.datasets.duplicates import DOUBLES, describe_pair, find_doubles, images_of, same_content
from ftcls.datasets.headers import ImageHeader
from ftcls.datasets.survey import survey_images
from ftcls.datasets.transforms.loading import next_step
from ftcls.datasets.transforms.mask_loading import MaskCoding
from ftcls.datasets.wrappers import inner_datasets, iter_samples
from ftcls.evaluation.metrics.predictions import SingleLabelBase
from ftcls.models.heads import ClsHead, MultiLabelClsHead
from ftcls.registry import DATASETS, METRICS, MODELS
from ftcls.utils import ConfigError, DataError
from ftcls.utils.errors import located
from ftcls.utils.log import warn
from ftcls.utils.names import command, enumerate_names
from ftcls.utils.tree import as_list, walk
from .file_scan import scan_files
from .loaders import DataReport, build_datasets, build_loaders, dataset_configs, image_loader, open_caches
from .sanity_checks import first_samples

__all__ = ['check_datasets', 'check_heads', 'check_images', 'check_missing_classes', 'evaluation_loaders']

MOST_COMPARED = 200_000  # images in all splits; to list more takes seconds
_REMEDIES = dict(
    shared="remove them from one of the two (exclude=[…]), or if both read one folder, set split='train' and 'val'",
    twice='each is there twice, in two files; leave one out with exclude=[…], or remove it',
    conflict='correct the labels, or leave those with the wrong label out with exclude=[…]')

_MANY_MASKS = 2_000  # take longer than some seconds


def check_datasets(cfg: Config,
                   datasets: Mapping[str, Dataset],
                   report: DataReport,
                   work_dir: str,
                   others: Mapping[str, Dataset] | None = None) -> dict[str, list]:
    """Check all that can be told of datasets and their files without a model, and note in the report what they hold.

    Args:
        cfg: The config.
        datasets: Split name to dataset.
        report: What is known of them.
        work_dir: Where unusable files are listed.
        others: Further datasets, whose images are compared with these; None compares none.

    Returns:
        Split name to some of its samples, see :func:`.sanity_checks.first_samples`.

    Raises:
        UserError: If the data is not as the config says.
    """
    check_missing_classes(cfg, report)
    check_heads(cfg, report)
    headers, report.facts['scan'] = scan_files(datasets, work_dir)
    images = check_images(datasets, headers)
    report.facts['images'] = [f'{split}: {line}' for split, lines in images.items() for line in lines]
    if len(set(map(tuple, images.values()))) == 1:
        report.facts['images'] = next(iter(images.values()))
    if is_main_process():  # only its log and preflight are read
        report.facts['masks'] = check_masks(cfg, datasets, headers)
        if others is not None:
            check_contents(cfg, {**datasets, **others}, report)
    report.facts['cache'] = open_caches(datasets)
    return first_samples(datasets)


def evaluation_loaders(cfg: Config, splits: Sequence[str],
                       model: nn.Module) -> tuple[dict[str, DataLoader], DataReport]:
    """Return the dataloaders of a checked config's splits for a model that :func:`.get_model` built, and a report.

    Raises:
        UserError: If the data is not as the config says, or does not fit the model.
    """
    datasets, report = build_datasets(cfg, splits, model._dataset_meta.get('classes'))
    check_heads(cfg, report)
    return build_loaders(resolve(cfg, EvalOptions()).cfg, datasets), report


def check_heads(cfg: Config, report: DataReport) -> None:
    """Check every number of classes in the model, the preprocessor and the metrics against the data.

    Raises:
        ConfigError: Naming the key and the number to set.
    """
    if not report.classes or report.counts.get('train', report.counts.get('test')) is None:
        return
    size, faults = len(report.classes), []
    parts = {f'model.{name}': cfg.model.get(name) for name in ('head', 'backbone', 'data_preprocessor')}
    for where, part in {**parts, 'model': cfg.model, 'data_preprocessor': cfg.get('data_preprocessor')}.items():
        value = (part or {}).get('num_classes')
        if value is not None and value > 0 and value != size:
            found = f'{size} classes ({enumerate_names(report.classes, 5)})'
            faults.append(f'{where}.num_classes is {value}, but the data has {found}; set {where}.num_classes={size}, '
                          'or choose `classes` of the datasets')
    for key in ('val_evaluator', 'test_evaluator'):
        for path, metric in _metric_configs(cfg.get(key), key):
            topk = metric.get('topk') or 0
            if max(as_list(topk)) > size:
                faults.append(f'{path}.topk={topk}: the data has only {size} classes')
    if any(report.several.values()):
        faults += [*_head_faults(cfg), *_metric_faults(cfg, report.several)]
    if faults:
        raise ConfigError('\n'.join(faults))


def check_missing_classes(cfg: Config, report: DataReport) -> None:
    """Stop where a split has no sample of a class, unless the config says ``allow_missing_classes = True``.

    Raises:
        DataError: Naming the split and the classes.
    """
    if (missing := report.missing()) and not cfg.get('allow_missing_classes', False):
        lines = [f'{key}_dataloader.dataset: no sample of {report.describe_missing(key)}' for key in missing]
        empty = {name for names in missing.values() for name in names}
        chosen = enumerate_names(repr(name) for name in report.classes if name not in empty)
        lines.append(f'add samples, set classes=[{chosen}] in each dataset, or accept it: allow_missing_classes=True '
                     '(a key of the config, not of a dataset)')
        raise DataError('\n'.join(lines))


def check_images(datasets: Mapping[str, Dataset], headers: Mapping[str, ImageHeader]) -> dict[str, list[str]]:
    """Return what the files of each split hold, and how it reaches the network.

    Args:
        datasets: Split name to dataset.
        headers: The headers of the files, by path.

    Raises:
        DataError: If it cannot.
    """
    found = {}
    for split, dataset in datasets.items():
        if (loader := image_loader(dataset)) is None:
            continue
        paths = dict.fromkeys(info['img_path'] for info in iter_samples(dataset) if info.get('img_path'))
        with located(f'{split}_dataloader.dataset'):
            survey = survey_images(list(paths), loader, headers)
            if survey.fault:
                raise DataError(survey.fault)
        known = [headers[path] for path in paths if path in headers]
        found[split] = [*survey.lines, *_describe_reduction(dataset, known)]
        for line in survey.lines:
            if line.startswith('WARNING '):
                warn(line.removeprefix('WARNING '))
    return found


def _describe_reduction(dataset: Dataset, headers: Sequence[ImageHeader]) -> Iterator[str]:
    """Yield how small the JPEGs are decoded, if any is not decoded whole."""
    inner = inner_datasets(dataset)[0]
    step = next_step(getattr(getattr(inner, 'pipeline', None), 'transforms', ()))
    if step is not None and getattr(inner, 'cache', None) is None:
        shapes = {header.shown[::-1] for header in headers if header.format in ('JPEG', 'MPO')}
        most = max(map(step.most_reduction, shapes), default=1)
        if most > 1:
            yield (f'large JPEGs are decoded at down to 1/{most} of their size, where {type(step).__name__} needs no '
                   'more; reduce=False in LoadImageFromFile decodes them whole')


def check_masks(cfg: Config, datasets: Mapping[str, Dataset], headers: Mapping[str, ImageHeader]) -> list[str]:
    """Look at all masks; return a line on each split that has some.

    Raises:
        DataError: If a mask does not fit its image, or the values do not fit the settings.
        ConfigError: If a setting of the training set's masks is not made for another split.
    """
    lines = []
    for split, dataset in datasets.items():
        for inner in inner_datasets(dataset):
            if isinstance(inner, BinarySegDataset) and inner.check:
                if len(inner) > _MANY_MASKS:
                    print_log(f'reading {len(inner):,} masks; check=False of the dataset skips this', 'current')
                with located(f'{split}_dataloader.dataset'):
                    lines.append(f'{split}: {inner.check_masks(headers).describe()}')
    if lines:
        _check_mask_settings(cfg)
    return lines


def _check_mask_settings(cfg: Config) -> None:
    """Refuse settings that differ for the same masks, and one of the foreground that only one of two splits has."""
    trained = _inner_config(cfg, 'train')
    for split in ('val', 'test'):
        other = _inner_config(cfg, split)
        is_same = all(trained.get(key) == other.get(key) for key in ('data_root', 'mask_dir'))
        for name, default in vars(MaskCoding()).items():
            ours, theirs = trained.get(name, default), other.get(name, default)
            is_left_out = name in ('foreground', 'threshold', 'alpha') and name not in trained.keys() & other.keys()
            if trained.get('type') == other.get('type') and ours != theirs and (is_same or is_left_out):
                key = f'dataloader.dataset.{name}'
                raise ConfigError(f'{split}_{key}: {theirs!r}, but train_{key} is {ours!r}; set both to the same')


def check_contents(cfg: Config, datasets: Mapping[str, Dataset], report: DataReport) -> None:
    """Compare the images by content: warn of those of a split that are training images, or have two labels.

    Raises:
        DataError: If all validation images are training images, unless the config says ``allow_shared_images = True``.
    """
    if unknown := [split for split, dataset in datasets.items() if not any(iter_samples(dataset))]:
        report.notes.append(f'{enumerate_names(unknown)}: images not compared, since the dataset has no get_data_info')
    if sum(len(inner) for dataset in datasets.values() for inner in inner_datasets(dataset)) > MOST_COMPARED:
        report.notes.append(f'images not compared, more than {MOST_COMPARED:,}; {command("check_data")} compares them')
        return
    images = [image for split, dataset in datasets.items() for image, _ in images_of(dataset, split)]
    sizes = Counter(image.split for image in images)
    for (kind, split), pairs in find_doubles(same_content(images)).items():
        if kind == 'copy':
            continue
        text = f'{DOUBLES[kind]}: {len(pairs):,} of {sizes[split]:,} images'
        report.notes.append(f'{split}: {text.upper()}')
        is_twice = kind == 'shared' and all(image.content != first.content for image, first in pairs)
        remedy = _REMEDIES['twice' if is_twice else kind]
        text = f'{split}_dataloader.dataset: {text}, for example {describe_pair(pairs[0])}; {remedy}'
        is_all = (kind, split, len(pairs)) == ('shared', 'val', sizes['val'])
        if is_all and not cfg.get('allow_shared_images', False):
            raise DataError(f'{text}, or accept it with allow_shared_images=True')
        warn(text)


def _metric_configs(evaluator: Any, path: str) -> list[tuple[str, Mapping]]:
    """Return the path and the dict of each metric of an evaluator."""
    return [(path, node) for path, node in walk(evaluator, path) if isinstance(node, Mapping) and 'type' in node]


def _head_faults(cfg: Config) -> Iterator[str]:
    """Yield a fault if the head predicts one label per image, where the data has several."""
    kind = _class(MODELS, cfg.model.get('head') or {})
    if kind is None or not issubclass(kind, ClsHead) or issubclass(kind, MultiLabelClsHead):
        return
    instead = 'MultiLabelClsHead' if kind is ClsHead else 'MultiLabelLinearClsHead'
    yield (f'model.head.type: {kind.__name__} predicts one class per image, and the data has several labels; set it to '
           f"{instead!r}, with loss=dict(type='CrossEntropyLoss', use_sigmoid=True) or dict(type='AsymmetricLoss')")


def _metric_faults(cfg: Config, several: Mapping[str, str]) -> Iterator[str]:
    """Yield the metrics for one label per image on data that has several.

    A split that was not built is judged by the class of its dataset.
    """
    kinds = {_class(DATASETS, _inner_config(cfg, split)) for split, described in several.items() if described} - {None}
    for split in ('val', 'test'):
        if (described := several.get(split)) is None:
            described = _class(DATASETS, _inner_config(cfg, split)) in kinds
        key = f'{split}_evaluator'
        for path, config in _metric_configs(cfg.get(key), key):
            kind = _class(METRICS, config)
            if described and kind is not None and issubclass(kind, SingleLabelBase):
                yield (f'{path}.type: {kind.__name__} judges one label per image, and the data has several; set '
                       f"{key}=[dict(type='AveragePrecision'), dict(type='MultiLabelMetric')]")


def _class(registry: Any, component: Mapping) -> type | None:
    """Return the class of a component's dict, None if it names none."""
    found = registry.get(component.get('type'))
    return found if inspect.isclass(found) else None


def _inner_config(cfg: Config, split: str) -> Mapping:
    """Return the dict of a split's innermost dataset, the first one; {} if there is none."""
    return next(dataset_configs((cfg.get(f'{split}_dataloader') or {}).get('dataset')), {})
