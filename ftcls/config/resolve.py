"""From a checked config to the one that a run uses; nothing writes into a config after it.

Here, one function puts into a copy of the config what the command line, the data, a checkpoint or the machine decide.
"""
import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from ftcls.engine.mmengine_compat import ddp_config
from ftcls.engine.optimizers import convert_to_amp
from ftcls.registry import DATASETS, PEERS
from ftcls.utils import ConfigError
from ftcls.utils.checkpoint.adapter_files import is_adapter_config
from ftcls.utils.names import did_you_mean, enumerate_names, plural
from ftcls.utils.processes import usable_cores
from ftcls.utils.tree import as_list, walk
from .batch_policy import BatchPlan, apply_batch_policy
from .epochs import set_epochs

__all__ = [
    'EvalOptions', 'Facts', 'ResolvedConfig', 'TrainOptions', 'balanced_weights', 'dataset_configs', 'iter_pretrained',
    'resolve', 'scope_of', 'type_name', 'with_loss_metric', 'work_dir_of'
]

_DEFAULT_HOOKS = ('SafeCheckpointHook', 'MetricsRecordHook', 'CurvesHook', 'ProgressHook')  # of every run
_FLIPS = [dict(type='RandomFlip', prob=0.), dict(type='RandomFlip', prob=1.)]
_PATIENCE = 240  # seconds to wait for a batch of a worker
_WITH_WORKERS = dict(persistent_workers=False, timeout=0, prefetch_factor=None)
_MOST_WORKERS = 16
_MOST_SEEDS = 2**32


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
        epochs: Train for so many instead of ``train_cfg.max_epochs``, with schedules stretched alike.
    """
    work_dir: str | None = None
    resume: bool | str = False
    amp: bool = False
    validate: bool = True
    batch_policy: str | None = None
    launcher: str = 'none'
    seed: int | None = None
    dry_run: bool = False
    epochs: int | None = None


@dataclass(frozen=True)
class EvalOptions:
    """What the command line adds to a config that is not trained.

    Attributes:
        work_dir: As in :class:`TrainOptions`.
        launcher: As in :class:`TrainOptions`.
        checkpoint: Holds every weight of the model; None keeps what the config loads.
        tta: Test on several views of each image.
    """
    work_dir: str | None = None
    launcher: str = 'none'
    checkpoint: str | None = None
    tta: bool = False


@dataclass(frozen=True)
class Facts:
    """What the machine, the data and a checkpoint decide in a run.

    Attributes:
        world_size: Number of processes.
        checkpoint: The file to resume from; None begins anew.
        meta: What that file says of its run.
        class_counts: Samples per class of the training set; empty where it does not know them, None where nothing is
            trained.
        drawn_seed: The seed where neither the options, the config nor the checkpoint give one.
        loaders: The dataloader's settings in the checkpoint's config, by split.
    """
    world_size: int = 1
    checkpoint: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    class_counts: Mapping[str, int] | None = None
    drawn_seed: int | None = None
    loaders: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class ResolvedConfig:
    """What a run uses.

    Attributes:
        cfg: The config; nothing writes into it.
        batch: How the batch size was resolved; None where nothing is trained.
        notes: What the user is told of the class weights, and of what the config has otherwise.
        workers: How many processes load the images, and why, by split.
    """
    cfg: Config
    batch: BatchPlan | None
    notes: list[str]
    workers: dict[str, str]


def resolve(cfg: Config, options: TrainOptions | EvalOptions, facts: Facts = Facts()) -> ResolvedConfig:
    """Return the config that a run uses.

    Args:
        cfg: A valid config; it is not changed.
        options: What the command line adds.
        facts: What the machine, the data and a checkpoint decide.

    Raises:
        ConfigError: If an option does not fit the config, the batch size cannot be met, or the training set lacks the
            counts that class weights need.
    """
    run = copy.deepcopy(cfg)
    run.default_scope = scope_of(cfg)
    run.work_dir = work_dir_of(cfg, options)
    run.launcher = options.launcher
    if options.launcher != 'none':
        run.setdefault('model_wrapper_cfg', ddp_config(run.get('find_unused_parameters', False)))
    workers = {}
    for split in ('train', 'val', 'test'):
        loader = run.get(f'{split}_dataloader')
        if loader and 'shuffle' not in loader:  # MMEngine asks for the key
            loader.setdefault('sampler', dict(type='DefaultSampler', shuffle=split == 'train'))
        if loader:
            workers[split] = _resolve_workers(loader, split == 'train', facts.loaders.get(split))
    for key in ('val_evaluator', 'test_evaluator'):
        if run.get(key):
            run[key] = with_loss_metric(run[key])
    custom = list(run.get('custom_hooks') or [])
    names = {type_name(hook) for hook in [*custom, *(run.get('default_hooks') or {}).values()]}
    run.custom_hooks = [dict(type=name) for name in _DEFAULT_HOOKS if name not in names] + custom
    batch, stretched = None, []
    if isinstance(options, TrainOptions):
        stretched = set_epochs(run, options.epochs)
        batch = _resolve_training(run, options, facts)
    else:
        run.resume = False
        if options.checkpoint is not None:
            _load_all_weights(run, options.checkpoint)
        if options.tta:
            _test_on_views(run)
    notes = _resolve_class_weights(run, facts.class_counts)
    if run.default_scope != cfg.get('default_scope', 'ftcls'):
        notes.append(f'default_scope={cfg.default_scope!r} is read as {run.default_scope!r}')
    return ResolvedConfig(run, batch, notes + stretched, workers)


def _resolve_workers(loader: dict[str, Any], persistent: bool, before: Mapping[str, Any] | None) -> str:
    """Choose the number of workers where the config does not, and what goes with it; return what the preflight shows.

    Random numbers depend on both, so that a resumed run keeps what its checkpoint's config says.
    """
    if before is not None:
        persistent = before.get('persistent_workers', False)
    cores, number = usable_cores(), loader.get('num_workers', 'auto')
    why = f'auto: {plural(cores, "usable core")}'
    if number != 'auto' and number > cores:
        why = f'NOTE: more than {plural(cores, "usable core")}'
    elif number != 'auto':
        why = 'as given'
    elif before is not None:
        number, why = before.get('num_workers', 0), 'auto: as in the checkpoint'
    elif all(getattr(DATASETS.get(one['type']), 'IN_MEMORY', False) for one in dataset_configs(loader['dataset'])):
        number, why = 0, 'auto: the images are in memory'
    elif cores == 1 and not torch.cuda.is_available():
        number = 0
    else:
        number = min(cores, _MOST_WORKERS)
    loader['num_workers'] = number
    if torch.cuda.is_available():
        loader.setdefault('pin_memory', True)
    if number:
        loader.setdefault('timeout', _PATIENCE)
        loader.setdefault('persistent_workers', persistent)
    else:  # torch refuses these without workers
        loader.update({key: off for key, off in _WITH_WORKERS.items() if key in loader})
    return f'{number} ({why})'


def work_dir_of(cfg: Config, options: TrainOptions | EvalOptions) -> str:
    """Return where a run writes."""
    return options.work_dir or cfg.get('work_dir') or str(Path('work_dirs') / Path(cfg.filename or 'run').stem)


def scope_of(cfg: Config) -> str:
    """Return the scope of a config's types.

    Raises:
        ConfigError: If it resembles ours or a peer's, and there is no such package.
    """
    if (scope := cfg.get('default_scope') or 'ftcls') in ('ftcls', *PEERS):
        return 'ftcls'
    if (hint := did_you_mean(scope, ('ftcls', *PEERS), lists=False)) and find_spec(scope) is None:
        raise ConfigError(f'default_scope={scope!r}: no package has this name{hint}')
    return scope


def _resolve_training(run: Config, options: TrainOptions, facts: Facts) -> BatchPlan | None:
    if not options.validate:
        run.val_dataloader = run.val_cfg = run.val_evaluator = None
    if options.amp:
        run.optim_wrapper = convert_to_amp(run.optim_wrapper)
    randomness = run.get('randomness') or {}
    run.randomness = {**randomness, 'seed': _choose_seed(options.seed, randomness.get('seed'), facts)}
    run.resume = facts.checkpoint is not None
    if run.resume:
        _load_all_weights(run, facts.checkpoint)
    _resolve_speed(run)
    if not run.get('train_dataloader'):
        return None
    batch, changes = apply_batch_policy(run, options.batch_policy, facts.world_size)
    run.merge_from_dict(changes, allow_list_keys=True)
    return batch


def _resolve_speed(run: Config) -> None:
    """Compile where ``speed`` says so; raise a ConfigError where it contradicts another key of the config."""
    speed, env = run.get('speed'), run.get('env_cfg') or {}
    if not isinstance(speed, Mapping):
        return
    is_amp = type_name(run.get('optim_wrapper')) == 'AmpOptimWrapper'
    is_exact = run.randomness.get('deterministic')
    # keys beside those of `speed` that set the same
    elsewhere = [('amp', is_amp or None, 'optim_wrapper.type or --amp'), ('compile', run.get('compile'), 'compile'),
                 ('cudnn_benchmark', env.get('cudnn_benchmark'), 'env_cfg.cudnn_benchmark'),
                 ('cudnn_benchmark', False if is_exact else None, 'randomness.deterministic=True')]
    for key, value, place in elsewhere:
        if value is not None and speed.get(key, 'auto') not in ('auto', bool(value)):
            raise ConfigError(f'speed.{key}={speed[key]!r}, but {place} says otherwise: remove one of them')
    if speed.get('compile') is True:
        run.setdefault('compile', True)


def _choose_seed(given: int | None, configured: int | None, facts: Facts) -> int | None:
    """Return the seed: the same in all processes, and the same after a resume as before it."""
    seeds = (given, configured, facts.meta.get('seed'), facts.drawn_seed)
    seed = next((one for one in seeds if one is not None), None)
    if seed is not None and not 0 <= seed < _MOST_SEEDS:
        raise ConfigError(f'--seed {seed}: must be from 0 to {_MOST_SEEDS - 1}, as randomness.seed')
    return seed


def _load_all_weights(run: Config, checkpoint: str) -> None:
    """Load this checkpoint, and nothing before it, since it holds every weight, unless it is an adapter's."""
    run.load_from = checkpoint
    if is_adapter_config(run.model):
        return
    for component in list(iter_pretrained(run.model)):
        others = [one for one in as_list(component['init_cfg']) if type_name(one) != 'Pretrained']
        component['init_cfg'] = others or None


