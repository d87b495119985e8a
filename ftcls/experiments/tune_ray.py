"""Hyper-parameter search on Ray Tune, which spreads the trials over the machines of a cluster."""
import dataclasses
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
from .report import Search, format_value
from .run import check_same_settings, print_line
from .search_space import Dimension
from .tune import ReportHook, SearchOptions, SearchPlan, describe_values, plan_search

__all__ = ['tune_on_ray']


def tune_on_ray(cfg: Config,
                space: Sequence[Dimension],
                options: SearchOptions,
                log: Callable[[str], None] = print_line) -> Search:
    """Search as ``tune`` does, but draw the trials at random and let Ray distribute them.

    A trial takes one GPU if there is one, else one CPU core. All machines must see ``options.out_dir``; relative paths
    in the config count from this process's folder. ``options.prune`` is Ray's ``MedianStoppingRule``; ``trials`` cannot
    grow afterwards. The same call resumes after a kill.

    Raises:
        ConfigError: As ``tune``; and if Ray is not installed, or ``options.storage`` is set.
    """
    os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')  # nothing is sent to Ray's makers
    try:
        import ray
        from ray import tune as ray_tune
        from ray.tune.schedulers import FIFOScheduler, MedianStoppingRule
        from ray.tune.search.basic_variant import BasicVariantGenerator
    except ImportError:
        raise ConfigError("--backend ray needs Ray: pip install 'ray[tune]'") from None
    if options.storage:
        raise ConfigError('--storage is for --backend optuna; Ray keeps its own in --out-dir')
    out_dir = Path(options.out_dir).absolute()
    plan = plan_search(cfg, space, dataclasses.replace(options, out_dir=out_dir))
    noted, settings = out_dir / 'ray_settings.json', dict(plan.settings, trials=options.trials)
    if noted.is_file():  # Ray would keep the old number of trials
        check_same_settings(json.loads(noted.read_text(encoding='utf-8')), settings, f'{out_dir} holds a search')
    out_dir.mkdir(parents=True, exist_ok=True)
    noted.write_text(json.dumps(settings, indent=2), encoding='utf-8')
    if not ray.is_initialized():
        ray.init(log_to_driver=False, logging_level='ERROR')
    work = functools.partial(_make_trial, plan=plan, folder=os.getcwd())
    trainable = ray_tune.with_resources(work, {'gpu': 1} if torch.cuda.is_available() else {'cpu': 1})
    storage = str(out_dir / 'ray')
    if ray_tune.Tuner.can_restore(storage):
        tuner = ray_tune.Tuner.restore(storage, trainable, resume_unfinished=True)
    else:
        scheduler = FIFOScheduler()
        if options.prune:
            scheduler = MedianStoppingRule(time_attr='step', grace_period=1, min_samples_required=4)
        goal = dict(metric=plan.metric, mode='min' if plan.lower else 'max')
        generator = BasicVariantGenerator(random_state=options.seed)
        tune_config = ray_tune.TuneConfig(**goal, num_samples=options.trials, search_alg=generator, scheduler=scheduler)
        run_config = ray_tune.RunConfig(name='ray', storage_path=str(out_dir), verbose=0)
        domains = {dimension.key: _domain(dimension) for dimension in space}
        tuner = ray_tune.Tuner(trainable, param_space=domains, tune_config=tune_config, run_config=run_config)
    trials = sorted((_as_dict(result, plan.metric) for result in tuner.fit()), key=lambda trial: trial['number'])
    for trial in trials:
        outcome = f'val {plan.metric} {format_value(trial["score"])}'
        if trial['state'] == 'failed':
            outcome = f'FAILED: {trial["error"]}'
        log(f'{trial["folder"]}: {outcome} ({describe_values(trial["values"])})')
    return plan.finish(trials)


def _domain(dimension: Dimension) -> Any:
    """Return Ray's domain of a dimension."""
    from ray import tune as ray_tune
    if dimension.kind == 'choice':
        return ray_tune.choice(list(dimension.choices))
    if dimension.kind == 'int':
        return ray_tune.randint(dimension.low, dimension.high + 1)  # Ray leaves the upper end out
    return getattr(ray_tune, dimension.kind)(dimension.low, dimension.high)


def _make_trial(values: Mapping[str, Any], plan: SearchPlan, folder: str) -> None:
    """Make one trial in one of Ray's processes."""
    from ray import tune as ray_tune
    os.chdir(folder)
    if not torch.cuda.is_available():
        torch.set_num_threads(1)  # one core per trial
    hook = ReportHook(plan.metric, lambda score, step: ray_tune.report({plan.metric: score, 'step': step}))
    result = plan.run(f'trial_{ray_tune.get_context().get_trial_id()}', values).execute(hooks=[hook])
    ray_tune.report({plan.metric: result['metrics'][plan.metric], 'finished': True})


def _as_dict(result: Any, metric: str) -> dict[str, Any]:
    """Return a trial as of :class:`Search`."""
    last, error = result.metrics or {}, None
    number = re.search(r'_trial_([0-9a-f]+_(\d+))_', Path(result.path).name)
    state = {True: 'finished'}.get(last.get('finished'), 'pruned')
    if result.error:
        error = str(result.error).strip().splitlines()[-1]
    if error or metric not in last:
        state = 'failed'
    trial = dict(number=int(number[2]), folder=f'trial_{number[1]}', state=state, score=last.get(metric))
    return dict(trial, values=dict(result.config or {}), error=error)
