"""From a config to a trained model: everything is checked first, then MMEngine's Runner does the work."""
import copy
import os
import platform
import random
import resource
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from importlib.metadata import version
from itertools import chain
from pathlib import Path

import mmengine
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch.utils.data import DataLoader, Dataset

from ftcls.config.loading import load_config
from ftcls.config.reading import config_folder, shipped_configs
from ftcls.config.resolve import EvalOptions, Facts, TrainOptions, iter_pretrained, resolve, scope_of, work_dir_of
from ftcls.config.validation import validate_config
from ftcls.engine.hooks import (DataWaitHook, DryRunFinished, DryRunHook, FeatureCacheHook, PredictionsHook,
                                PreflightHook, ProgressHook, SpeedHook, StopHook)
from ftcls.engine.mmengine_compat import CompatRunner, build_late_parts, log_level
from ftcls.signals import StopSignals
from ftcls.utils import ConfigError, UserError
from ftcls.utils.checkpoint.loading import checkpoint_meta, locate_checkpoint, read_checkpoint
from ftcls.utils.checkpoint.matching import unwrap_model
from ftcls.utils.errors import unwrapped
from ftcls.utils.names import command
from ftcls.utils.processes import from_main, keep_freed_memory, patient_barrier
from ftcls.utils.run_lock import run_lock
from ftcls.utils.tree import as_list
from ftcls.utils.writable import check_writable
from ftcls.version import __version__, commit_of
from .data_checks import check_datasets
from .distributed import init_distributed
from .file_scan import BadSampleHook
from .learning import check_last_batch
from .loaders import DataReport, build_datasets, build_loaders
from .machine_faults import machine_errors
from .resume import check_same_recipe, find_resumed, loaders_before
from .sanity_checks import StartHook, check_pass, config_errors, describe_sizes

__all__ = ['TrainOptions', 'build_runner', 'check_config', 'require', 'train']

# What MMEngine's Runner takes out of a config, for every run and for each split.
_RUNNER_KEYS = ('model', 'work_dir', 'default_hooks', 'data_preprocessor', 'load_from', 'resume', 'launcher', 'env_cfg',
                'visualizer', 'default_scope', 'randomness')
_SPLIT_KEYS = dict(
    train=('train_cfg', 'optim_wrapper', 'param_scheduler'),
    val=('val_cfg', 'val_evaluator'),
    test=('test_cfg', 'test_evaluator'))


def train(cfg: Config | Mapping, options: TrainOptions | None = None, hooks: Sequence[Hook] = ()) -> Runner:
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
    cfg = check_config(cfg, options, 'train_dataloader',
                       'add the dataset to train on, with train_cfg and optim_wrapper')
    with machine_errors() as signals:
        world_size = init_distributed(options.launcher, (cfg.get('env_cfg') or {}).get('dist_cfg'))
        with run_lock(work_dir_of(cfg, options)) if is_main_process() else nullcontext():
            return _train(cfg, options, hooks, world_size, signals)


def _train(cfg: Config, options: TrainOptions, hooks: Sequence[Hook], world_size: int, signals: StopSignals) -> Runner:
    checkpoint = find_resumed(cfg, options)
    meta = checkpoint_meta(read_checkpoint(checkpoint)) if checkpoint else {}
    splits = ['train']
    if options.validate and cfg.get('val_dataloader'):
        splits.append('val')
    weights = [] if checkpoint else list(_weight_sources(cfg))
    datasets, report, samples = _check_sources(cfg, splits, weights, work_dir_of(cfg, options))
    seed = from_main(random.SystemRandom().randrange(2**31))
    facts = Facts(world_size, checkpoint, meta, report.counts['train'] or {}, seed, loaders_before(meta))
    resolved = resolve(cfg, options, facts)
    if checkpoint:
        check_same_recipe(resolved.cfg, checkpoint, meta)
    loaders = build_loaders(resolved.cfg, datasets)
    lines = report.describe(loaders) + describe_sizes(resolved.cfg, samples) + resolved.notes
    facts_shown = [('data', lines), *report.facts.items(),
                   ('workers', [f'{split} {resolved.workers[split]}' for split in loaders]),
                   ('batch', [resolved.batch.describe()]),
                   ('machine', [_describe_machine(resolved.cfg.randomness.seed)])]
    start = StartHook()
    own: list[Hook] = [PreflightHook(facts_shown), start, BadSampleHook(), DataWaitHook(), SpeedHook(samples['train'])]
    own += [FeatureCacheHook(resolved.cfg.get('feature_cache', 'auto'), signals), StopHook(signals)]
    own.append(DryRunHook() if options.dry_run else PredictionsHook())
    runner = build_runner(resolved.cfg, loaders, [*own, *hooks])
    runner.message_hub.update_info('ftcls_commit', commit_of())
    build_late_parts(runner, config_errors)
    check_pass(runner, loaders, samples)
    check_last_batch(unwrap_model(runner.model), loaders['train'], samples['train'][0])
    with signals.deferred():
        _run(runner, start)
    return runner


def check_config(cfg: Config | Mapping, options: TrainOptions | EvalOptions, needed: str = '', why: str = '') -> Config:
    """Return a config, validated in the parts that a run uses, and make its scope the current one.

    Args:
        cfg: The config; it is not changed.
        options: Of the run.
        needed: The keys that must be there, and ``why``, as for :func:`require`.

    Raises:
        ConfigError: If anything is not valid, or missing.
    """
    cfg = used = load_config(cfg)
    init_default_scope(scope_of(cfg))
    if isinstance(options, TrainOptions) and not options.validate:
        used = copy.copy(cfg)
        used.val_dataloader = used.val_cfg = used.val_evaluator = None
    validate_config(used)
    check_writable(work_dir=work_dir_of(cfg, options))
    if needed:
        require(cfg, needed, why)
    return cfg


