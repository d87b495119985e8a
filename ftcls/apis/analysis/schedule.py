"""What a config's schedules do to learning rates and momentum, without training."""
import copy
import math
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from torch import nn
from torch.optim import Optimizer

from ftcls.apis.training.loaders import build_datasets
from ftcls.apis.training.sanity_checks import config_errors
from ftcls.apis.training.train import check_config
from ftcls.config.resolve import Facts, TrainOptions, resolve
from ftcls.engine.hooks import GradualUnfreezingHook
from ftcls.registry import HOOKS, MODELS, PARAM_SCHEDULERS
from ftcls.utils import ConfigError, UserError
from ftcls.utils.errors import unwrapped
from ftcls.visualization import plot_schedule

__all__ = ['EpochLength', 'Schedule', 'draw_schedule', 'trace_schedule']


@dataclass(frozen=True)
class EpochLength:
    """Where the number of iterations of an epoch comes from; with neither number, from the config's training set.

    Attributes:
        iters: Iterations of an epoch.
        samples: Samples of the training set.
        processes: Processes that share an epoch.
    """
    iters: int | None = None
    samples: int | None = None
    processes: int = 1


@dataclass(frozen=True)
class Schedule:
    """What each iteration of a run trains with.

    Attributes:
        lr: Name of a group of the optimizer to its learning rate in each iteration.
        momentum: The same of momentum (of Adam: beta 1); empty where no schedule changes it.
        iters_per_epoch: Iterations of an epoch.
        notes: How that number was had, from when the stages learn, and what cannot be drawn.
        begins: Name of a group to the iterations before its first parameter is trained, where a hook unfreezes.
        joins: Iterations done to what is trained from then on besides.
    """
    lr: dict[str, list[float]]
    momentum: dict[str, list[float]]
    iters_per_epoch: int
    notes: list[str]
    begins: dict[str, int] = field(default_factory=dict)
    joins: dict[int, str] = field(default_factory=dict)


