"""Hyper-parameter search on Ray Tune, which spreads the trials over the machines of a cluster."""
import functools
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from ftcls.utils import ConfigError
from .search_result import Search, finish_search, shown_values
from .search_space import Dimension, check_space, with_values
from .tune import SearchOptions, check_same_search, metric_of, run_trial, search_settings

__all__ = ['tune_on_ray']


def tune_on_ray(cfg: Config, space: Sequence[Dimension], options: SearchOptions,
                say: Callable[[str], None] = functools.partial(print, flush=True)) -> Search:  # yapf: disable
    """Search as ``tune`` does, but draw the trials at random and let Ray give them out.

    A trial takes one GPU where there is one, else one CPU core. ``options.out_dir`` must be a folder that all machines see, and
    relative paths in the config count from this process's folder on each of them. The same call goes on after a kill.

    Args:
        cfg: The config; it is not changed.
        space: What to search.
        options: How to; ``prune`` is Ray's ``MedianStoppingRule``, ``storage`` has no meaning here, and
            ``trials`` cannot grow afterwards.
        say: Gets one line a trial.

    Raises:
        ConfigError: As ``tune``; and if Ray is not installed.
    """
    os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')  # a search tells nobody of itself
    try:
        import ray
        from ray import tune as ray_tune
        from ray.tune.schedulers import FIFOScheduler, MedianStoppingRule
        from ray.tune.search.basic_variant import BasicVariantGenerator
    except ImportError:
        raise ConfigError("--backend ray needs Ray: pip install 'ray[tune]'") from None
    if options.storage:
        raise ConfigError('--storage is for --backend optuna; Ray keeps its own in --out-dir')
    metric, lower = metric_of(cfg, options.metric)
    check_space(cfg, space)
    out_dir = Path(options.out_dir).absolute()
    _check_settings(out_dir, {**search_settings(cfg, space, options, metric), 'trials': options.trials})
    if not ray.is_initialized():
        ray.init(log_to_driver=False, logging_level='ERROR')
    work = functools.partial(_trial, settings=cfg.to_dict(), file=cfg.filename, space=list(space), out_dir=str(out_dir), metric=metric,
                             seed=options.seed, folder=os.getcwd())  # yapf: disable
    trainable = ray_tune.with_resources(work, {'gpu': 1} if torch.cuda.is_available() else {'cpu': 1})
    if ray_tune.Tuner.can_restore(str(out_dir / 'ray')):
        tuner = ray_tune.Tuner.restore(str(out_dir / 'ray'), trainable, resume_unfinished=True)
    else:
        stop = MedianStoppingRule(time_attr='step', grace_period=1, min_samples_required=4)
        tuner = ray_tune.Tuner(
            trainable,
            param_space={d.key: _domain(d)
                         for d in space},
            tune_config=ray_tune.TuneConfig(
                metric=metric,
                mode='min' if lower else 'max',
                num_samples=options.trials,
                search_alg=BasicVariantGenerator(random_state=options.seed),
                scheduler=stop if options.prune else FIFOScheduler()),
            run_config=ray_tune.RunConfig(name='ray', storage_path=str(out_dir), verbose=0))
    trials = sorted((_as_dict(result, metric) for result in tuner.fit()), key=lambda trial: trial['number'])
    for trial in trials:
        outcome = f'FAILED: {trial["error"]}' if trial['state'] == 'failed' else f'val {metric} {trial["score"]:.4g}'
        say(f'{trial["folder"]}: {outcome} ({shown_values(trial["values"])})')
    return finish_search(cfg, space, trials, out_dir, metric, lower)


def _check_settings(out_dir: Path, wanted: dict[str, Any]) -> None:
    """Note what is searched, or refuse to go on with something else; Ray would keep the old number of trials in silence."""
    noted = out_dir / 'ray_settings.json'
    check_same_search(json.loads(noted.read_text(encoding='utf-8')) if noted.is_file() else None, wanted, out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    noted.write_text(json.dumps(wanted, indent=2), encoding='utf-8')


def _domain(dimension: Dimension) -> Any:
    """Return Ray's domain of a dimension."""
    from ray import tune as ray_tune
    if dimension.kind == 'choice':
        return ray_tune.choice(list(dimension.choices))
    if dimension.kind == 'int':
        return ray_tune.randint(dimension.low, dimension.high + 1)  # Ray leaves the upper end out
    return {
        'uniform': ray_tune.uniform,
        'loguniform': ray_tune.loguniform
    }[dimension.kind](dimension.low, dimension.high)


def _trial(values: Mapping[str, Any], settings: dict, file: str | None, space: Sequence[Dimension], out_dir: str,
           metric: str, seed: int, folder: str) -> None:
    """Make one trial in one of Ray's processes."""
    from ray import tune as ray_tune
    os.chdir(folder)
    if not torch.cuda.is_available():
        torch.set_num_threads(1)  # a core a trial
    cfg = with_values(Config(settings, filename=file), values, space)
    name = f'trial_{ray_tune.get_context().get_trial_id()}'
    score = run_trial(cfg, Path(out_dir) / name, metric, seed,
                      lambda score, step: ray_tune.report({metric: score, 'step': step}))  # yapf: disable
    ray_tune.report({metric: score, 'finished': True})


def _as_dict(result: Any, metric: str) -> dict[str, Any]:
    """Return a trial as of :class:`Search`."""
    last = result.metrics or {}
    trial_id = re.search(r'_trial_([0-9a-f]+_(\d+))_', Path(result.path).name)
    state = 'failed' if result.error or metric not in last else 'finished' if last.get('finished') else 'pruned'
    error = str(result.error).strip().splitlines()[-1] if result.error else None
    return dict(number=int(trial_id[2]), folder=f'trial_{trial_id[1]}', state=state, score=last.get(metric),
                values=dict(result.config or {}), error=error)  # yapf: disable
