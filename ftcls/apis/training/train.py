"""From a config to a trained model: everything is checked first, then MMEngine's Runner does the work."""
import copy
import platform
import random
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mmengine
import torch
import torchvision
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import barrier, broadcast_object_list, is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from ftcls.config.batch_policy import BatchPlan, apply_batch_policy
from ftcls.config.validation import validate_config
from ftcls.engine.hooks import DryRunFinished, DryRunHook, PreflightHook, ProgressHook
from ftcls.engine.mmengine_compat import CompatRunner, build_late_parts, ddp_config
from ftcls.engine.optimizers import convert_to_amp
from ftcls.utils import ConfigError, UserError
from ftcls.utils.checkpoint.loading import locate_checkpoint, read_checkpoint
from ftcls.utils.errors import unwrapped
from ftcls.version import __version__
from .class_weights import drop_class_weights, resolve_class_weights
from .distributed import init_distributed
from .loaders import DataReport, build_loaders, check_heads, check_missing_classes
from .resume import as_list, check_same_recipe, iter_pretrained, resolve_resume
from .sanity_checks import StartHook, check_pass, config_errors, first_samples

__all__ = ['TrainOptions', 'train', 'prepare_config', 'build_runner', 'add_default_hooks', 'with_loss_metric']

# What every run has, whether its config says so or not.
_DEFAULT_HOOKS = ('SafeCheckpointHook', 'MetricsRecordHook', 'CurvesHook', 'ProgressHook')


@dataclass(frozen=True)
class TrainOptions:
    """What the command line adds to a config.

    Attributes:
        work_dir: Where the run writes; None takes the config's, then ``work_dirs/<config name>``.
        resume: False, True (the work dir's latest checkpoint), or a checkpoint's path.
        amp: Train in half precision where that is safe.
        validate: Validate during training.
        batch_policy: See ``apply_batch_policy``.
        launcher: ``none``, ``pytorch``, ``slurm`` or ``mpi``.
        seed: Seed of everything random; None takes the config's, then draws one, which the log states.
        dry_run: Stop after the preflight and one checked training step.
    """
    work_dir: str | None = None
    resume: bool | str = False
    amp: bool = False
    validate: bool = True
    batch_policy: str | None = None
    launcher: str = 'none'
    seed: int | None = None
    dry_run: bool = False


def train(cfg: Config, options: TrainOptions | None = None, hooks: Sequence[Hook] = ()) -> Runner:
    """Train what a config describes.

    Args:
        cfg: The config; it is not changed.
        options: What the command line adds to it.
        hooks: Hooks to add to those of the config.

    Returns:
        The Runner after training.

    Raises:
        UserError: Before the first step, if anything in the config, the data or the weights is not as it says.
    """
    options = options or TrainOptions()
    cfg = copy.deepcopy(cfg)
    prepare_config(cfg, options)
    if not cfg.get('train_dataloader'):
        raise ConfigError(
            'train_dataloader: missing; what shall be trained on? Add train_dataloader, train_cfg, optim_wrapper')
    world_size = init_distributed(options.launcher, (cfg.get('env_cfg') or {}).get('dist_cfg'))
    _resolve_seed(cfg, options.seed)
    plan = apply_batch_policy(cfg, options.batch_policy, world_size)
    if cfg.resume:
        check_same_recipe(cfg)
    splits = ['train'] + (['val'] if cfg.get('val_dataloader') else [])
    loaders, report, samples = _check_sources(cfg, splits)
    start = StartHook()
    facts = report.describe() + resolve_class_weights(cfg, report)
    house = [_preflight_hook(facts, plan, cfg.randomness.seed), start, *([DryRunHook()] if options.dry_run else [])]
    runner = build_runner(cfg, loaders, [*house, *hooks])
    build_late_parts(runner, config_errors)
    check_pass(runner, loaders, samples)
    try:
        with warnings.catch_warnings(), config_errors('before the first step', start):
            # Schedulers by iteration go on while gradients are accumulated, before the first step; so they shall.
            warnings.filterwarnings('ignore', r'Detected call of `scheduler\.step')
            runner.train()
        _say_the_end(runner, start.first_iteration)
    except DryRunFinished as done:
        print_log(done.text, logger='current')
        if done.faults:
            raise ConfigError('the dry run found that the run would not do what its table says:\n' +
                              '\n'.join(done.faults))
    finally:
        # hooks hear nothing of an exception; a progress bar would keep the terminal
        for hook in runner.hooks:
            if isinstance(hook, ProgressHook):
                hook.close()
    return runner


