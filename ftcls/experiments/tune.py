"""Hyper-parameter search over config keys: each trial is an ordinary run in a work dir of its own."""
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner

from ftcls.config.loading import load_config
from ftcls.config.resolve import with_loss_metric
from ftcls.evaluation import resolve_rule
from ftcls.utils import ConfigError, UserError
from ftcls.utils.errors import describe_error
from ftcls.utils.processes import frozen_garbage
from ftcls.visualization.records import read_records
from .report import Search, format_value
from .run import Run, check_same_settings, check_start, print_line
from .search_space import Dimension, check_space, with_values

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

__all__ = ['ReportHook', 'SearchOptions', 'SearchPlan', 'describe_values', 'metric_of', 'plan_search', 'tune']

_METRICS = dict(Accuracy='accuracy/top1', DiceMetric='dice', IoUMetric='iou', AveragePrecision='multi-label/mAP')
_STATES = dict(COMPLETE='finished', PRUNED='pruned', FAIL='failed')
_BEST = '''"""Trial {best[number]} of {count}, the best: val {metric} {best[score]:.4g}.

{values}

The best of many scores on the same images flatters; measure it on others, with `test`.
"""
{config}'''
_FEWEST = 8  # fewer trials tell nothing of what mattered
_HEARTBEAT, _GRACE = 10, 60  # seconds between two signs of life of a trial; without one until it counts as killed


@dataclass(frozen=True)
class SearchOptions:
    """How to search.

    Attributes:
        trials: Number of trials in all, those of earlier calls with the same ``out_dir`` included.
        out_dir: Gets ``trial_<k>/`` of each run, ``search.db``, ``table.txt``, ``results.json``, ``search.png`` and
            ``best.py``.
        metric: The result of the validation to optimize; None takes the first that the config's evaluator gives.
        seed: Seed of the sampler, and of every run.
        prune: Stop a trial whose score is below the median of the others' at the same epoch.
        storage: Address of Optuna's storage, ``postgresql://…`` for several machines; None takes a file in ``out_dir``.
    """
    trials: int = 20
    out_dir: str | Path = 'work_dirs/tune'
    metric: str | None = None
    seed: int = 0
    prune: bool = False
    storage: str | None = None

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise ConfigError(f'--trials {self.trials}: must be at least 1')


class ReportHook(Hook):
    """Reports score and epoch (or iteration) of each validation; ``report`` returns True to end the training."""
    priority = 'LOWEST'
    monitor_key = '--metric'  # how a message calls `monitor`, a metric that the validation must give

    def __init__(self, metric: str, report: Callable[[float, int], bool | None]) -> None:
        self.monitor, self.report, self.is_pruned = metric, report, False

    def after_val_epoch(self, runner: Runner, metrics: Mapping[str, float] | None = None) -> None:
        """Report the score."""
        step = runner.iter if isinstance(runner.train_loop, IterBasedTrainLoop) else runner.epoch
        if self.report(float(metrics[self.monitor]), step):
            self.is_pruned = runner.train_loop.stop_training = True


@dataclass(frozen=True)
class SearchPlan:
    """What every trial of a search needs; ``lower`` tells that a lower ``metric`` is better."""
    cfg: Config
    space: Sequence[Dimension]
    options: SearchOptions
    metric: str
    lower: bool

    @property
    def settings(self) -> dict[str, Any]:
        """What makes the search what it is, as JSON has it."""
        space = {dimension.key: str(dimension) for dimension in self.space}
        settings = Run('search', self.cfg, Path(self.options.out_dir)).settings
        return dict(settings, space=space, metric=self.metric, seed=self.options.seed)

    def run(self, name: str, values: Mapping[str, Any]) -> Run:
        """Return the run of the trial whose folder is ``name``, measured by its last validation."""
        cfg = with_values(self.cfg, values, self.space)
        cfg.randomness = {**(cfg.get('randomness') or {}), 'seed': self.options.seed}
        return Run(name, cfg, Path(self.options.out_dir, name), measure=self._last_validation)

    def _last_validation(self, runner: Runner) -> dict[str, Any]:
        """Read the file, since a run that was killed after its end validates no more."""
        records = [one for one in read_records(Path(runner.work_dir, 'metrics.jsonl')) if one['kind'] == 'val']
        if records[-1].get(self.metric) is None:
            raise ArithmeticError(f'{self.metric} of the last validation is not finite')
        return dict(metrics={self.metric: float(records[-1][self.metric])}, split='val')

    def finish(self, trials: list[dict[str, Any]]) -> Search:
        """Write table, figure, numbers and the best config, and return the :class:`Search`.

        Raises:
            ConfigError: If no trial has a result.
        """
        search = Search(self.metric, self.lower, trials)
        if not search.ranked:
            errors = [f'trial {trial["number"]}: {trial["error"]}' for trial in trials]
            raise ConfigError('\n  '.join(['no trial has a result:', *errors]))
        search.importance = _importance(self.space, search.ranked)
        out_dir = Path(self.options.out_dir)
        search.write(out_dir, [dimension.key for dimension in self.space if dimension.kind == 'loguniform'])
        best = search.ranked[0]
        values = '\n'.join(f'    {key} = {format_value(value)}' for key, value in best['values'].items())
        chosen = with_values(self.cfg, best['values'], self.space)
        chosen.pop('arms', None)
        text = _BEST.format(values=values, count=len(trials), metric=self.metric, best=best, config=chosen.pretty_text)
        (out_dir / 'best.py').write_text(text, encoding='utf-8')
        return search


