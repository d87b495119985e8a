"""K-fold cross-validation: as many runs as folds, each measured on the images that it has not seen."""
import copy
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.runner import Runner
from torch.utils.data import Dataset

from ftcls.apis.training.distributed import init_distributed
from ftcls.apis.training.evaluation import evaluate_runner
from ftcls.apis.training.loaders import build_datasets
from ftcls.config.loading import load_config
from ftcls.config.validation import validate_config
from ftcls.datasets.wrappers import inner_datasets, iter_samples
from ftcls.engine.mmengine_compat import quiet_run
from ftcls.evaluation.predictions import OUT_OF_FOLD, PredictionRecorder, Predictions, predictions_file
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

    The folds are stratified, see :class:`.KFoldDataset`; each is measured by the validation's pipeline and metrics. The
    config's validation set is used with ``pool`` only, its test set never. The same call resumes, see ``compare``.

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
    out_dir, cfg = Path(out_dir), load_config(cfg)
    runs = []
    for fold in range(max(folds, 1)):
        one = with_seed(fold_config(cfg, fold, folds, seed, pool), seed, f'{out_dir.name}-fold{fold}-seed{seed}')
        runs.append(Run(f'fold {fold}', one, out_dir / f'fold{fold}', measure=_predict_fold))
    validate_config(runs[0].cfg)
    init_distributed(workers.launcher, (cfg.get('env_cfg') or {}).get('dist_cfg'))
    size = _check_data(runs[0].cfg, folds, pool)
    batch = execute_runs(runs, workers, metric, log)
    metrics, rows = {}, []
    for fold, run in enumerate(runs):
        if result := batch.results.get(run.name):
            metrics[fold] = result['metrics']
            predicted = result.get('predictions')  # of a fold before they had a file of their own
            if predicted is None:
                predicted = Predictions.load(predictions_file(run.folder, OUT_OF_FOLD)).rows()
            rows += [{'fold': str(fold), **row} for row in predicted]
    images = {tuple(row[key] for key in _ID) for row in rows}
    if len(rows) > len(images) or (len(metrics) == folds and len(images) != size):
        text = f'{len(rows)} predictions for {len(images)} of {size} images'
        raise DataError(f'{out_dir}: {text}; the data has changed since the first fold: delete the folder and restart')
    report = CrossValidation(batch.metric, folds, metrics, rows, batch.failures, batch.unfinished)
    if workers.is_reporter:
        report.write(out_dir)
    return report


def fold_config(cfg: Config, fold: int, folds: int, seed: int, pool: bool = False) -> Config:
    """Return a copy of a config whose training set lacks a fold (counted from 0), its validation set; no test set.

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
    train = [cfg.train_dataloader.dataset, *_with_pipeline(pooled, train_leaves[0])]
    held_out = _with_pipeline(train_leaves + pooled, val_leaves[0])
    cfg.train_dataloader.dataset = _joined(_folded(train, cut))
    cfg.val_dataloader.dataset = _joined(_folded(held_out, dict(cut, test_mode=True)))
    cfg.test_dataloader = cfg.test_cfg = cfg.test_evaluator = None
    return cfg


def _with_pipeline(leaves: list[dict], other: dict) -> list[dict]:
    own = {key: value for key, value in other.items() if key == 'pipeline'}
    return [{**leaf, **own} for leaf in leaves]


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
    """Return the number of images in all folds; refuse an image that is listed twice, a class with too few of them."""
    with quiet_run():
        datasets, report = build_datasets(cfg, ['train', 'val'])
    leaves = inner_datasets(datasets['val'])
    if pool:
        _check_pool(leaves)
    counts = sum((Counter(getattr(leaf, 'class_counts', dict)() or {}) for leaf in leaves), Counter())
    few = [f'{name} {counts[name]}' for name in report.classes or () if counts and counts[name] < folds]
    if few and not cfg.get('allow_missing_classes', False):
        raise ConfigError(f'--folds {folds}: some classes have fewer images than there are folds: '
                          f'{enumerate_names(few)}. Use fewer folds, add images, or set allow_missing_classes=True')
    return sum(len(leaf) for leaf in leaves)


def _check_pool(leaves: Sequence[Dataset]) -> None:
    paths = Counter(info.get('img_path') for info in chain.from_iterable(map(iter_samples, leaves)))
    if None in paths:
        raise ConfigError('--pool: needs images in files; these have only numbers, which both sets count from 0')
    if twice := [path for path, count in paths.items() if count > 1]:
        raise ConfigError(f'--pool: {plural(len(twice), "image")} listed more than once: {enumerate_names(twice, 3)}')


def _predict_fold(runner: Runner) -> dict[str, Any]:
    """Measure a run on its fold, and keep the prediction for each of its images."""
    recorder = PredictionRecorder()
    metrics, split = evaluate_runner(runner, [recorder])
    if is_main_process():
        classes = (runner.train_dataloader.dataset.metainfo or {}).get('classes') or ()
        found = Predictions.from_samples(recorder.samples, OUT_OF_FOLD, classes=classes)
        found.save(predictions_file(runner.work_dir, OUT_OF_FOLD))
    return dict(metrics=metrics, split=split)
