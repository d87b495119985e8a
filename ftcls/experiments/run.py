"""Single runs of a comparison or of a k-fold validation: made once, resumed, told of, quiet."""
import copy
import hashlib
import json
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import barrier, broadcast_object_list, is_main_process

from ftcls.apis.training.evaluation import evaluate_runner
from ftcls.apis.training.loaders import dataset_configs
from ftcls.apis.training.train import TrainOptions, train
from ftcls.config.loading import differing_keys
from ftcls.engine.mmengine_compat import quiet_run
from ftcls.utils import ConfigError, UserError, did_you_mean
from ftcls.utils.download import file_digest
from ftcls.utils.errors import unwrapped
from .comparison import RunResult

__all__ = ['Run', 'SPLITS', 'Workers', 'make_runs', 'scores_only']

SPLITS = ('train', 'val', 'test')
_RESULT = 'result.json'


@dataclass(frozen=True)
class Workers:
    """Who makes the runs.

    Attributes:
        launcher: As of ``train``; all processes take part in each run.
        shard: (i, n): make the runs number i, i + n, i + 2n … only; the other calls, on other machines, make the others.
        gather: Make none, and report what is there.
    """
    launcher: str = 'none'
    shard: tuple[int, int] = (0, 1)
    gather: bool = False

    def __post_init__(self) -> None:
        index, count = self.shard
        if not 0 <= index < count:
            raise ConfigError(f'--shard {index}/{count}: must be one of 0/{count} … {count - 1}/{count}')


@dataclass(frozen=True)
class Run:
    """One arm with one seed.

    Attributes:
        arm: Its name.
        seed: Of everything random.
        out_dir: Where the comparison writes; the run's folder is in it.
        arm_cfg: The arm's config; it is not changed.
    """
    arm: str
    seed: int
    out_dir: Path
    arm_cfg: Config

    @property
    def name(self) -> str:
        """What messages call it."""
        return f'{self.arm}, seed {self.seed}'

    @property
    def folder(self) -> Path:
        """Its work dir."""
        return self.out_dir / self.arm / f'seed{self.seed}'

    def named(self, metrics: dict[str, Any]) -> RunResult:
        """Return its metrics with its name."""
        return RunResult(self.arm, self.seed, str(self.folder), metrics)

    def config(self) -> Config:
        """Return the arm's config, with the seed where shots are drawn."""
        cfg = copy.deepcopy(self.arm_cfg)
        cfg.experiment_name = f'{self.out_dir.name}-{self.arm}-seed{self.seed}'
        for split in SPLITS:
            for dataset in dataset_configs((cfg.get(f'{split}_dataloader') or {}).get('dataset')):
                if dataset.get('shots_per_class'):
                    dataset['seed'] = self.seed
        return cfg

    def settings(self) -> list:
        """Return the settings, and the digests of the local checkpoints that they name, as JSON has them."""
        settings = {k: v for k, v in self.config().to_dict().items() if k not in ('work_dir', 'experiment_name')}
        digests = [file_digest(path, 'sha256') for path in _local_checkpoints(settings)]
        return json.loads(json.dumps([settings, digests], default=str))

    def fingerprint(self) -> str:
        """Return a digest of the settings and of the local checkpoints that they name."""
        return hashlib.sha256(json.dumps(self.settings()).encode()).hexdigest()

    def result(self) -> dict | None:
        """Return what the run came to, None where it is not finished.

        Raises:
            ConfigError: If the folder is that of a run with other settings.
        """
        path = self.folder / _RESULT
        if not path.is_file():
            return None
        result = json.loads(path.read_text(encoding='utf-8'))
        if result['config'] != self.fingerprint():
            raise ConfigError(
                f'{self.folder} is a run {_difference(result.get("settings"), self.settings())}; give another '
                '--out-dir, or delete that folder')
        return result if result['metrics'] is not None else None

    def make(self, launcher: str, failures: dict[str, str]) -> dict | None:
        """Make the run, or go on with it, and leave ``result.json``; a failure is put into ``failures``."""
        self._leave(None, None)
        resume = _broadcast((self.folder / 'last_checkpoint').is_file())
        options = TrainOptions(work_dir=str(self.folder), seed=self.seed, launcher=launcher, resume=resume)
        try:
            metrics, split = self.measured(options)
        except Exception as err:
            if launcher != 'none':
                raise
            (self.folder / 'error.txt').write_text(traceback.format_exc(), encoding='utf-8')
            is_users = isinstance(err, UserError)
            failures[self.name] = str(unwrapped(err)) if is_users else f'{type(err).__name__}: {err}'
            return None
        self._leave(metrics, split)
        return dict(metrics=metrics, split=split)

    def measured(self, options: TrainOptions) -> tuple[dict[str, Any], str]:
        """Train; return the metrics (numbers, or lists of one a class), and the split that they were measured on."""
        with quiet_run():
            metrics, split = evaluate_runner(train(self.config(), options))
        return scores_only(metrics), split

    def _leave(self, metrics: dict[str, float] | None, split: str | None) -> None:
        if is_main_process():
            self.folder.mkdir(parents=True, exist_ok=True)
            content = dict(
                arm=self.arm,
                seed=self.seed,
                split=split,
                metrics=metrics,
                config=self.fingerprint(),
                settings=self.settings())
            partial = self.folder / f'.{_RESULT}'
            partial.write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')
            partial.replace(self.folder / _RESULT)
        barrier()