def metric_of(cfg: Config, metric: str | None) -> tuple[str, bool]:
    """Return the score of a search, and whether less of it is better.

    Raises:
        ConfigError: If nothing is validated, or the score or its direction is not known.
    """
    if not cfg.get('val_dataloader') or not cfg.get('val_evaluator'):
        raise ConfigError('val_dataloader, val_evaluator: missing; a search needs the score on validation images')
    metrics = with_loss_metric(cfg.val_evaluator)
    if isinstance(metrics, Mapping):
        metrics = metrics['metrics']
    if (metric := metric or _METRICS.get(metrics[0]['type'])) is None:
        raise ConfigError(f'--metric: missing; which result of {metrics[0]["type"]} is to be optimized?')
    return metric, resolve_rule('--metric', None, metric, metrics) == 'less'


def plan_search(cfg: Config, space: Sequence[Dimension], options: SearchOptions) -> SearchPlan:
    """Check that the trials of a search can start.

    Raises:
        ConfigError: If they cannot, or the score is not known.
    """
    cfg = load_config(cfg)
    metric, lower = metric_of(cfg, options.metric)
    check_space(cfg, space)
    faults = set()
    for index in (0, -1):
        values = {dimension.key: dimension.samples()[index] for dimension in space}
        try:
            check_start(with_values(cfg, values, space), metric)
            break
        except UserError as err:
            if describe_error(err) in faults:  # of the first and of the last values: it does not come from them
                raise ConfigError(describe_error(err)) from err
            faults.add(describe_error(err))
    return SearchPlan(cfg, space, options, metric, lower)


@frozen_garbage()  # each trial ends with a search for its own
def tune(cfg: Config,
         space: Sequence[Dimension],
         options: SearchOptions,
         log: Callable[[str], None] = print_line) -> Search:
    """Search for the values of config keys that give the best validation score.

    Trials are drawn by Optuna's TPE sampler (Bergstra et al. 2011). The same call resumes: finished trials stay, a
    killed one continues from its last checkpoint, a minute after its last sign of life. Several calls at once, with one
    ``out_dir`` or storage, share the work. ``cfg`` is not changed; ``log`` gets one line per trial.

    Raises:
        ConfigError: Before the first trial: if a key of the space is unknown or takes no such value, no trial can start
            for lack of data, weights or metric, or ``out_dir`` holds another search. Later: if no trial has a result.
    """
    try:
        import optuna
    except ImportError:
        raise ConfigError('the search needs Optuna: pip install optuna') from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    plan = plan_search(cfg, space, options)
    Path(options.out_dir).mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', optuna.exceptions.ExperimentalWarning)  # of heartbeat and retry
        study = _open_study(plan)
        settings = plan.settings
        check_same_settings(study.user_attrs.get('settings', settings), settings, f'{options.out_dir} holds a search')
        study.set_user_attr('settings', settings)
        _optimize(study, plan, log)
        return plan.finish([_as_dict(trial) for trial in _last_attempts(study) if trial.state.is_finished()])


def _open_study(plan: SearchPlan) -> 'Study':
    """Open the study in the storage, where killed trials are failed and put into the queue again."""
    from optuna import create_study, pruners, storages
    options, length = plan.options, plan.cfg.train_cfg
    url = options.storage or f'sqlite:///{Path(options.out_dir).absolute() / "search.db"}'
    heartbeat = dict(heartbeat_interval=_HEARTBEAT, grace_period=_GRACE)
    retry = storages.RetryHeartbeatStaleTrialCallback()
    storage = storages.RDBStorage(url, **heartbeat, heartbeat_stale_trial_callback=retry)
    warmup = (length.get('max_epochs') or length.get('max_iters')) // 3 + 1  # a high rate begins badly
    pruner = pruners.MedianPruner(4, warmup) if options.prune else pruners.NopPruner()
    direction = 'minimize' if plan.lower else 'maximize'
    return create_study(storage=storage, study_name='ftcls', load_if_exists=True, direction=direction, pruner=pruner)


