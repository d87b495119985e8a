"""Single runs of an experiment: checked, executed once, resumed after a break; one file holds the result of each."""
import copy
import json
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from reprlib import repr as shorten
from typing import Any

from mmengine.config import Config
from mmengine.dist import barrier, is_main_process, master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ftcls.apis.training.evaluation import evaluate_runner
from ftcls.apis.training.loaders import build_datasets
from ftcls.apis.training.train import TrainOptions, train
from ftcls.config.resolve import dataset_configs
from ftcls.engine.mmengine_compat import quiet_run
from ftcls.signals import RunStopped
from ftcls.utils import ConfigError, UserError, did_you_mean
from ftcls.utils.checkpoint.folder import newest_whole, write_whole
from ftcls.utils.download import file_digest
from ftcls.utils.errors import RunningError, describe_error
from ftcls.utils.names import enumerate_names
from ftcls.utils.processes import from_main, frozen_garbage
from ftcls.utils.tree import differences, grouped, walk

__all__ = [
    'Batch', 'Run', 'SPLITS', 'Workers', 'check_same_settings', 'check_start', 'execute_runs', 'measure_model',
    'print_line', 'split_datasets', 'with_seed'
]

SPLITS = ('train', 'val', 'test')
_RESULT = 'result.json'
_NOT_SETTINGS = ('work_dir', 'experiment_name', 'arms')
_CHECKPOINTS = ('checkpoint', 'load_from', 'pretrained')

# Prints a line at once; of several processes, the first does.
print_line: Callable[[str], None] = master_only(partial(print, flush=True))


def measure_model(runner: Runner) -> dict[str, Any]:
    """Return the ``metrics`` of a trained model, and the ``split`` that they were measured on."""
    metrics, split = evaluate_runner(runner)
    return dict(metrics=metrics, split=split)