def scores_only(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return of an evaluator's results the numbers and the lists."""
    return {name: value for name, value in metrics.items() if isinstance(value, int | float | list)}


def _difference(before: list | None, now: list) -> str:
    """Return in what a finished run differs from one that is to be made, by the settings of both."""
    if before is None:  # of a version that did not note them
        return 'with other settings, or from other weights'
    changes = list(differing_keys(before[0], now[0]))
    if not changes:
        return f'from other weights: {", ".join(_local_checkpoints(now[0])) or "a local file"} has changed since'
    more = f' and {len(changes) - 3} more' if len(changes) > 3 else ''
    return f'with other settings ({", ".join(changes[:3])}{more})'


def _local_checkpoints(node: Any) -> Iterator[str]:
    """Yield the checkpoints that are files on this machine."""
    if isinstance(node, Mapping):
        for key, child in node.items():
            if key in ('checkpoint', 'load_from', 'pretrained') and isinstance(child, str) and Path(child).is_file():
                yield child
            yield from _local_checkpoints(child)
    elif isinstance(node, list | tuple):
        for child in node:
            yield from _local_checkpoints(child)


def make_runs(runs: Sequence[Run], workers: Workers, metric: str | None,
              say: Callable[[str], None]) -> tuple[dict[str, dict | None], dict[str, str], str | None]:
    """Make those of the runs that are not made yet and that are this call's.

    Args:
        runs: All runs.
        workers: Who makes them.
        metric: The score to tell of; None takes the first number that is measured.
        say: Gets one line as a run begins and one when it has ended.

    Returns:
        What each run came to (None where it is not finished), what went wrong, both by the run's name, and the score.

    Raises:
        ConfigError: If a run's folder is that of another run, or the score is not measured.
    """
    finished = _broadcast({run.name: run.result() for run in runs})
    index, count = workers.shard
    failures: dict[str, str] = {}
    for number, run in enumerate(runs):
        before = finished[run.name] is not None
        if not before and not workers.gather and number % count == index:
            doing = 'goes on' if (run.folder / 'last_checkpoint').is_file() else 'begins'
            _say(f'{run.name}: run {number + 1} of {len(runs)} {doing}; its log is in {run.folder}', say)
            finished[run.name] = run.make(workers.launcher, failures)
        if finished[run.name] is not None:
            metric = metric or next(n for n, v in finished[run.name]['metrics'].items() if not isinstance(v, list))
            _say_result(run.name, finished[run.name], metric, before, say)
        elif run.name in failures:
            _say(f'{run.name}: FAILED: {failures[run.name]}', say)
    if workers.shard == (0, 1) and not any(finished.values()):
        why = [f'  {name}: {why}' for name, why in failures.items()]
        raise ConfigError('no run came to an end:\n' + '\n'.join(why or [f'  {runs[0].out_dir} holds no {_RESULT}']))
    return finished, failures, metric


def _say(line: str, say: Callable[[str], None]) -> None:
    if is_main_process():
        say(line)


def _say_result(name: str, result: Mapping, metric: str, before: bool, say: Callable[[str], None]) -> None:
    metrics = result['metrics']
    scores = [name for name, value in metrics.items() if not isinstance(value, list)]
    if metric not in scores:
        raise ConfigError(f'--metric {metric}: not measured as one number{did_you_mean(metric, scores)}')
    _say(f'{name}: {result["split"]} {metric} {metrics[metric]:.2f}' + (' (made before)' if before else ''), say)


def _broadcast(value: Any) -> Any:
    """Return the first process's value in all of them."""
    shared = [value]
    broadcast_object_list(shared)
    return shared[0]