def require(cfg: Config, keys: str, why: str) -> None:
    """Raise a ConfigError, which says ``why``, if a config lacks one of some keys, as 'train_dataloader, train_cfg'."""
    if not all(map(cfg.get, keys.split(', '))):
        raise ConfigError(f'{keys}: missing; {why}')


def _run(runner: Runner, start: StartHook) -> None:
    """Train; with accumulated gradients, schedulers by iteration rightly step before the optimizer does."""
    try:
        with warnings.catch_warnings(), config_errors('before the first step', start):
            warnings.filterwarnings('ignore', r'Detected call of `scheduler\.step')
            runner.train()
        _log_end(runner, start.first_iteration)
    except DryRunFinished as done:
        print_log(done.text, logger='current')
        if done.faults:
            raise ConfigError('the run would not do what its table says:\n' + '\n'.join(done.faults))
    finally:
        for hook in runner.hooks:  # Hooks are not told of an exception; a progress bar would keep the terminal.
            if isinstance(hook, ProgressHook):
                hook.close()


def _log_end(runner: Runner, first_iteration: int) -> None:
    if runner.iter == first_iteration:
        at = f'epoch {runner.epoch} of {runner.max_epochs}'
        runner.logger.info(f'nothing was left to do: the checkpoint is at {at}; raise train_cfg.max_epochs to go on')
    text = f'finished; everything is in {runner.work_dir}'
    if best := runner.message_hub.runtime_info.get('best_ckpt'):
        text += f', the best checkpoint is {Path(best).name}'
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if torch.cuda.is_available():
        memory = torch.cuda.max_memory_allocated() / 2**20
    runner.logger.info(f'{text}; peak memory {memory:,.0f} MiB')


def _describe_machine(seed: int) -> str:
    device = get_device()
    name = torch.cuda.get_device_name() if device == 'cuda' else device
    torchvision = version('torchvision')  # importing it takes half a second
    return (f'{name}; Python {platform.python_version()}, torch {torch.__version__}, torchvision {torchvision}, '
            f'MMEngine {mmengine.__version__}, ftcls {__version__}; seed {seed}')


def _check_sources(cfg: Config, splits: Sequence[str], weights: Sequence[str],
                   work_dir: str) -> tuple[dict[str, Dataset], DataReport, dict[str, list]]:
    """Build the datasets, scan their files, and find the weights; what is missing in either is one message."""
    faults: list[str] = []
    datasets, report, samples = {}, DataReport(), {}
    try:
        datasets, report = build_datasets(cfg, splits)
        samples = check_datasets(cfg, datasets, report, work_dir, _build_test_set(cfg, report))
    except UserError as err:
        faults.append(str(unwrapped(err)))
    for source in weights:
        try:
            if is_main_process():  # the others find the file in the cache
                locate_checkpoint(source)
        except UserError as err:
            faults.append(f'{err}{_maker_hint(source, cfg)}')
    patient_barrier()
    faults += [fault for fault in from_main(faults) if fault not in faults]
    if faults:
        raise ConfigError('\n\n'.join(faults))
    return datasets, report, samples


def _build_test_set(cfg: Config, report: DataReport) -> dict[str, Dataset]:
    """Return the test set under its split, if it is another than the validation set and can be built here."""
    val, test = ((cfg.get(f'{split}_dataloader') or {}).get('dataset') for split in ('val', 'test'))
    if test is None or test == val:
        return {}
    try:
        with log_level('ERROR'):
            return build_datasets(cfg, ['test'], report.classes)[0]
    except UserError as err:
        report.notes.append(f'test: not compared with the training images, since it cannot be built: {unwrapped(err)}')
        return {}


def _maker_hint(source: str, cfg: Config) -> str:
    """Return the command that makes a checkpoint in a work dir, which is named after its config; else ''."""
    near = Path(cfg.filename or '.').parent.glob('*.py')
    makers = [file for file in (*near, *config_folder().rglob('*.py')) if file.stem == Path(source).parent.name]
    if not makers or '://' in source:
        return ''
    names = {file: name for name, file in shipped_configs().items()}
    return f'. Make it first: {command("train", names.get(makers[0], os.path.relpath(makers[0])))}'


def _weight_sources(cfg: Config) -> Iterator[str]:
    """Yield every checkpoint that a config loads."""
    for component in iter_pretrained(cfg.model):
        yield from (one['checkpoint'] for one in as_list(component['init_cfg']) if one.get('type') == 'Pretrained')
    yield from as_list(cfg.get('load_from') or [])


def build_runner(cfg: Config, loaders: Mapping[str, DataLoader], hooks: Sequence[Hook] = ()) -> Runner:
    """Build MMEngine's Runner around dataloaders that are built already.

    Args:
        cfg: A resolved config; it is not changed.
        loaders: ``{'train': DataLoader, 'val': …, 'test': …}``; a split that is absent is left out of the run.
        hooks: Hook objects to add.
    """
    keep_freed_memory()
    settings = copy.deepcopy(cfg)  # MMEngine changes the dicts that it is given
    names = [*_RUNNER_KEYS, *chain.from_iterable(map(_SPLIT_KEYS.get, loaders))]
    parts = {name: settings[name] for name in names if name in settings}
    parts |= {f'{split}_dataloader': loader for split, loader in loaders.items()}
    with config_errors('model, hooks or visualizer'):
        return CompatRunner(cfg=cfg, custom_hooks=[*(settings.get('custom_hooks') or []), *hooks], **parts)
