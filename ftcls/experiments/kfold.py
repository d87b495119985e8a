"""K-fold cross-validation: as many runs as folds, each measured on the images that it has not seen."""
import copy
import csv
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.runner import Runner
from torch.utils.data import Dataset

from ftcls.apis.training.distributed import init_distributed
from ftcls.apis.training.evaluation import evaluate_runner
from ftcls.apis.training.loaders import build_datasets, inner_datasets
from ftcls.config.validation import validate_config
from ftcls.engine.mmengine_compat import quiet_run
from ftcls.utils import ConfigError, DataError
from ftcls.utils.names import enumerate_names, plural
from .report import CrossValidation
from .run import Run, Workers, execute_runs, print_line, split_datasets, with_seed

__all__ = ['fold_config', 'kfold']

_ID = ('img_path', 'sample_idx')


def kfold(cfg: Config,
          folds: int,
          out_dir: str | Path,
          *,
          seed: int = 0,
          pool: bool = False,
          metric: str | None = None,
          workers: Workers = Workers(),
          log: Callable[[str], None] = print_line) -> CrossValidation:
    """Train ``folds`` times, each time without one fold of the training set, and measure on that fold.

    The folds are stratified, see :class:`.KFoldDataset`. Each is an ordinary run, with the validation's pipeline and
    metrics on its own fold. The config's validation set is used with ``pool`` only, its test set never. The same call
    resumes after a break.

    Args:
        cfg: The config; it is not changed.
        folds: How many, 2 or more.
        out_dir: Gets ``fold<k>/`` of each run, ``out_of_fold.csv`` with the prediction for every image by the run that
            has not seen it, ``table.txt``, ``results.json`` and ``kfold.png``.
        seed: Seed of the folds and of the runs.
        pool: Divide the validation set into folds too.
        metric: The score; None takes the first metric of the evaluator.
        workers: Who executes the runs.
        log: Gets one line when a run begins and one when it has ended.

    Raises:
        ConfigError: Before the first run: if the config lacks a set, a class has fewer images than there are folds,
            no training can start for lack of data or weights, or ``out_dir`` holds other runs.
        DataError: If in the end not every image was predicted once.
    """
    out_dir = Path(out_dir)
    runs = []
    for fold in range(max(folds, 1)):
        one = with_seed(fold_config(cfg, fold, folds, seed, pool), seed, f'{out_dir.name}-fold{fold}-seed{seed}')
        runs.append(Run(f'fold {fold}', one, out_dir / f'fold{fold}', measure=_predict_fold))
    validate_config(runs[0].cfg)
    init_distributed(workers.launcher, (cfg.get('env_cfg') or {}).get('dist_cfg'))
    size = _check_data(runs[0].cfg, folds, pool)
    batch = execute_runs(runs, workers, metric, log)
    done = {fold: batch.results[run.name] for fold, run in enumerate(runs) if run.name in batch.results}
    metrics = {fold: result['metrics'] for fold, result in done.items()}
    rows = [{'fold': str(fold), **row} for fold, result in done.items() for row in result['predictions']]
    _check_rows(rows, size, len(done) == folds, out_dir)
    report = CrossValidation(batch.metric, folds, metrics, rows, batch.failures, batch.unfinished)
    if workers.is_reporter:
        report.write(out_dir)
        _write_csv(rows, out_dir / 'out_of_fold.csv')
    return report


def fold_config(cfg: Config, fold: int, folds: int, seed: int, pool: bool = False) -> Config:
    """Return the config of one run: its training set without a fold, that fold to validate on, no test set.

    Args:
        cfg: The config; it is not changed.
        fold: Number of the fold, from 0.
        folds: How many there are.
        seed: Seed of the folds.
        pool: Divide the validation set into folds too.

    Raises:
        ConfigError: If training or validation set are missing, or there is only one fold.
    """
    if folds < 2:
        raise ConfigError(f'--folds {folds}: must be at least 2')
    for split in ('train', 'val'):
        if not cfg.get(f'{split}_dataloader'):
            raise ConfigError(f'{split}_dataloader: missing; a fold is trained by `train` and measured by `val`')
    cfg = copy.deepcopy(cfg)
    cut = dict(fold=fold, num_splits=folds, seed=seed)
    train_leaves, val_leaves = split_datasets(cfg, 'train'), split_datasets(cfg, 'val')
    pooled = val_leaves if pool else []
    train = [_folded(cfg.train_dataloader.dataset, cut)]
    train += [_folded(_with_pipeline(leaf, train_leaves[0]), cut) for leaf in pooled]
    plain = [_with_pipeline(leaf, val_leaves[0]) for leaf in train_leaves + pooled]
    held_out = [_folded(leaf, dict(cut, test_mode=True)) for leaf in plain]
    cfg.train_dataloader.dataset, cfg.val_dataloader.dataset = _joined(train), _joined(held_out)
    cfg.test_dataloader = cfg.test_cfg = cfg.test_evaluator = None
    return cfg