def _optimize(study: 'Study', plan: SearchPlan, log: Callable[[str], None]) -> None:
    """Make trials until there are as many as wanted, those of other processes included."""
    from optuna.samplers import TPESampler
    from optuna.storages import fail_stale_trials
    options = plan.options
    lock = FileLock(Path(options.out_dir, '.lock'))
    objective = partial(_make_trial, study=study, plan=plan, lock=lock, log=log)
    deadline = None
    while True:
        with lock:  # until the trial is in the storage, so that two processes do not both make the last one
            fail_stale_trials(study)
            trials = _last_attempts(study)
            if len(trials) < options.trials or any(trial.state.name == 'WAITING' for trial in trials):
                seed = 1000 * options.seed + len(trials)  # by its number, so that a resumed search draws the same
                study.sampler = TPESampler(seed=seed, n_startup_trials=min(10, max(4, options.trials // 3)))
                study.optimize(objective, n_trials=1, catch=Exception)
                continue
        running = [f'trial_{_number(trial)}' for trial in trials if trial.state.name == 'RUNNING']
        if running and deadline is None:
            deadline = time.monotonic() + _GRACE + _HEARTBEAT
            log(f'{", ".join(running)}: runs in another process, or was killed; this is known in {_GRACE} s')
        if not running or time.monotonic() > deadline:
            return
        time.sleep(1)


def _last_attempts(study: 'Study') -> list['FrozenTrial']:
    """Return the trials; of one that was killed and retried, the last attempt."""
    from optuna.storages import RetryHeartbeatStaleTrialCallback
    trials = study.get_trials(deepcopy=False)
    retried = {number for trial in trials for number in RetryHeartbeatStaleTrialCallback.retry_history(trial)}
    return sorted((trial for trial in trials if trial.number not in retried), key=_number)


def _number(trial: 'FrozenTrial') -> int:
    """Return the number of a trial, or of the one that it retries: that of its folder."""
    from optuna.storages import RetryHeartbeatStaleTrialCallback
    original = RetryHeartbeatStaleTrialCallback.retried_trial_number(trial)
    return trial.number if original is None else original


def _make_trial(trial: 'Trial', study: 'Study', plan: SearchPlan, lock: FileLock, log: Callable[[str], None]) -> float:
    """Make one trial and return its score."""
    from optuna import TrialPruned
    from optuna.storages import RetryHeartbeatStaleTrialCallback
    lock.release()
    values = {dimension.key: dimension.suggest(trial) for dimension in plan.space}
    frozen, shown = study.get_trials()[trial.number], describe_values(values)
    name = f'trial_{_number(frozen)}'
    if name != f'trial_{trial.number}':
        log(f'{name}: was killed, and continues')

    def report(score: float, step: int) -> bool:
        trial.report(score, step)
        return trial.should_prune()

    hook = ReportHook(plan.metric, report)
    try:
        score = plan.run(name, values).execute(hooks=[hook])['metrics'][plan.metric]
    except KeyboardInterrupt:  # Optuna would count it as failed
        RetryHeartbeatStaleTrialCallback()(study, frozen)
        raise
    except Exception as err:
        trial.set_user_attr('error', describe_error(err))
        log(f'{name}: FAILED: {describe_error(err)} ({shown})')
        raise
    log(f'{name}: val {plan.metric} {score:.4g}{", pruned" * hook.is_pruned} ({shown})')
    if hook.is_pruned:
        raise TrialPruned
    return score


def describe_values(values: Mapping[str, Any]) -> str:
    """Return what was drawn as ``'lr=0.01, type=SGD'``, by the last parts of the keys."""
    return ', '.join(f'{key.split(".")[-1]}={format_value(value)}' for key, value in values.items())


def _as_dict(trial: 'FrozenTrial') -> dict[str, Any]:
    """Return a trial as of :class:`Search`; the score of a pruned one is the last that it reported."""
    number, state, score = _number(trial), _STATES[trial.state.name], trial.value
    if state == 'pruned':
        score = trial.intermediate_values[trial.last_step]
    result = dict(number=number, folder=f'trial_{number}', state=state, score=score)
    return dict(result, values=trial.params, error=trial.user_attrs.get('error'))


def _importance(space: Sequence[Dimension], finished: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the share of the variance of the scores that each parameter explains; empty if that cannot be known."""
    if len(space) < 2 or len(finished) < _FEWEST:
        return {}
    with suppress(ImportError, ValueError, RuntimeError):  # no Optuna, or scores that are all the same
        from optuna import create_study, create_trial, importance
        from optuna.trial import FixedTrial
        study = create_study()
        for trial in finished:
            fixed = FixedTrial(trial['values'])
            values = {dimension.key: dimension.suggest(fixed) for dimension in space}
            study.add_trial(create_trial(params=values, distributions=fixed.distributions, value=trial['score']))
        return importance.get_param_importances(study, evaluator=importance.FanovaImportanceEvaluator(seed=0))
    return {}
