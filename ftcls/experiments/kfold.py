"""K-fold cross-validation: as many runs as folds, each measured on the pictures that it has not seen."""
import copy
import csv
import functools
import json
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.evaluator import BaseMetric

from ftcls.apis.training.distributed import init_distributed
from ftcls.apis.training.evaluation import evaluate_runner
from ftcls.apis.training.loaders import build_datasets, dataset_configs, inner_datasets
from ftcls.apis.training.train import TrainOptions, train
from ftcls.config.validation import validate_config
from ftcls.engine.mmengine_compat import quiet_run
from ftcls.utils import ConfigError, DataError
from ftcls.utils.names import enumerate_names
from ftcls.visualization import plot_compare, read_records
from .run import Run, Workers, make_runs, scores_only

__all__ = ['CrossValidation', 'fold_config', 'kfold']

_PREDICTIONS = 'predictions.csv'
_ID = ('img_path', 'sample_idx')


@dataclass(frozen=True)
class CrossValidation:
    """What a cross-validation came to.

    Attributes:
        metric: The score.
        folds: How many there are.
        scores: The scores of the folds that are finished, by the fold's number.
        rows: The predictions of these folds for their own pictures, one dict a picture, as ``out_of_fold.csv`` has them.
        failures: What went wrong, by fold (``'fold 2'``).
        metrics: All metrics of each finished fold.
    """
    metric: str
    folds: int
    scores: dict[int, float]
    rows: list[dict[str, str]]
    failures: Mapping[str, str] = field(default_factory=dict)
    metrics: dict[int, dict] = field(default_factory=dict)

    @property
    def mean(self) -> float:
        """Mean of the folds' scores."""
        return statistics.fmean(self.scores.values())

    @property
    def std(self) -> float | None:
        """Standard deviation of the folds' scores, None of a single one."""
        return statistics.stdev(self.scores.values()) if len(self.scores) > 1 else None

    def table(self) -> str:
        """Draw the scores as plain text: one line a fold, mean and standard deviation, what is wanting."""
        sizes = Counter(int(row['fold']) for row in self.rows)
        lines = [f'fold  {self.metric:>16}  pictures']
        width = max(16, len(self.metric))
        lines += [f'{fold:<4}  {score:>{width}.2f}  {sizes[fold]:>8}' for fold, score in sorted(self.scores.items())]
        spread = '' if self.std is None else f' ± {self.std:.2f}'
        lines.append(f'mean  {self.mean:>{width}.2f}{spread} (standard deviation over {len(self.scores)} folds)')
        known = [row for row in self.rows if row['label'] and row['predicted']]
        if known:
            right = sum(row['label'] == row['predicted'] for row in known)
            lines.append(f'out of fold: {right} of {len(known)} right ({100 * right / len(known):.2f} %)')
        lines += [f'FAILED  {fold}: {why}' for fold, why in self.failures.items()]
        wanting = self.folds - len(self.scores) - len(self.failures)
        return '\n'.join(lines + ([f'not finished: {wanting} folds'] if wanting else []))

    def write(self, out_dir: Path) -> None:
        """Write ``table.txt``, ``results.json``, ``kfold.png`` and ``out_of_fold.csv`` into a folder."""
        (out_dir / 'table.txt').write_text(self.table() + '\n', encoding='utf-8')
        content = dict(
            metric=self.metric,
            folds=self.folds,
            mean=self.mean,
            std=self.std,
            scores=self.scores,
            metrics=self.metrics,
            failures=dict(self.failures))
        (out_dir / 'results.json').write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')
        _write_rows(self.rows, out_dir / 'out_of_fold.csv')
        records = [read_records(out_dir / f'fold{fold}' / 'metrics.jsonl') for fold in sorted(self.scores)]
        measured = any(self.metric in record for run in records for record in run)
        plot_compare({f'{len(records)} folds': records},
                     out_dir / 'kfold.png',
                     metric=self.metric if measured else None,
                     over='folds')


