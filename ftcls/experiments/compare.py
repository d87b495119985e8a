"""Training several arms of one experiment over several seeds, in one call or spread over machines."""
import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import is_main_process

from ftcls.apis.training.distributed import init_distributed
from ftcls.apis.training.loaders import dataset_configs
from ftcls.config.loading import apply_overrides
from ftcls.config.validation import validate_config
from ftcls.registry import MODELS
from ftcls.utils import ConfigError, did_you_mean
from .comparison import Comparison, RunResult, never_trained
from .run import SPLITS, Run, Workers, make_runs

__all__ = ['Comparison', 'RunResult', 'Workers', 'compare', 'few_shots', 'standard_arms']

_UNFREEZING = ('GradualUnfreezingHook', 'LinearProbeFineTuneHook')
# Settings of a schedule that count epochs, so that a budget stretches them.
_EPOCHS_OF_SCHEDULE = ('begin', 'end', 'T_max', 'step_size', 'total_steps', 'milestones', 'periods')
_ENDLESS = 10**8  # MMEngine's INF for a schedule without an end is 10**9


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
    for split in SPLITS:
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
    runs = [Run(arm, seed, out_dir, arm_cfg) for seed in seeds for arm, arm_cfg in configs.items()]
    init_distributed(workers.launcher, (cfg.get('env_cfg') or {}).get('dist_cfg'))
    finished, failures, metric = make_runs(runs, workers, metric, say)
    return _report(runs, finished, failures, metric, workers, out_dir)


def _report(runs: Sequence[Run], finished: Mapping[str, dict | None], failures: Mapping[str, str], metric: str | None,
            workers: Workers, out_dir: Path) -> Comparison:
    done = [run for run in runs if finished[run.name]]
    results = [run.named(finished[run.name]['metrics']) for run in done]
    comparison = Comparison(metric or '', finished[done[0].name]['split'] if done else '', results,
                            tuple(dict.fromkeys(run.arm for run in runs)), failures,
                            tuple(run.name for run in runs if not finished[run.name] and run.name not in failures),
                            never_trained(results))
    if is_main_process() and workers.shard == (0, 1):
        comparison.write(out_dir)
    return comparison


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
    for split in SPLITS:
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
