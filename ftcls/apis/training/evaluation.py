"""Evaluating a checkpoint on the test set of a config."""
import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.evaluator import BaseMetric, DumpResults
from mmengine.logging import print_log
from mmengine.runner import Runner

from ftcls.config.resolve import EvalOptions, resolve, work_dir_of
from ftcls.engine.hooks import SpeedHook, data_digest, keep_predictions, record_predictions
from ftcls.engine.mmengine_compat import set_test_loop
from ftcls.registry import LOOPS
from ftcls.utils import CheckpointError, ConfigError, DataError
from ftcls.utils.checkpoint.folder import write_whole
from ftcls.utils.checkpoint.loading import checkpoint_meta, read_checkpoint
from ftcls.utils.errors import unwrapped
from ftcls.utils.names import enumerate_names
from ftcls.utils.writable import check_writable
from .data_checks import check_datasets
from .distributed import init_distributed
from .file_scan import BadSampleHook
from .loaders import build_datasets, build_loaders
from .machine_faults import machine_errors
from .sanity_checks import check_pass
from .train import build_runner, check_config

__all__ = ['evaluate_runner', 'test']


@machine_errors()
def test(cfg: Config,
         checkpoint: str,
         out: str | None = None,
         *,
         work_dir: str | None = None,
         launcher: str = 'none',
         tta: bool = False) -> dict[str, float]:
    """Measure a checkpoint on ``test_dataloader`` with ``test_evaluator``.

    The predictions are kept in ``predictions/test.npz`` of the work dir, see :class:`.Predictions`, unless they are
    means over views (``tta``).

    Args:
        cfg: The config; it is not changed.
        checkpoint: A file, URL or ``torchvision://`` name.
        out: Where the numbers go: a ``.json`` file of the metrics, or a ``.pkl`` of every prediction.
        work_dir: Where the log goes; None takes the config's, then ``work_dirs/<config name>``.
        launcher: ``none``, ``pytorch``, ``slurm`` or ``mpi``.
        tta: Average the predictions for several views of each image: those of the config's ``tta_pipeline``, otherwise
            the image and its mirror image.

    Returns:
        Metric name to value.
    """
    if out and Path(out).suffix not in ('.json', '.pkl', '.pickle'):
        raise ConfigError(f'--out {out}: must end in .json (the metrics) or .pkl (every prediction)')
    check_writable(out=out)
    options = EvalOptions(work_dir, launcher, checkpoint, tta)
    cfg = check_config(cfg, options, 'test_dataloader', 'add the dataset to test, with test_cfg and test_evaluator')
    resolved = resolve(cfg, options)
    init_distributed(launcher, (cfg.get('env_cfg') or {}).get('dist_cfg'))
    classes = _classes_of(read_checkpoint(checkpoint))
    try:
        datasets, report = build_datasets(resolved.cfg, ['test'], classes)
    except DataError as err:
        trained = f'{checkpoint} was trained on the classes {enumerate_names(classes)}: ' if classes else ''
        raise DataError(trained + str(unwrapped(err))) from err
    samples = check_datasets(cfg, datasets, report, work_dir_of(cfg, options))
    if tta:  # the first view, as a sample
        samples['test'] = [{key: views[0] for key, views in sample.items()} for sample in samples['test']]
    loaders = build_loaders(resolved.cfg, datasets)
    runner = build_runner(resolved.cfg, loaders, [BadSampleHook(), SpeedHook()])
    if cfg.get('val_dataloader') and data_digest(cfg, 'test') == data_digest(cfg, 'val'):
        report.facts['test set'] = ['all test images are validation images']
    for title, lines in {**report.facts, 'config': resolved.notes}.items():
        for line in lines:
            print_log(f'{title}: {line}', logger='current')
    check_pass(runner, loaders, samples)
    if out and Path(out).suffix != '.json':
        runner.test_evaluator.metrics.append(DumpResults(out_file_path=out))
    recorder = None if tta else record_predictions(runner, runner.test_loop)
    metrics = runner.test()
    if recorder is not None:
        keep_predictions(recorder, runner, 'test', checkpoint)
    if is_main_process() and out and Path(out).suffix == '.json':
        write_whole(Path(out), json.dumps(metrics, indent=2, default=lambda one: one.tolist()) + '\n')
    return metrics


def evaluate_runner(runner: Runner, extra: Sequence[BaseMetric] = ()) -> tuple[dict[str, float], str]:
    """Measure the model that a Runner has trained on its config's test set.

    Args:
        runner: After training.
        extra: Metrics in addition to those of the config.

    Returns:
        Metric name to value, and ``'test'``; where the config has no test set, on the validation set, and ``'val'``.
    """
    cfg = runner.cfg
    split = 'test' if cfg.get('test_dataloader') else 'val'
    if not cfg.get(f'{split}_dataloader'):
        raise ConfigError('neither test_dataloader nor val_dataloader is given; there is nothing to measure on')
    classes = (getattr(runner.train_dataloader.dataset, 'metainfo', None) or {}).get('classes')
    datasets, _ = build_datasets(cfg, [split], classes)
    settings = {'type': f'{split.capitalize()}Loop', **cfg[f'{split}_cfg']}
    loader = build_loaders(cfg, datasets)[split]
    evaluator = copy.deepcopy(cfg[f'{split}_evaluator'])
    loop = LOOPS.build(settings, default_args=dict(runner=runner, dataloader=loader, evaluator=evaluator))
    loop.evaluator.metrics.extend(extra)
    if split == 'test':
        set_test_loop(runner, loop)
    return loop.run(), split


def _classes_of(checkpoint: Mapping[str, Any]) -> list[str] | None:
    """Return the class names in a checkpoint of ours."""
    classes = (checkpoint_meta(checkpoint).get('dataset_meta') or {}).get('classes') or []
    if not all(isinstance(name, str) for name in classes):
        raise CheckpointError('meta.dataset_meta.classes of the checkpoint must hold names only')
    return list(classes) or None