def kfold(
    cfg: Config,
    folds: int,
    out_dir: str | Path,
    *,
    seed: int = 0,
    pool: bool = False,
    metric: str | None = None,
    workers: Workers = Workers(),
    say: Callable[[str], None] = functools.partial(print, flush=True)
) -> CrossValidation:
    """Train ``folds`` times, each time without one fold of the training set, and measure on that fold.

    The folds are stratified, see :class:`.KFoldDataset`. Each is an ordinary run, with the validation's pipeline and metrics on
    its own fold; the config's validation set is used with ``pool`` only, its test set never. The same call goes on where one was
    broken off.

    Args:
        cfg: The config; it is not changed.
        folds: How many, 2 or more.
        out_dir: Gets ``fold<k>/`` of each run, ``out_of_fold.csv`` with the prediction for every picture by the run that has
            not seen it, ``table.txt``, ``results.json`` and ``kfold.png``.
        seed: Seed of the folds and of the runs.
        pool: Deal out the validation set too.
        metric: The score; None takes the first metric of the evaluator.
        workers: Who makes the runs.
        say: Gets one line as a run begins and one when it has ended.

    Raises:
        ConfigError: Before the first run: if the config has no such sets, a class has fewer pictures than there are folds, or
            ``out_dir`` holds other runs.
        DataError: If in the end not every picture was predicted once.
    """
    out_dir = Path(out_dir)
    configs = [fold_config(cfg, fold, folds, seed, pool) for fold in range(folds)]
    validate_config(configs[0])
    init_distributed(workers.launcher, (cfg.get('env_cfg') or {}).get('dist_cfg'))
    size = _check_data(configs[0], folds, pool)
    runs = [_FoldRun(f'fold{fold}', seed, out_dir, one) for fold, one in enumerate(configs)]
    finished, failures, metric = make_runs(runs, workers, metric, say)
    metrics = {fold: finished[run.name]['metrics'] for fold, run in enumerate(runs) if finished[run.name]}
    rows = [{'fold': str(fold), **row} for fold in metrics for row in _read_rows(runs[fold].folder / _PREDICTIONS)]
    result = CrossValidation(metric or '', folds, {
        fold: one[metric]
        for fold, one in metrics.items()
    }, rows, failures, metrics)
    distinct = len({tuple(row[key] for key in _ID) for row in rows})
    if len(rows) != distinct or len(metrics) == folds and distinct != size:
        raise DataError(
            f'{out_dir}: {len(rows)} predictions for {distinct} different pictures, of {size} in all; has the data '
            'changed meanwhile? Delete the folder and begin anew')
    if is_main_process() and workers.shard == (0, 1):
        result.write(out_dir)
    return result


def fold_config(cfg: Config, fold: int, folds: int, seed: int, pool: bool = False) -> Config:
    """Return the config of one run: its training set without a fold, that fold to validate on, no test set.

    Args:
        cfg: The config; it is not changed.
        fold: Number of the fold, from 0.
        folds: How many there are.
        seed: Seed of the folds.
        pool: Deal out the validation set too.

    Raises:
        ConfigError: If training or validation set are missing, or there is no such fold.
    """
    if folds < 2:
        raise ConfigError(f'--folds {folds}: must be 2 or more')
    for split in ('train', 'val'):
        if not cfg.get(f'{split}_dataloader'):
            raise ConfigError(
                f'{split}_dataloader: missing; a fold is trained as `train` says and measured as `val` says')
    cfg = copy.deepcopy(cfg)
    cut = dict(fold=fold, num_splits=folds, seed=seed)
    train_set, val_set = cfg.train_dataloader.dataset, cfg.val_dataloader.dataset
    ours, theirs = (list(dataset_configs(node)) for node in (train_set, val_set))
    leaves = ours + theirs if pool else ours
    parts = [_folded(train_set, cut)] + [_folded(_with_pipeline(leaf, ours[0]), cut) for leaf in leaves[len(ours):]]
    held_out = [_folded(_with_pipeline(leaf, theirs[0]), dict(cut, test_mode=True)) for leaf in leaves]
    cfg.train_dataloader.dataset, cfg.val_dataloader.dataset = _joined(parts), _joined(held_out)
    cfg.test_dataloader = cfg.test_cfg = cfg.test_evaluator = None
    return cfg


