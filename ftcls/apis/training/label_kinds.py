"""Whether head and metrics are for as many labels a picture as the data has."""
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config
from torch.utils.data import Dataset

from ftcls.evaluation.metrics.predictions import SingleLabelBase
from ftcls.models.heads import ClsHead, MultiLabelClsHead
from ftcls.registry import DATASETS, METRICS, MODELS
from .splits import inner_datasets

__all__ = ['describe_labels', 'label_faults', 'metric_configs']


def describe_labels(dataset: Dataset) -> str:
    """Return how many labels its pictures have, for the preflight; '' where each has one by its kind."""
    parts = [part for part in inner_datasets(dataset) if getattr(part, 'multi_label', False)]
    numbers = [len(part.get_cat_ids(index)) for part in parts for index in range(len(part))]
    if not numbers:
        return ''
    none = f', {numbers.count(0):,} without any' if 0 in numbers else ''
    return f'{sum(numbers) / len(numbers):.2f} labels a picture{none}'


def label_faults(cfg: Config, several: Mapping[str, str]) -> list[str]:
    """Return what in a config is for one label a picture, where the data has several.

    Args:
        cfg: The config.
        several: Split name to what :func:`describe_labels` says.
    """
    if not any(several.values()):
        return []
    faults = []
    kind = _class(MODELS, (cfg.model.get('head') or {}).get('type'))
    if kind is not None and issubclass(kind, ClsHead) and not issubclass(kind, MultiLabelClsHead):
        instead = 'MultiLabelClsHead' if kind is ClsHead else 'MultiLabelLinearClsHead'
        faults.append(
            f'model.head.type: {kind.__name__} tells one class a picture, and the data has several labels; set '
            f'model.head.type={instead!r}, with loss=dict(type=\'CrossEntropyLoss\', use_sigmoid=True) or '
            'dict(type=\'AsymmetricLoss\')')
    kinds = {_dataset_class(cfg, split) for split, described in several.items() if described}
    for split in ('val', 'test'):
        described = several.get(split)
        if described or described is None and _dataset_class(cfg, split) in kinds - {None}:
            faults += _metric_faults(cfg.get(f'{split}_evaluator'), f'{split}_evaluator')
    return faults


def metric_configs(evaluator: Any, path: str) -> Iterator[tuple[str, Mapping]]:
    """Yield the path and the dict of each metric of an evaluator."""
    if isinstance(evaluator, list | tuple):
        for number, item in enumerate(evaluator):
            yield from metric_configs(item, f'{path}.{number}')
    elif isinstance(evaluator, Mapping) and 'metrics' in evaluator:
        yield from metric_configs(evaluator['metrics'], f'{path}.metrics')
    elif isinstance(evaluator, Mapping):
        yield path, evaluator


def _metric_faults(evaluator: Any, where: str) -> Iterator[str]:
    for path, config in metric_configs(evaluator, where):
        kind = _class(METRICS, config.get('type'))
        if kind is not None and issubclass(kind, SingleLabelBase):
            yield (f'{path}.type: {kind.__name__} judges one label a picture, and the data has several; set '
                   f"{where}=[dict(type='AveragePrecision'), dict(type='MultiLabelMetric')]")


def _class(registry: Any, kind: Any) -> type | None:
    found = registry.get(kind) if isinstance(kind, str) else kind
    return found if inspect.isclass(found) else None


def _dataset_class(cfg: Config, split: str) -> type | None:
    """Return the class of a split's dataset, looked for in wrappers."""
    dataset = (cfg.get(f'{split}_dataloader') or {}).get('dataset')
    while isinstance(dataset, Mapping) and isinstance(dataset.get('dataset'), Mapping):
        dataset = dataset['dataset']
    return _class(DATASETS, dataset.get('type')) if isinstance(dataset, Mapping) else None