def iter_pretrained(model: Mapping) -> Iterator[dict]:
    """Yield the component dicts whose ``init_cfg`` loads a checkpoint."""
    for _, node in walk(model):
        if isinstance(node, Mapping) and 'Pretrained' in map(type_name, as_list(node.get('init_cfg') or [])):
            yield node


def type_name(component: Any) -> str:
    """Return the class name that a component's dict asks for, without its scope; ``''`` if it names none."""
    kind = component.get('type') if isinstance(component, Mapping) else None
    return getattr(kind, '__name__', str(kind or '')).rpartition('.')[2]


def _with_metrics(evaluator: Any, change: Callable[[list], list]) -> Any:
    """Return an evaluator's config with its list of metrics changed."""
    if isinstance(evaluator, Mapping) and 'metrics' in evaluator:
        return {**evaluator, 'metrics': change(as_list(evaluator['metrics']))}
    return change(as_list(evaluator))


def with_loss_metric(evaluator: Any) -> Any:
    """Return an evaluator's config that measures the loss too."""

    def add_loss(metrics: list) -> list:
        loss = dict(type='LossMetric', is_optional=True)
        return metrics if 'LossMetric' in map(type_name, metrics) else [*metrics, loss]

    return _with_metrics(evaluator, add_loss)


def _without_loss_metric(evaluator: Any) -> Any:
    return _with_metrics(evaluator, lambda metrics: [one for one in metrics if type_name(one) != 'LossMetric'])