def _with_pipeline(leaf: dict, other: dict) -> dict:
    return {**leaf, **{key: other[key] for key in ('pipeline', ) if key in other}}


def _joined(parts: list[dict]) -> dict:
    return parts[0] if len(parts) == 1 else dict(type='ConcatDataset', datasets=parts)


def _folded(node: Any, cut: dict) -> Any:
    """Return a dataset dict in which each innermost dataset is cut."""
    if isinstance(node, list | tuple):
        return [_folded(child, cut) for child in node]
    inner = [key for key in ('dataset', 'datasets') if key in node]
    if inner:
        return {**node, inner[0]: _folded(node[inner[0]], cut)}
    return dict(type='KFoldDataset', dataset=dict(node), **cut)


def _check_data(cfg: Config, folds: int, pool: bool) -> int:
    """Return how many pictures are dealt out, once they are known to be enough."""
    with quiet_run():
        datasets, report = build_datasets(cfg, ['train', 'val'])
    leaves = inner_datasets(datasets['val'])
    if pool:
        paths = [leaf.get_data_info(index).get('img_path') for leaf in leaves for index in range(len(leaf))]
        if None in paths:
            raise ConfigError(
                '--pool: needs pictures in files; these are told apart by their numbers, which each set counts anew')
        twice = [path for path, count in Counter(paths).items() if count > 1]
        if twice:
            raise ConfigError(f'--pool: {len(twice)} pictures are listed more than once, {twice[0]} for one')
    counts: Counter = Counter()
    for leaf in leaves:
        counts.update((leaf.class_counts() if hasattr(leaf, 'class_counts') else None) or {})
    few = [f'{name} {counts[name]}' for name in report.classes or () if counts and counts[name] < folds]
    if few and not cfg.get('allow_missing_classes', False):
        raise ConfigError(
            f'--folds {folds}: some classes have fewer pictures than there are folds: {enumerate_names(few)}; add pictures, '
            'use fewer folds, or accept folds without them by --cfg-options allow_missing_classes=True')
    return sum(len(leaf) for leaf in leaves)


class _FoldRun(Run):
    """The run of one fold: measured on it, with the prediction for each of its pictures in ``predictions.csv``."""

    @property
    def name(self) -> str:
        return self.arm.replace('fold', 'fold ')

    @property
    def folder(self) -> Path:
        return self.out_dir / self.arm

    def result(self) -> dict | None:
        return super().result() if (self.folder / _PREDICTIONS).is_file() else None

    def measured(self, options: TrainOptions) -> tuple[dict[str, Any], str]:
        with quiet_run():
            runner = train(self.config(), options)
            collected = _Predictions((runner.train_dataloader.dataset.metainfo or {}).get('classes') or ())
            metrics, split = evaluate_runner(runner, [collected])
        if is_main_process():
            _write_rows(collected.rows, self.folder / _PREDICTIONS)
        return scores_only(metrics), split


class _Predictions(BaseMetric):
    """Keeps what the model made of each picture.

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
            for name, score in zip(self.classes, () if scores is None else scores.reshape(-1).tolist()):
                row[f'score {name}'] = f'{score:.6g}'
            self.results.append(row)

    def _names(self, labels: torch.Tensor | None) -> str:
        indices = [] if labels is None else torch.as_tensor(labels).reshape(-1).tolist()
        return ';'.join(self.classes[index] if index < len(self.classes) else str(index) for index in indices)

    def compute_metrics(self, results: Sequence[dict]) -> dict:
        self.rows = list(results)
        return {}


def _write_rows(rows: Sequence[dict[str, str]], path: Path) -> None:
    with path.open('w', newline='', encoding='utf-8') as file:
        names = list(dict.fromkeys(name for row in rows for name in row))
        writer = csv.DictWriter(file, names, restval='')
        writer.writeheader()
        writer.writerows(rows)


def _read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))
