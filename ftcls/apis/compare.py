"""Training several arms of one experiment over several seeds, in one call or spread over machines."""
import contextlib
import copy
import functools
import gc
import hashlib
import io
import json
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import barrier, broadcast_object_list, is_main_process
from mmengine.logging import MMLogger

from ftcls.registry import MODELS
from ftcls.utils import ConfigError, UserError, did_you_mean
from ftcls.utils.download import file_digest
from ftcls.utils.errors import unwrapped
from .comparison import Comparison, RunResult, never_trained
from .config import apply_overrides, differing_keys
from .data import dataset_configs
from .distributed import init_distributed
from .test import evaluate_runner
from .train import TrainOptions, train
from .validate import validate_config

__all__ = ['Comparison', 'RunResult', 'Workers', 'compare', 'few_shots', 'quiet_run', 'standard_arms']

_RESULT = 'result.json'
_UNFREEZING = ('GradualUnfreezingHook', 'LinearProbeFineTuneHook')
_SPLITS = ('train', 'val', 'test')
# Settings of a schedule that count epochs, so that a budget stretches them.
_EPOCHS_OF_SCHEDULE = ('begin', 'end', 'T_max', 'step_size', 'total_steps', 'milestones', 'periods')
_ENDLESS = 10**8  # MMEngine's INF for a schedule without an end is 10**9


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


def standard_arms(cfg: Config) -> dict[str, dict[str, Any]]:
    """Return the overrides that make an arm of a fine-tuning config.

    - ``finetune``: the config as it is.
    - ``scratch``: no pretrained weights, nothing frozen.
    - ``probe``: the whole backbone frozen, so that a linear classifier on its features learns alone.
    - ``lpft``: the first half of the epochs as ``probe``, the second as ``finetune``.

    A hook of the config that unfreezes in steps stays in ``finetune`` only.

    The config's own ``arms = dict(scratch={'optim_wrapper.optimizer.lr': 0.1}, …)`` adds to these, or names further ones.
    """
    others = [h for h in cfg.get('custom_hooks') or [] if h.get('type') not in _UNFREEZING]
    arms: dict[str, dict[str, Any]] = {
        'scratch': {
            # without a source there is nothing to stay close to
            'custom_hooks': [h for h in others if h.get('type') != 'L2SPHook'],
            'model.backbone.init_cfg': None,
            'model.backbone.frozen_stages': -1,
            'load_from': None
        },
        'probe': {
            'custom_hooks': others,
            'model.backbone.frozen_stages': _stage_count(cfg)
        },
        'lpft': {
            'custom_hooks': [*others, dict(type='LinearProbeFineTuneHook', probe=0.5)]
        },
        'finetune': {},
    }
    if cfg.model.get('freeze'):
        arms['scratch']['model.freeze'] = None
    for name, overrides in (cfg.get('arms') or {}).items():
        arms[name] = {**arms.get(name, {}), **overrides}
    return arms


def _stage_count(cfg: Config) -> int:
    backbone = copy.deepcopy(cfg.model.backbone)
    backbone['init_cfg'] = None
    return len(MODELS.build(backbone).stages()) - 1


def few_shots(cfg: Config, shots: int) -> Config:
    """Return a copy of a config whose training set is ``shots`` labelled samples a class, drawn by each run's seed."""
    cfg = copy.deepcopy(cfg)
    for split in _SPLITS:
        for dataset in dataset_configs((cfg.get(f'{split}_dataloader') or {}).get('dataset')):
            # `Digits` tests on what the draw has left, and is told of it in each split
            if split == 'train' or dataset.get('shots_per_class'):
                dataset['shots_per_class'] = shots
    return cfg