@dataclass(frozen=True)
class Run:
    """One config, trained and measured in one work dir, ``folder``; messages call it by its ``name``.

    Attributes:
        group: Runs of one group differ in their seed only.
        measure: Takes the trained Runner and returns the result: at least ``metrics`` and ``split``.
    """
    name: str
    cfg: Config
    folder: Path
    group: str = ''
    measure: Callable[[Runner], dict[str, Any]] = measure_model

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The config and the digests of its local checkpoints, as JSON has them."""
        settings = {key: value for key, value in self.cfg.to_dict().items() if key not in _NOT_SETTINGS}
        named = [value for path, value in walk(settings) if path.split('.')[-1] in _CHECKPOINTS]
        files = [value for value in named if isinstance(value, str) and Path(value).is_file()]
        settings['sha256 of weights'] = {file: file_digest(file, 'sha256') for file in files}
        return json.loads(json.dumps(settings, default=str))

    @property
    def has_begun(self) -> bool:
        """Whether there is a checkpoint to resume from."""
        return (self.folder / 'last_checkpoint').is_file() or newest_whole([self.folder]) is not None

    def result(self) -> dict[str, Any] | None:
        """Return the result, None if the run is not finished.

        Raises:
            ConfigError: If the folder belongs to a run with other settings.
        """
        if not (self.folder / _RESULT).is_file():
            return None
        result = json.loads((self.folder / _RESULT).read_text(encoding='utf-8'))
        check_same_settings(result['settings'], self.settings, f'{self.folder} is a run')
        return result if result['metrics'] is not None else None

    def execute(self, launcher: str = 'none', hooks: Sequence[Hook] = ()) -> dict[str, Any]:
        """Train and measure, or resume, and write ``result.json``; a failure leaves ``error.txt``.

        ``hooks`` are added to those of the config.

        Returns:
            What ``measure`` returned, with the metrics that are numbers or lists with one number per class.
        """
        if (done := from_main(self.result())) is not None:
            return done
        self._write(dict(metrics=None))  # claims the folder for these settings
        options = TrainOptions(work_dir=str(self.folder), launcher=launcher, resume=from_main(self.has_begun))
        try:
            with quiet_run():
                result = self.measure(train(self.cfg, options, hooks))
        except RunStopped as stop:
            stop.remedy = stop.remedy and 'the same command continues'
            raise
        except Exception as err:
            if not isinstance(err, RunningError):
                (self.folder / 'error.txt').write_text(traceback.format_exc(), encoding='utf-8')
            raise
        metrics = {name: value for name, value in result['metrics'].items() if isinstance(value, int | float | list)}
        result = from_main(dict(result, metrics=metrics))  # only the first process has what metrics collected
        self._write(result)
        return result

    def _write(self, result: Mapping[str, Any]) -> None:
        if is_main_process():
            text = json.dumps(dict(name=self.name, **result, settings=self.settings), indent=2)
            write_whole(self.folder / _RESULT, text + '\n')
        barrier()


def split_datasets(cfg: Config, *splits: str) -> list[dict[str, Any]]:
    """Return the dataset dicts of some splits, those inside wrappers."""
    return list(dataset_configs([(cfg.get(f'{split}_dataloader') or {}).get('dataset') for split in splits]))


def with_seed(cfg: Config, seed: int, name: str) -> Config:
    """Return a copy of a config with a seed, also where shots are drawn, and a name for the run."""
    cfg = copy.deepcopy(cfg)
    cfg.experiment_name = name
    cfg.randomness = {**(cfg.get('randomness') or {}), 'seed': seed}
    for dataset in split_datasets(cfg, *SPLITS):
        if dataset.get('shots_per_class'):
            dataset['seed'] = seed
    return cfg


def check_same_settings(before: Mapping[str, Any], now: Mapping[str, Any], what: str) -> None:
    """Refuse to continue ``what`` (``'work_dirs/x is a run'``) with other settings than it was begun with.

    Raises:
        ConfigError: Naming the keys that differ.
    """
    if changed := [f'{key}: {shorten(old)} there, {shorten(new)} here' for key, old, new in differences(before, now)]:
        names = enumerate_names(changed, 3)
        raise ConfigError(f'{what} with other settings ({names}); give another --out-dir, or delete that folder')


class _Checked(Exception):
    """Raised where the training would begin."""


class _StopHook(Hook):
    """Ends a run before its first step, when all else is checked."""
    priority = 'VERY_HIGH'
    monitor_key = '--metric'  # how a message calls `monitor`, a metric that the validation must give

    def __init__(self, metric: str | None) -> None:
        if metric is not None:
            self.monitor = metric

    def before_train(self, runner: Runner) -> None:
        """Check the test set too, which a training reads at its end."""
        if runner.cfg.get('test_dataloader'):
            metainfo = getattr(runner.train_dataloader.dataset, 'metainfo', None) or {}
            build_datasets(runner.cfg, ['test'], metainfo.get('classes'))
        raise _Checked


def check_start(cfg: Config, metric: str | None, launcher: str = 'none') -> None:
    """Prepare a training up to its first step, and leave nothing of it; ``cfg`` is not changed.

    Raises:
        UserError: If data, weights, model or metrics are not as the config says, or the validation lacks ``metric``.
    """
    with tempfile.TemporaryDirectory() as folder, quiet_run(), suppress(_Checked):
        train(cfg, TrainOptions(work_dir=folder, launcher=launcher), [_StopHook(metric)])


@dataclass(frozen=True)
class Workers:
    """Who executes the runs.

    Attributes:
        launcher: As for ``train``; all processes work on each run.
        shard: (i, n): execute the runs number i, i + n, i + 2n … only; other calls execute the others.
        gather: Execute no run; report those that are there.
    """
    launcher: str = 'none'
    shard: tuple[int, int] = (0, 1)
    gather: bool = False

    def __post_init__(self) -> None:
        index, count = self.shard
        if not 0 <= index < count:
            raise ConfigError(f'--shard {index}/{count}: must be one of 0/{count} … {count - 1}/{count}')

    @property
    def is_reporter(self) -> bool:
        """Whether this process writes the report."""
        return is_main_process() and self.shard == (0, 1)


@dataclass
class Batch:
    """What came of several runs: results and failures by the run's name, and the runs that have neither.

    Attributes:
        metric: The score; '' if none was asked for and no run is finished.
        split: The data that it was measured on.
    """
    metric: str
    split: str = ''
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    unfinished: list[str] = field(default_factory=list)

    def describe(self, name: str) -> str:
        """Return the score of a run.

        Raises:
            ConfigError: If it is not measured.
        """
        result = self.results[name]
        scores = {name: value for name, value in result['metrics'].items() if not isinstance(value, list)}
        if not scores:
            raise ConfigError(f'{result["split"]}_evaluator: gives only lists ({", ".join(result["metrics"])}); add a '
                              "metric that gives one number, for example dict(type='Accuracy')")
        self.metric, self.split = self.metric or next(iter(scores)), result['split']
        if self.metric not in scores:
            raise ConfigError(f'--metric {self.metric}: not measured as one number{did_you_mean(self.metric, scores)}')
        return f'{name}: {self.split} {self.metric} {scores[self.metric]:.2f}'


@frozen_garbage()  # each run ends with a search for its own
def execute_runs(runs: Sequence[Run], workers: Workers, metric: str | None, log: Callable[[str], None]) -> Batch:
    """Execute the runs of this call that are not finished; for the arguments see ``compare``.

    Raises:
        ConfigError: If the first run of a group cannot start, a folder belongs to another run, the score is not
            measured, or no run has a result.
    """
    batch = Batch(metric or '')
    before = from_main({run.name: run.result() for run in runs})
    index, count = workers.shard
    todo = [run for run in runs[index::count] if not (workers.gather or before[run.name])]
    _check_groups(todo, metric, workers.launcher)
    for number, run in enumerate(runs, start=1):
        name = run.name
        if before[name]:
            batch.results[name] = before[name]
            log(f'{batch.describe(name)} (made before)')
        elif run in todo:
            verb = 'continues' if run.has_begun else 'begins'
            log(f'{name}: run {number} of {len(runs)} {verb}; its log is in {run.folder}')
            try:
                batch.results[name] = run.execute(workers.launcher)
            except Exception as err:
                # the other processes cannot know of it; another call of this command makes the same runs
                if workers.launcher != 'none' or isinstance(err, RunningError):
                    raise
                batch.failures[name] = describe_error(err)
                log(f'{name}: FAILED: {batch.failures[name]}')
            else:
                log(batch.describe(name))
        else:
            batch.unfinished.append(name)
    if workers.shard == (0, 1) and not batch.results:
        reasons = [f'{name}: {why}' for name, why in batch.failures.items()] or [f'{runs[0].folder} has no {_RESULT}']
        raise ConfigError('\n  '.join(['no run has a result:', *reasons]))
    return batch


def _check_groups(runs: Sequence[Run], metric: str | None, launcher: str) -> None:
    """Check the first run of each group; a fault would stop every run of it.

    The check looks at the validation's results, so that the ``metric`` counts only if a test set is measured alike.
    """
    for run, *_ in grouped((run.group, run) for run in runs).values():
        is_alike = run.cfg.get('test_evaluator') in (None, run.cfg.get('val_evaluator'))
        try:
            check_start(run.cfg, metric if is_alike else None, launcher)
        except UserError as err:
            raise ConfigError(f'{run.name}: {describe_error(err)}') from err