def _say_the_end(runner: Runner, first_iteration: int) -> None:
    """Say what the run came to and where it lies."""
    if runner.iter == first_iteration:
        runner.logger.info(
            f'nothing was left to do: the checkpoint is at epoch {runner.epoch} of {runner.max_epochs}; raise '
            'train_cfg.max_epochs to train longer')
    best = runner.message_hub.runtime_info.get('best_ckpt')
    runner.logger.info(f'finished; everything is in {runner.work_dir}' +
                       (f', the best checkpoint is {Path(best).name}' if best else ''))


def _preflight_hook(data: list[str], plan: BatchPlan, seed: int) -> PreflightHook:
    device = get_device()
    name = f'{torch.cuda.get_device_name()}' if device == 'cuda' else device
    software = [
        f'{name}; Python {platform.python_version()}, torch {torch.__version__}, torchvision {torchvision.__version__}, '
        f'MMEngine {mmengine.__version__}, ftcls {__version__}; seed {seed}'
    ]
    return PreflightHook([('data', data), ('batch', [plan.describe()]), ('machine', software)])


def prepare_config(cfg: Config, options: TrainOptions) -> None:
    """Write the command line's options into the config, validate it, and fill in what every run needs."""
    init_default_scope(cfg.setdefault('default_scope', 'ftcls'))
    if options.work_dir is not None:
        cfg.work_dir = options.work_dir
    elif not cfg.get('work_dir'):
        cfg.work_dir = str(Path('work_dirs') / Path(cfg.filename or 'run').stem)
    if not options.validate:
        cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    validate_config(cfg)
    if Path(cfg.work_dir).exists() and not Path(cfg.work_dir).is_dir():
        raise ConfigError(
            f'work_dir={cfg.work_dir!r} is a file; give a folder, which need not be there yet, by --work-dir')
    cfg.launcher = options.launcher
    if options.amp:
        cfg.optim_wrapper = convert_to_amp(cfg.optim_wrapper)
    resolve_resume(cfg, options.resume)
    for key in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = cfg.get(key)
        if loader and not loader.get('num_workers') and loader.get('persistent_workers'):
            loader.persistent_workers = False  # torch refuses the pair, and without workers it has no meaning
    if options.launcher != 'none':
        cfg.setdefault('model_wrapper_cfg', ddp_config(cfg.get('find_unused_parameters', False)))


def _resolve_seed(cfg: Config, seed: int | None) -> None:
    """Fix the seed before anything random is built, the same in all processes and after a break as before it."""
    randomness = dict(cfg.get('randomness') or {})
    if seed is not None:
        randomness['seed'] = seed
    if randomness.get('seed') is not None and not 0 <= randomness['seed'] < 2**32:
        raise ConfigError(f'--seed {randomness["seed"]}: must be from 0 to {2**32 - 1}, as randomness.seed')
    if randomness.get('seed') is None and cfg.resume:
        # The order of the data hangs on it, and the data is built before MMEngine looks into the checkpoint.
        randomness['seed'] = (read_checkpoint(cfg.load_from).get('meta') or {}).get('seed')
    if randomness.get('seed') is None:
        drawn = [random.SystemRandom().randrange(2**31)]
        broadcast_object_list(drawn)
        randomness['seed'] = drawn[0]
    cfg.randomness = randomness


