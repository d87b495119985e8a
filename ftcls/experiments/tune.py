"""Hyper-parameter search over config keys: each trial is an ordinary run in a work dir of its own."""
import fcntl
import functools
import json
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner

from ftcls.apis.training.train import TrainOptions, train
from ftcls.engine.mmengine_compat import quiet_run
from ftcls.evaluation import resolve_rule
from ftcls.utils import ConfigError, UserError
from ftcls.utils.errors import unwrapped
from ftcls.utils.tree import as_list
from .search_result import Search, distributions, finish_search, shown_values
from .search_space import Dimension, check_space, with_values

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

__all__ = ['SearchOptions', 'check_same_search', 'metric_of', 'run_trial', 'search_settings', 'tune']

_METRICS = {
    'Accuracy': 'accuracy/top1',
    'DiceMetric': 'dice',
    'IoUMetric': 'iou',
    'AveragePrecision': 'multi-label/mAP'
}
_FOLDER, _ERROR, _KILLED = 'folder', 'error', 'killed'


@dataclass(frozen=True)
class SearchOptions:
    """How to search.

    Attributes:
        trials: Number of trials in all, those of earlier calls with the same ``out_dir`` included.
        out_dir: Gets ``trial_<k>/`` of each run, ``search.db``, ``table.txt``, ``results.json``, ``search.png``, ``best.py``.
        metric: The validation's result to make best; None takes the first that the config's evaluator gives.
        seed: Seed of the sampler, and of every run.
        prune: Stop a trial whose score is below the median of the others' at the same epoch.
        storage: Address of Optuna's storage, ``postgresql://…`` for workers on several machines; None for a file in ``out_dir``.
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


class _Report(Hook):
    """Tell the search of each validation's score."""
    priority = 'LOWEST'
    monitor_key = '--metric'  # so that a metric that is not measured is refused before the first step

    def __init__(self, metric: str, report: Callable[[float, int], None]) -> None:
        self.monitor, self.report, self.score = metric, report, None

    def after_val_epoch(self, runner: Runner, metrics: Mapping[str, float] | None = None) -> None:
        """Keep the score, and pass it on with the epoch that it was measured after."""
        self.score = float(metrics[self.monitor])
        self.report(self.score, runner.iter if isinstance(runner.train_loop, IterBasedTrainLoop) else runner.epoch)


def metric_of(cfg: Config, metric: str | None) -> tuple[str, bool]:
    """Return the score of a search, and whether less of it is better.

    Raises:
        ConfigError: If the config validates nothing, or its first metric is not known here and ``metric`` is None.
    """
    evaluators = cfg.get('val_evaluator')
    if not cfg.get('val_dataloader') or not evaluators:
        raise ConfigError('val_dataloader, val_evaluator: missing; a search goes by the score on validation pictures')
    if metric is None:
        first = evaluators[0] if isinstance(evaluators, list | tuple) else evaluators
        metric = _METRICS.get(first['type'])
        if metric is None:
            raise ConfigError(f'--metric is needed: which result of {first["type"]} shall be made best?')
    lower = resolve_rule('--metric', None, metric, [*as_list(evaluators), dict(type='LossMetric')]) == 'less'
    return metric, lower


def run_trial(cfg: Config, folder: Path, metric: str, seed: int, report: Callable[[float, int], None]) -> float:
    """Make one run, or go on with it, and return the last validation's score.

    Args:
        cfg: The trial's config.
        folder: Its work dir.
        metric: The score.
        seed: Seed of the run.
        report: Gets each validation's score and epoch; an exception ends the run.
    """
    resume = (folder / 'last_checkpoint').is_file()
    hook = _Report(metric, report)
    with quiet_run():
        train(cfg, TrainOptions(work_dir=str(folder), seed=seed, resume=resume), [hook])
    if hook.score is None:  # it had been killed after its end
        records = [json.loads(line) for line in (folder / 'metrics.jsonl').read_text(encoding='utf-8').splitlines()]
        hook.score = [float(r[metric]) for r in records if metric in r][-1]
    return hook.score