def compare(
    cfg: Config,
    arms: Sequence[str | Config],
    seeds: Sequence[int],
    out_dir: str | Path,
    *,
    epochs: int | None = None,
    metric: str | None = None,
    workers: Workers = Workers(),
    say: Callable[[str], None] = functools.partial(print, flush=True)
) -> Comparison:
    """Train each arm with each seed on the same data and budget, and write the table, the curves and the numbers.

    A run that is finished leaves ``result.json`` in its folder and is not made again; one that was killed goes on from its
    last checkpoint. So the same call resumes a comparison, and several calls with a ``shard`` each make one together, of
    which a last one with ``gather`` reports. A run that fails is named, leaves ``error.txt``, and the others go on; in several processes
    (``launcher``) it ends the call, since the others cannot know of it.

    Args:
        cfg: The fine-tuning config; it is not changed.
        arms: Names of ``standard_arms`` or of the config's ``arms``, or whole configs on the same data, called by their
            file's name; the first is what the others are held against.
        seeds: One run an arm and seed. Datasets that draw few shots (``shots_per_class``) draw them with the run's seed.
        out_dir: Gets ``<arm>/seed<k>/`` of each run and, but for a shard, ``compare.png``, ``results.json``, ``table.txt``.
        epochs: The budget of every arm, to which schedules by epoch are stretched; None leaves it as the config has it.
        metric: The score; None takes the first metric of the evaluator.
        workers: Who makes the runs.
        say: Gets one line as a run begins and one when it has ended.

    Raises:
        ConfigError: Before the first run: if an arm is unknown, or wrong, or on other data, or was run in ``out_dir`` with
            other settings; later: if ``metric`` is unknown, or no run at all came to an end.
    """
    out_dir = Path(out_dir)
    configs = _arm_configs(cfg, arms, epochs)
    runs = [_Run(arm, seed, out_dir, arm_cfg) for seed in seeds for arm, arm_cfg in configs.items()]
    init_distributed(workers.launcher, (cfg.get('env_cfg') or {}).get('dist_cfg'))
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
            metric = metric or next(iter(finished[run.name]['metrics']))
            _say_result(run.name, finished[run.name], metric, before, say)
        elif run.name in failures:
            _say(f'{run.name}: FAILED: {failures[run.name]}', say)
    return _report(runs, finished, failures, metric, workers, out_dir)


def _report(runs: Sequence['_Run'], finished: Mapping[str, dict | None], failures: Mapping[str, str],
            metric: str | None, workers: Workers, out_dir: Path) -> Comparison:
    done = [run for run in runs if finished[run.name]]
    if not done and workers.shard == (0, 1):
        why = [f'  {name}: {why}' for name, why in failures.items()] or [f'  {out_dir} holds no {_RESULT}']
        raise ConfigError('no run came to an end:\n' + '\n'.join(why))
    results = [run.named(finished[run.name]['metrics']) for run in done]
    comparison = Comparison(metric or '', finished[done[0].name]['split'] if done else '', results,
                            tuple(dict.fromkeys(run.arm for run in runs)), failures,
                            tuple(run.name for run in runs if not finished[run.name] and run.name not in failures),
                            never_trained(results))
    if is_main_process() and workers.shard == (0, 1):
        comparison.write(out_dir)
    return comparison


def _say(line: str, say: Callable[[str], None]) -> None:
    if is_main_process():
        say(line)


def _say_result(name: str, result: Mapping, metric: str, before: bool, say: Callable[[str], None]) -> None:
    metrics = result['metrics']
    if metric not in metrics:
        raise ConfigError(f'--metric {metric}: not measured{did_you_mean(metric, metrics)}')
    _say(f'{name}: {result["split"]} {metric} {metrics[metric]:.2f}' + (' (made before)' if before else ''), say)


def _broadcast(value: Any) -> Any:
    """Return the first process's value in all of them."""
    shared = [value]
    broadcast_object_list(shared)
    return shared[0]


@dataclass(frozen=True)
class _Run:
    """One arm with one seed."""
    arm: str
    seed: int
    out_dir: Path
    arm_cfg: Config

    @property
    def name(self) -> str:
        return f'{self.arm}, seed {self.seed}'

    @property
    def folder(self) -> Path:
        return self.out_dir / self.arm / f'seed{self.seed}'

    def named(self, metrics: dict[str, float]) -> RunResult:
        return RunResult(self.arm, self.seed, str(self.folder), metrics)

    def config(self) -> Config:
        """Return the arm's config, with the seed where shots are drawn."""
        cfg = copy.deepcopy(self.arm_cfg)
        cfg.experiment_name = f'{self.out_dir.name}-{self.arm}-seed{self.seed}'
        for split in _SPLITS:
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
            metrics, split = _train_and_measure(self.config(), options)
        except Exception as err:
            if launcher != 'none':
                raise
            (self.folder / 'error.txt').write_text(traceback.format_exc(), encoding='utf-8')
            is_users = isinstance(err, UserError)
            failures[self.name] = str(unwrapped(err)) if is_users else f'{type(err).__name__}: {err}'
            return None
        self._leave(metrics, split)
        return dict(metrics=metrics, split=split)

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