def _check_sources(cfg: Config, splits: list[str]) -> tuple[dict, DataReport, dict]:
    """Build the dataloaders and find the weights; what is wanting in either is said in one message."""
    faults: list[str] = []
    loaders, report, samples = {}, DataReport(), {}
    try:
        loaders, report = build_loaders(cfg, splits)
        check_heads(cfg, report)
        check_missing_classes(cfg, report)
        samples = first_samples(loaders)
    except UserError as err:
        faults.append(str(unwrapped(err)))
    sources = [
        c['checkpoint'] for owner in iter_pretrained(cfg.model) for c in as_list(owner['init_cfg'])
        if c.get('type') == 'Pretrained'
    ]
    for source in sources + ([cfg.load_from] if cfg.get('load_from') else []):
        try:
            # One process fetches, the others find the file in the cache.
            if is_main_process():
                locate_checkpoint(source)
        except UserError as err:
            faults.append(str(err))
    shared = [faults]
    broadcast_object_list(shared)
    faults += [f for f in shared[0] if f not in faults]
    barrier()
    if faults:
        raise ConfigError('\n\n'.join(faults))
    return loaders, report, samples


def with_loss_metric(evaluator: Any) -> Any:
    """Add the loss to what an evaluator measures."""
    if isinstance(evaluator, Mapping) and 'metrics' in evaluator:
        return {**evaluator, 'metrics': with_loss_metric(evaluator['metrics'])}
    metrics = as_list(evaluator)
    if any(isinstance(m, Mapping) and m.get('type') == 'LossMetric' for m in metrics):
        return metrics
    return metrics + [dict(type='LossMetric')]


def add_default_hooks(cfg: Config) -> list:
    """Return the config's custom hooks and, before them, those that every run has."""
    custom = list(cfg.get('custom_hooks') or [])
    named = {h.get('type') for h in custom + list((cfg.get('default_hooks') or {}).values()) if isinstance(h, Mapping)}
    return [dict(type=name) for name in _DEFAULT_HOOKS if name not in named] + custom


def build_runner(cfg: Config, loaders: dict, hooks: list | None = None) -> Runner:
    """Build MMEngine's Runner around dataloaders that are built already.

    Args:
        cfg: A prepared config.
        loaders: ``{'train': DataLoader, 'val': …, 'test': …}``; a split that is absent is left out of the run.
        hooks: Hook objects to add.
    """
    drop_class_weights(cfg)  # those that no training set has settled
    parts: dict[str, Any] = {}
    keys = {
        'train': ('train_cfg', 'optim_wrapper', 'param_scheduler'),
        'val': ('val_cfg', 'val_evaluator'),
        'test': ('test_cfg', 'test_evaluator')
    }
    for split, names in keys.items():
        if split in loaders:
            parts[f'{split}_dataloader'] = loaders[split]
            parts.update({name: copy.deepcopy(cfg.get(name)) for name in names})
            if parts.get(f'{split}_evaluator'):
                parts[f'{split}_evaluator'] = with_loss_metric(parts[f'{split}_evaluator'])
    with config_errors('model, hooks or visualizer'):
        return CompatRunner(
            model=copy.deepcopy(cfg.model),
            work_dir=cfg.work_dir,
            default_hooks=cfg.get('default_hooks'),
            custom_hooks=add_default_hooks(cfg) + list(hooks or []),
            data_preprocessor=copy.deepcopy(cfg.get('data_preprocessor')),
            load_from=cfg.get('load_from'),
            resume=cfg.get('resume', False),
            launcher=cfg.get('launcher', 'none'),
            env_cfg=cfg.get('env_cfg', dict(dist_cfg=dict(backend='nccl'))),
            visualizer=cfg.get('visualizer'),
            default_scope=cfg.default_scope,
            randomness=cfg.get('randomness', dict(seed=None)),
            cfg=cfg,
            **parts)