def dataset_configs(node: Any) -> Iterator[dict]:
    """Yield the dataset dicts in the ``dataset`` of a dataloader, those inside wrappers."""
    if isinstance(node, list | tuple):
        for child in node:
            yield from dataset_configs(child)
    elif isinstance(node, Mapping):
        if (inner := node.get('dataset', node.get('datasets'))) is None:
            yield node
        else:
            yield from dataset_configs(inner)


def _test_on_views(run: Config) -> None:
    """Average the predictions for several views of each test image.

    ``tta_pipeline`` replaces the test's pipeline. Without it, the test's own pipeline gives two views, the image and
    its mirror image. ``tta_model`` merges the predictions; without it, ``AverageClsScoreTTA`` does.
    """
    if (given := run.get('tta_pipeline')) and type_name(given[-1]) != 'TestTimeAug':
        raise ConfigError("tta_pipeline: must end with TestTimeAug(transforms=[…, [dict(type='PackInputs')]])")
    for dataset in dataset_configs((run.get('test_dataloader') or {}).get('dataset')):
        *steps, pack = dataset.get('pipeline') or [None]
        dataset['pipeline'] = given or [*steps, dict(type='TestTimeAug', transforms=[_FLIPS, [pack]])]
    model = run.get('tta_model') or dict(type='AverageClsScoreTTA')
    run.custom_hooks = [*run.custom_hooks, dict(type='PrepareTTAHook', tta_cfg=dict(model))]
    if run.get('test_evaluator'):
        run.test_evaluator = _without_loss_metric(run.test_evaluator)  # only a single view has a loss


def balanced_weights(counts: Mapping[str, int]) -> dict[str, float]:
    """Return n / (K n_c) of each class: all classes then count the same, and a sample 1 on average.

    K counts only the classes that have samples; the weight of the others, which is never used, is 1.

    Example:
        >>> balanced_weights(dict(ant=30, bee=10))
        {'ant': 0.6667, 'bee': 2.0}
    """
    present = [count for count in counts.values() if count]
    return {name: round(sum(present) / (len(present) * n), 4) if n else 1. for name, n in counts.items()}


def _resolve_class_weights(run: Config, counts: Mapping[str, int] | None) -> list[str]:
    """Replace every ``class_weight='balanced'`` of the model by numbers, or by None where nothing is trained."""
    nodes = [(path, node) for path, node in walk(run.model, 'model') if isinstance(node, Mapping)]
    if not (losses := {path: node for path, node in nodes if node.get('class_weight') == 'balanced'}):
        return []
    paths, numbers = ', '.join(losses), None
    if counts is None:
        notes = [f"{paths}: class_weight='balanced' weighs in training only; the loss here is not weighted"]
    elif not counts:
        raise ConfigError(f"{paths}.class_weight='balanced': no counts of the training set; give a list")
    else:
        weights = balanced_weights(counts)
        numbers = list(weights.values())
        shown = enumerate_names(f'{name} {weight:.3g}' for name, weight in weights.items())
        notes = [f'class_weight of {paths}: {shown} (balanced)']
        if type_name(run.train_dataloader.get('sampler')) == 'BalancedSampler':
            notes.append('NOTE: the sampler balances the classes, and the weights do so once more')
    for loss in losses.values():
        loss['class_weight'] = numbers
    return notes