def _train_and_measure(cfg: Config, options: TrainOptions) -> tuple[dict[str, float], str]:
    """Train and measure."""
    with quiet_run():
        metrics, split = evaluate_runner(train(cfg, options))
    return {name: value for name, value in metrics.items() if isinstance(value, int | float)}, split


@contextlib.contextmanager
def quiet_run() -> Iterator[None]:
    """Keep the log of a run off the terminal (its work dir has it), and leave nothing open: dozens in one process would add up."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger = MMLogger.get_current_instance()
        for handler in list(logger.handlers) if logger.instance_name != 'mmengine' else ():  # that is no run's
            logger.removeHandler(handler)
            handler.close()
        gc.collect()  # the Runner and its hooks point at one another; their dataloaders' workers live until it is gone


def _arm_configs(cfg: Config, arms: Sequence[str | Config], epochs: int | None) -> dict[str, Config]:
    """Return the config of each arm, checked."""
    known = standard_arms(cfg)
    configs: dict[str, Config] = {}
    for arm in arms:
        name = arm if isinstance(arm, str) else Path(arm.filename).stem
        if name in configs:
            raise ConfigError(f'--arms: {name!r} stands there twice')
        if isinstance(arm, str) and arm not in known:
            raise ConfigError(f'--arms {arm}: unknown{did_you_mean(arm, known)}; a config file\'s path is an arm too')
        configs[name] = arm_cfg = copy.deepcopy(cfg if isinstance(arm, str) else arm)
        if isinstance(arm, str):
            apply_overrides(arm_cfg, known[arm])
        else:
            _check_same_data(cfg, arm_cfg, name)
        arm_cfg.pop('arms', None)
        if epochs is not None:
            _set_budget(arm_cfg, epochs)
        elif arm_cfg.train_cfg != cfg.train_cfg and not isinstance(arm, str):
            raise ConfigError(f'--arms {name}: its train_cfg is another than the first config\'s; give --budget')
        try:
            validate_config(arm_cfg)
        except ConfigError as err:
            raise ConfigError(f'--arms {name}: {err}') from err
    return configs


def _check_same_data(cfg: Config, other: Config, name: str) -> None:
    for split in _SPLITS:
        reference, own = (_data_of(c, split) for c in (cfg, other))
        if own != reference:
            raise ConfigError(
                f'--arms {name}: its {split}_dataloader.dataset is not that of the config that it is to be '
                f'compared with: {own} against {reference}')


def _data_of(cfg: Config, split: str) -> list[dict[str, Any]]:
    """Return the datasets of a split without their pipelines: an arm may well augment otherwise."""
    found = dataset_configs((cfg.get(f'{split}_dataloader') or {}).get('dataset'))
    return [{k: v for k, v in dataset.items() if k != 'pipeline'} for dataset in found]


def _set_budget(cfg: Config, epochs: int) -> None:
    """Set the number of epochs, and stretch alike what counts epochs: schedules, gradual unfreezing."""
    if epochs < 1:
        raise ConfigError(f'--budget {epochs}: must be at least 1')
    before = cfg.train_cfg.get('max_epochs')
    if before is None:
        raise ConfigError('--budget: counts epochs, and train_cfg.max_epochs is not set')
    cfg.train_cfg.max_epochs = epochs
    schedulers = cfg.get('param_scheduler') or []

    def stretched(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [stretched(one) for one in value]
        if isinstance(value, Mapping):
            return {stretched(at): frozen for at, frozen in value.items()}
        is_count = isinstance(value, int) and 0 < value < _ENDLESS
        return max(1, round(value * epochs / before)) if is_count else value

    for hook in cfg.get('custom_hooks') or []:
        if hook.get('type') == 'GradualUnfreezingHook' and hook.get('by_epoch', True):
            hook.update({key: stretched(hook[key]) for key in ('every', 'schedule') if hook.get(key)})
    for scheduler in [schedulers] if isinstance(schedulers, Mapping) else schedulers:
        if scheduler.get('by_epoch', True):
            scheduler.update({key: stretched(scheduler[key]) for key in _EPOCHS_OF_SCHEDULE if key in scheduler})