def trace_schedule(cfg: Config, length: EpochLength | None = None) -> Schedule:
    """Run a config's schedulers over all its iterations, on an optimizer with the config's parameter groups.

    Args:
        cfg: The config; it is not changed. Its model is built, without its weights; nothing is trained.
        length: Where the length of an epoch comes from.

    Raises:
        UserError: If anything in the config is not as it says, or the length of an epoch cannot be had.
    """
    length = length or EpochLength()
    for name in ('iters', 'samples', 'processes'):
        value = getattr(length, name)
        if value is not None and value < 1:
            raise ConfigError(f'{name} of an epoch: must be at least 1, got {value}')
    check_config(cfg, TrainOptions())
    if not cfg.get('train_dataloader'):
        raise ConfigError(
            'train_dataloader: missing, with train_cfg and optim_wrapper; there is no training to schedule')
    cfg = resolve(cfg, TrainOptions(), Facts(length.processes)).cfg
    iters, note = _iters_per_epoch(cfg, length)
    # a loop by iterations is one long epoch for MMEngine
    total = cfg.train_cfg.max_epochs * iters if 'max_epochs' in cfg.train_cfg else cfg.train_cfg.max_iters
    epoch = iters if 'max_epochs' in cfg.train_cfg else total
    with config_errors('model, optim_wrapper'):
        model = MODELS.build({'data_preprocessor': cfg.get('data_preprocessor'), **cfg.model})
        optimizer = build_optim_wrapper(model, copy.deepcopy(cfg.optim_wrapper)).optimizer
    names = _group_names(optimizer)
    with config_errors('param_scheduler'), warnings.catch_warnings():
        warnings.filterwarnings('ignore', r'Detected call of `scheduler\.step')
        schedulers = _build(cfg, optimizer, iters, {True: total // epoch, False: total})
        values = list(_run(optimizer, schedulers, epoch, total))
    lr, momentum = ({name: [row[kind][i] for row in values] for i, name in enumerate(names)} for kind in (0, 1))
    constant = all(len(set(series)) == 1 for series in momentum.values())
    notes = [note] + [
        f'{type(s).__name__} follows the validation, which is not known here: drawn as if it never acted'
        for s in schedulers if hasattr(s, 'monitor')
    ]
    begins, joins, plan = _unfreezing(cfg, model, dict(zip(names, optimizer.param_groups)), epoch, total)
    return Schedule(lr, {} if constant else momentum, iters, notes + plan, begins, joins)


def draw_schedule(cfg: Config, out: str | Path, length: EpochLength | None = None) -> Schedule:
    """Draw :func:`trace_schedule` as a PNG file, and return it."""
    schedule = trace_schedule(cfg, length)
    title = Path(cfg.filename).stem if cfg.filename else 'schedule'
    plot_schedule(schedule.lr, schedule.momentum, schedule.iters_per_epoch, out, title, schedule.begins, schedule.joins)
    return schedule


def _iters_per_epoch(cfg: Config, length: EpochLength) -> tuple[int, str]:
    """Return the iterations of an epoch, and where they come from."""
    processes = f' over {length.processes} processes' if length.processes > 1 else ''
    if length.iters is not None:
        return length.iters, f'{length.iters} iterations an epoch, as given'
    samples, whence = length.samples, 'given'
    if samples is None:
        try:
            samples, whence = len(build_datasets(cfg, ['train'])[0]['train']), 'in the training set'
        except UserError as err:
            raise ConfigError('the length of an epoch is not known, since the training set cannot be read; give '
                              f'--dataset-size or --iters-per-epoch ({unwrapped(err)})') from err
    batch = cfg.train_dataloader.get('batch_size')
    if batch is None:
        raise ConfigError(
            'train_dataloader has a batch_sampler: the length of an epoch hangs on it; give --iters-per-epoch')
    rounded = math.floor if cfg.train_dataloader.get('drop_last') else math.ceil
    iters = max(1, rounded(math.ceil(samples / length.processes) / batch))
    return iters, f'{iters} iterations an epoch: {samples:,} samples {whence}, {batch} a batch{processes}'


def _build(cfg: Config, optimizer: Optimizer, iters: int, ends: dict[bool, int]) -> list:
    """Build the schedulers as the Runner does: they end with the run, by epoch or not, and know the length of an epoch."""
    given = cfg.get('param_scheduler') or []
    built = []
    for config in [given] if isinstance(given, dict) else given:
        config = copy.deepcopy(config)
        config.setdefault('end', ends[config.get('by_epoch', True)])
        built.append(PARAM_SCHEDULERS.build(config, default_args=dict(optimizer=optimizer, epoch_length=iters)))
    return built


def _run(optimizer: Optimizer, schedulers: list, epoch: int, total: int) -> Iterable[tuple[list[float], list[float]]]:
    """Yield the learning rates and the momenta of all groups in each iteration."""
    for done in range(1, total + 1):
        groups = optimizer.param_groups
        yield [float(g['lr']) for g in groups], [_momentum(g) for g in groups]
        for scheduler in schedulers:
            if not scheduler.by_epoch or done % epoch == 0:
                scheduler.step()


def _unfreezing(cfg: Config, model: nn.Module, groups: Mapping[str, dict], epoch: int,
                total: int) -> tuple[dict[str, int], dict[int, str], list[str]]:
    """Return when each group begins to learn and what joins when, both by iteration, and the plan in words."""
    with config_errors('custom_hooks'):
        hooks = [HOOKS.build(dict(h)) for h in cfg.get('custom_hooks') or [] if _unfreezes(h)]
    if not hooks:
        return {}, {}, []
    hook = hooks[0]
    hook.check_loop('max_epochs' in cfg.train_cfg)
    unit = epoch if hook.by_epoch else 1
    starts = hook.plan(model, total // unit)
    of_param = {id(p): starts[name] * unit for name, p in model.named_parameters() if name in starts}
    begins = {name: min(of_param[id(p)] for p in group['params']) for name, group in groups.items()}
    return begins, {
        at * unit: text
        for at, text in hook.joining(model).items() if at * unit < total
    }, hook.describe(model, total // unit)


def _unfreezes(hook: Any) -> bool:
    kind = hook.get('type') if isinstance(hook, Mapping) else None
    kind = HOOKS.get(kind) if isinstance(kind, str) else kind
    return isinstance(kind, type) and issubclass(kind, GradualUnfreezingHook)


def _momentum(group: dict[str, Any]) -> float:
    value = group['betas'][0] if 'betas' in group else group.get('momentum', 0.)
    return float(value.item() if isinstance(value, torch.Tensor) else value)


def _group_names(optimizer: Optimizer) -> list[str]:
    """Name the groups; of several with one name, the later ones with a number."""
    names: list[str] = []
    for i, group in enumerate(optimizer.param_groups):
        name = group.get('name') or f'group {i}'
        names.append(f'{name} {i}' if name in names else name)
    return names