def tune(cfg: Config, space: Sequence[Dimension], options: SearchOptions,
         say: Callable[[str], None] = functools.partial(print, flush=True)) -> Search:  # yapf: disable
    """Search for the values of config keys that give the best validation score.

    Trials are drawn by Optuna's TPE sampler (Bergstra et al. 2011). The same call goes on after a kill: what was finished stays,
    and a trial that was broken off goes on from its last checkpoint. Several calls at once, with one ``out_dir`` or storage, share the work.

    Args:
        cfg: The config; it is not changed.
        space: What to search, see ``read_space``.
        options: How to.
        say: Gets one line a trial.

    Raises:
        ConfigError: Before the first trial: if a key of the space is unknown or takes no such value, or ``out_dir`` holds the search of
            another space or config; later: if no trial came to an end.
    """
    metric, lower = metric_of(cfg, options.metric)
    check_space(cfg, space)
    out_dir = Path(options.out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    study = _open_study(cfg, space, options, metric, lower)
    while True:
        with ExitStack() as held:  # the trial's lock, which a kill lets go
            trial = _next_trial(study, space, out_dir, options.trials, held, say)
            if trial is None:
                break
            _make(cfg, space, study, trial, options, metric, say)
    states = dict(COMPLETE='finished', PRUNED='pruned', FAIL='failed')
    trials = [_as_dict(trial, states[trial.state.name]) for trial in study.get_trials(deepcopy=False)
              if trial.state.name in states and not trial.user_attrs.get(_KILLED)]  # yapf: disable
    return finish_search(cfg, space, trials, out_dir, metric, lower)


def _open_study(cfg: Config, space: Sequence[Dimension], options: SearchOptions, metric: str, lower: bool) -> 'Study':
    try:
        import optuna
    except ImportError:
        raise ConfigError('tools/tune.py needs Optuna: pip install optuna') from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = options.storage or f'sqlite:///{Path(options.out_dir).absolute() / "search.db"}'
    warmup = (cfg.train_cfg.get('max_epochs') or cfg.train_cfg.get('max_iters')) // 3 + 1  # a high rate starts badly
    pruner = optuna.pruners.MedianPruner(4, warmup) if options.prune else optuna.pruners.NopPruner()
    study = optuna.create_study(
        storage=storage,
        study_name='ftcls',
        load_if_exists=True,
        direction='minimize' if lower else 'maximize',
        pruner=pruner)
    # with the same seed again, a resumed call would draw the same trials again
    study.sampler = optuna.samplers.TPESampler(
        seed=options.seed + len(study.get_trials(deepcopy=False)),
        n_startup_trials=min(10, max(4, options.trials // 3)))
    wanted = search_settings(cfg, space, options, metric)
    check_same_search(study.user_attrs.get('settings'), wanted, options.out_dir)
    study.set_user_attr('settings', wanted)
    return study


def _next_trial(study: 'Study', space: Sequence[Dimension], out_dir: Path, trials: int, held: ExitStack,
                say: Callable[[str], None]) -> 'Trial | None':
    """Return the next trial, its folder made and locked; None where all have been given out."""
    with _lock(out_dir / '.lock', wait=True):  # so that two workers do not both make the last one
        _take_up_killed(study, out_dir, say)
        counted = [t for t in study.get_trials(deepcopy=False) if not t.user_attrs.get(_KILLED)]
        if len(counted) >= trials and not any(t.state.name == 'WAITING' for t in counted):
            return None
        trial = study.ask(distributions(space))
        folder = trial.user_attrs.get(_FOLDER) or f'trial_{trial.number}'
        (out_dir / folder).mkdir(exist_ok=True)
        held.enter_context(_lock(out_dir / folder / '.lock'))
        trial.set_user_attr(_FOLDER, folder)
        return trial


def search_settings(cfg: Config, space: Sequence[Dimension], options: SearchOptions, metric: str) -> dict[str, Any]:
    """Return what makes a search what it is, as JSON holds it."""
    settings = {k: v for k, v in cfg.to_dict().items() if k not in ('work_dir', 'arms')}
    return json.loads(
        json.dumps(dict(space=[str(d) for d in space], metric=metric, seed=options.seed, config=settings), default=str))


def check_same_search(before: Mapping[str, Any] | None, wanted: Mapping[str, Any], out_dir: str | Path) -> None:
    """Refuse to go on with a search of other settings.

    Raises:
        ConfigError: Naming the setting.
    """
    for key in wanted if before else ():
        if before[key] != wanted[key]:
            raise ConfigError(f'{out_dir} holds a search with another {key}'
                              f'{f": {before[key]}" if key != "config" else ""}; give another --out-dir')


@contextmanager
def _lock(path: Path, wait: bool = False) -> Iterator[bool]:
    """Hold a file's lock, which ends with the process that holds it; yield whether it was to be had."""
    with open(path, 'w', encoding='utf-8') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True


def _take_up_killed(study: 'Study', out_dir: Path, say: Callable[[str], None]) -> None:
    """Put the trials back in the queue whose process is gone."""
    from optuna.trial import TrialState
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING, )):
        folder = trial.user_attrs.get(_FOLDER)
        if folder is None or not (out_dir / folder).is_dir():
            continue  # of another machine, or about to begin
        with _lock(out_dir / folder / '.lock') as free:
            if free:
                study._storage.set_trial_user_attr(trial._trial_id, _KILLED, True)
                study.tell(trial.number, state=TrialState.FAIL)
                study.enqueue_trial(trial.params, user_attrs={_FOLDER: folder})
                say(f'{folder} had been broken off; it goes on')


def _make(cfg: Config, space: Sequence[Dimension], study: 'Study', trial: 'Trial', options: SearchOptions, metric: str,
          say: Callable[[str], None]) -> None:
    """Make one trial and tell the study what came of it."""
    from optuna import TrialPruned
    from optuna.trial import TrialState
    values = trial.params
    folder = trial.user_attrs[_FOLDER]
    shown = shown_values(values)

    def report(score: float, step: int) -> None:
        trial.report(score, step)
        if trial.should_prune():
            raise TrialPruned(f'epoch {step}, {score:.4g}')

    try:
        score = run_trial(with_values(cfg, values, space), Path(options.out_dir) / folder, metric, options.seed, report)
    except TrialPruned as stop:
        study.tell(trial, state=TrialState.PRUNED)
        say(f'{folder}: pruned at {stop} ({shown})')
    except Exception as err:
        text = str(unwrapped(err)) if isinstance(err, UserError) else f'{type(err).__name__}: {err}'
        (Path(options.out_dir) / folder / 'error.txt').write_text(traceback.format_exc(), encoding='utf-8')
        trial.set_user_attr(_ERROR, text)
        study.tell(trial, state=TrialState.FAIL)
        say(f'{folder}: FAILED: {text} ({shown})')
    else:
        study.tell(trial, score)
        say(f'{folder}: val {metric} {score:.4g} ({shown})')


def _as_dict(trial: 'FrozenTrial', state: str) -> dict[str, Any]:
    score = trial.value if state == 'finished' else None
    if state == 'pruned' and trial.intermediate_values:
        score = trial.intermediate_values[max(trial.intermediate_values)]
    folder = trial.user_attrs.get(_FOLDER)  # a trial that was broken off has another number in the study
    return dict(number=int(folder.rpartition('_')[2]), folder=folder, state=state, score=score, values=trial.params,
                error=trial.user_attrs.get(_ERROR))  # yapf: disable