def _with_pipeline(leaf: dict, other: dict) -> dict:
    return {**leaf, 'pipeline': other['pipeline']} if 'pipeline' in other else leaf


def _joined(parts: list[dict]) -> dict:
    return parts[0] if len(parts) == 1 else dict(type='ConcatDataset', datasets=parts)


def _folded(node: Any, cut: dict) -> Any:
    """Return a dataset dict in which each innermost dataset is cut."""
    if isinstance(node, list | tuple):
        return [_folded(child, cut) for child in node]
    for key in ('dataset', 'datasets'):
        if key in node:
            return {**node, key: _folded(node[key], cut)}
    return dict(type='KFoldDataset', dataset=dict(node), **cut)


def _check_data(cfg: Config, folds: int, pool: bool) -> int:
    """Return how many images there are in all folds.

    Raises:
        ConfigError: If an image is listed twice, or a class has too few of them.
    """
    with quiet_run():
        datasets, report = build_datasets(cfg, ['train', 'val'])
    leaves = inner_datasets(datasets['val'])
    if pool:
        _check_pool(leaves)
    counts: Counter = Counter()
    for leaf in leaves:
        if hasattr(leaf, 'class_counts'):
            counts.update(leaf.class_counts() or {})
    few = [f'{name} {counts[name]}' for name in report.classes or () if counts and counts[name] < folds]
    if few and not cfg.get('allow_missing_classes', False):
        raise ConfigError(
            f'--folds {folds}: some classes have fewer images than there are folds: {enumerate_names(few)}. Use fewer '
            'folds, add images, or accept folds without them by --cfg-options allow_missing_classes=True')
    return sum(len(leaf) for leaf in leaves)


def _check_pool(leaves: Sequence[Dataset]) -> None:
    paths: Counter = Counter()
    for leaf in leaves:
        paths.update(leaf.get_data_info(index).get('img_path') for index in range(len(leaf)))
    if None in paths:
        raise ConfigError('--pool: needs images in files; these have only numbers, which both sets count from 0')
    twice = [path for path, count in paths.items() if count > 1]
    if twice:
        raise ConfigError(f'--pool: {plural(len(twice), "image")} listed more than once: {enumerate_names(twice, 3)}')


def _check_rows(rows: Sequence[Mapping[str, str]], size: int, is_complete: bool, out_dir: Path) -> None:
    """Check that no image was predicted twice and, when all folds are done, that each was predicted.

    Raises:
        DataError: If not.
    """
    distinct = {tuple(row[key] for key in _ID) for row in rows}
    is_repeated = len(rows) > len(distinct)
    is_incomplete = is_complete and len(distinct) != size
    if is_repeated or is_incomplete:
        raise DataError(
            f'{out_dir}: {len(rows)} predictions for {len(distinct)} of {size} images. The data has changed '
            'since the first fold; delete the folder and begin anew')


def _predict_fold(runner: Runner) -> dict[str, Any]:
    """Measure a run on its fold, and keep the prediction for each of its images."""
    metainfo = runner.train_dataloader.dataset.metainfo or {}
    predictions = _Predictions(metainfo.get('classes') or ())
    metrics, split = evaluate_runner(runner, [predictions])
    return dict(metrics=metrics, split=split, predictions=predictions.rows)


class _Predictions(BaseMetric):
    """Keeps the prediction for each image.

    Args:
        classes: The names of the classes.
    """
    default_prefix = ''

    def __init__(self, classes: Sequence[str]) -> None:
        super().__init__()
        self.classes = classes
        self.rows: list[dict[str, str]] = []

    def process(self, data_batch: Any, data_samples: Sequence[Mapping]) -> None:
        for sample in data_samples:
            row = {key: str(sample.get(key, '')) for key in _ID}
            row.update(label=self._names(sample.get('gt_label')), predicted=self._names(sample.get('pred_label')))
            scores = sample.get('pred_score')
            if scores is not None:
                named = zip(self.classes, scores.reshape(-1).tolist())
                row.update({f'score {name}': f'{score:.6g}' for name, score in named})
            self.results.append(row)

    def _names(self, labels: torch.Tensor | None) -> str:
        if labels is None:
            return ''
        names = dict(enumerate(self.classes))
        return ';'.join(names.get(index, str(index)) for index in torch.as_tensor(labels).reshape(-1).tolist())

    def compute_metrics(self, results: Sequence[dict]) -> dict:
        self.rows = list(results)
        return {}


def _write_csv(rows: Sequence[Mapping[str, str]], path: Path) -> None:
    with path.open('w', newline='', encoding='utf-8') as file:
        names = dict.fromkeys(name for row in rows for name in row)
        writer = csv.DictWriter(file, list(names), restval='')
        writer.writeheader()
        writer.writerows(rows)
