"""Training several arms of one experiment over several seeds, in one call or spread over machines."""
import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ftcls.apis.training.distributed import init_distributed
from ftcls.apis.training.resume import UNFREEZING_HOOKS
from ftcls.config.epochs import set_epochs
from ftcls.config.loading import apply_overrides, load_config
from ftcls.config.validation import validate_config
from ftcls.registry import MODELS
from ftcls.utils import ConfigError, did_you_mean
from ftcls.utils.errors import located
from .report import Comparison, RunResult
from .run import SPLITS, Run, Workers, execute_runs, print_line, split_datasets, with_seed

__all__ = ['compare', 'few_shots', 'read_arms', 'standard_arms']


def standard_arms(cfg: Config) -> dict[str, dict[str, Any]]:
    """Return the overrides of each arm of a fine-tuning config; its own ``arms = dict(scratch={key: value}, …)`` adds.

    - ``finetune``: the config as it is; a hook that unfreezes in steps stays in this arm only.
    - ``scratch``: no pretrained weights, nothing frozen.
    - ``probe``: the whole backbone frozen; only a linear classifier on its features is trained.
    - ``lpft``: the first half of the epochs as ``probe``, the second as ``finetune``.
    """
    others = [h for h in cfg.get('custom_hooks') or [] if h.get('type') not in UNFREEZING_HOOKS]
    backbone = MODELS.build({**cfg.model.backbone, 'init_cfg': None})
    hooks = [h for h in others if h.get('type') != 'L2SPHook']  # without a source there is nothing to stay close to
    scratch = {'custom_hooks': hooks, 'load_from': None, 'model.backbone.init_cfg': None}
    scratch['model.backbone.frozen_stages'] = -1
    scratch |= {f'model.{key}': None for key in ('freeze', 'adapter') if cfg.model.get(key)}
    probe = {'custom_hooks': others, 'model.backbone.frozen_stages': backbone.num_stages_total}
    lpft = {'custom_hooks': [*others, dict(type='LinearProbeFineTuneHook', probe=0.5)]}
    arms = dict(scratch=scratch, probe=probe, lpft=lpft, finetune={})
    for name, overrides in (cfg.get('arms') or {}).items():
        arms[name] = {**arms.get(name, {}), **overrides}
    return arms


def read_arms(text: str, overrides: Sequence[str] = ()) -> list[str | Config]:
    """Return the arms of ``'scratch,mine.py,configs/strategies'``: names, and the configs of files and folders.

    A file that is named itself and is in a folder too is one arm. ``overrides`` are applied to each config.
    """
    names = text.split(',')
    arms: list[str] = []
    for name in names:
        if Path(name).is_dir():
            files = sorted(map(str, Path(name).glob('*.py')))
            arms += [file for file in files if file not in names and file not in arms]
        else:
            arms.append(name)
    return [load_config(arm, overrides) if arm.endswith('.py') else arm for arm in arms]


def few_shots(cfg: Config, shots: int) -> Config:
    """Return a copy of a config that trains on ``shots`` labelled samples per class, drawn by each run's seed.

    ``Digits`` tests on the samples that are not drawn.
    """
    cfg = copy.deepcopy(cfg)
    train = split_datasets(cfg, 'train')
    for dataset in train + [one for one in split_datasets(cfg, 'val', 'test') if one.get('shots_per_class')]:
        dataset['shots_per_class'] = shots
    return cfg


def compare(cfg: Config,
            arms: Sequence[str | Config],
            seeds: Sequence[int],
            out_dir: str | Path,
            *,
            epochs: int | None = None,
            metric: str | None = None,
            workers: Workers = Workers(),
            log: Callable[[str], None] = print_line) -> Comparison:
    """Train each arm with each seed on the same data and budget, and write the table, the curves and the numbers.

    The same call resumes: a finished run is not repeated, a killed one continues from its last checkpoint. Calls with a
    ``shard`` each share the runs; a last one with ``gather`` reports. A run that fails leaves ``error.txt``, and the
    others continue; with a ``launcher`` it ends the call, since the other processes cannot know of it.

    Args:
        cfg: The fine-tuning config; it is not changed.
        arms: Names of ``standard_arms``, or configs on the same data, named by their file; the first is the reference.
        seeds: One run per arm and seed. Datasets that draw few shots (``shots_per_class``) do so with this seed.
        out_dir: Gets ``<arm>/seed<k>/`` of each run, then ``compare.png``, ``results.json``, ``table.txt``.
        epochs: The budget of every arm; schedules by epoch are stretched to it. None keeps the config's.
        metric: The score; None takes the first metric of the evaluator.
        workers: Who executes the runs.
        log: Gets one line when a run begins and one when it has ended.

    Raises:
        ConfigError: Before the first run: if an arm is unknown, wrong, on other data, cannot start for lack of data or
            weights, or was run in ``out_dir`` with other settings. Later: if no run has a result or the ``metric``.
    """
    out_dir, cfg = Path(out_dir), load_config(cfg)
    configs = _arm_configs(cfg, arms, epochs)
    runs = []
    for seed in seeds:
        for arm, arm_cfg in configs.items():
            seeded = with_seed(arm_cfg, seed, f'{out_dir.name}-{arm}-seed{seed}')
            runs.append(Run(f'{arm}, seed {seed}', seeded, out_dir / arm / f'seed{seed}', arm))
    init_distributed(workers.launcher, (cfg.get('env_cfg') or {}).get('dist_cfg'))
    batch = execute_runs(runs, workers, metric, log)
    done = [run for run in runs if run.name in batch.results]
    results = [RunResult(r.group, r.cfg.randomness.seed, str(r.folder), batch.results[r.name]['metrics']) for r in done]
    comparison = Comparison(batch.metric, batch.split, results, tuple(configs), batch.failures, batch.unfinished)
    if workers.is_reporter:
        comparison.write(out_dir)
    return comparison


def _arm_configs(cfg: Config, arms: Sequence[str | Config], epochs: int | None) -> dict[str, Config]:
    """Return the config of each arm, checked."""
    known = standard_arms(cfg)
    configs: dict[str, Config] = {}
    for arm in arms:
        if isinstance(arm, str):
            name, arm_cfg = arm, copy.deepcopy(cfg)
            if arm not in known:
                raise ConfigError(f'--arms {arm}: unknown{did_you_mean(arm, known)}; a config file is an arm too')
            apply_overrides(arm_cfg, known[arm])
        else:
            name, arm_cfg = Path(arm.filename).stem, copy.deepcopy(arm)
            for split in SPLITS:
                reference, own = _data_of(cfg, split), _data_of(arm, split)
                if own != reference:
                    text = f'--arms {name}: its {split}_dataloader.dataset is not that of the first config'
                    raise ConfigError(f'{text}: {own} against {reference}')
            if epochs is None and arm.train_cfg != cfg.train_cfg:
                raise ConfigError(f'--arms {name}: its train_cfg is not that of the first config; give --budget')
        if name in configs:
            raise ConfigError(f'--arms: {name!r} is given twice')
        arm_cfg.pop('arms', None)
        set_epochs(arm_cfg, epochs, '--budget')
        with located(f'--arms {name}'):
            validate_config(arm_cfg)
        configs[name] = arm_cfg
    return configs


def _data_of(cfg: Config, split: str) -> list[dict[str, Any]]:
    """Return the datasets of a split without their pipelines: an arm may augment in another way."""
    return [{k: v for k, v in dataset.items() if k != 'pipeline'} for dataset in split_datasets(cfg, split)]
