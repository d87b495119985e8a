"""The learning rates and momentum of a config's schedules, without training."""
import copy
import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from torch import nn
from torch.optim import Optimizer

from ftcls.apis.inference.model_zoo import build_model
from ftcls.apis.training.learning import iter_scheduled
from ftcls.apis.training.loaders import build_datasets
from ftcls.apis.training.sanity_checks import config_errors
from ftcls.apis.training.train import check_config
from ftcls.config.resolve import Facts, TrainOptions, resolve, type_name
from ftcls.engine.hooks import GradualUnfreezingHook
from ftcls.registry import HOOKS, PARAM_SCHEDULERS
from ftcls.utils import ConfigError, UserError
from ftcls.utils.errors import unwrapped
from ftcls.utils.tree import as_list
from ftcls.visualization import plot_schedule

__all__ = ['EpochLength', 'Schedule', 'draw_schedule', 'trace_schedule']


@dataclass(frozen=True)
class EpochLength:
    """Iterations of an epoch, or samples of the training set, by default the config's, shared by processes."""
    iters: int | None = None
    samples: int | None = None
    processes: int = 1


@dataclass(frozen=True)
class Schedule:
    """The rates of each iteration of a run.

    Attributes:
        lr: Name of a group of the optimizer to its learning rate in each iteration.
        momentum: The same for momentum (Adam's beta 1); empty if no schedule changes it.
        notes: How the length of an epoch was found, when the stages are unfrozen, and what cannot be drawn.
        begins: Name of a group to the iteration at which its first parameter is unfrozen, if a hook unfreezes.
        joins: Iteration to what is trained in addition from then on.
    """
    lr: dict[str, list[float]]
    momentum: dict[str, list[float]]
    iters_per_epoch: int
    notes: list[str]
    begins: dict[str, int] = field(default_factory=dict)
    joins: dict[int, str] = field(default_factory=dict)

    def describe(self) -> list[str]:
        """Return the notes, and the first, least, largest and last value of each group."""
        lines = list(self.notes)
        for kind, series in (('lr', self.lr), ('momentum', self.momentum)):
            for name, values in series.items():
                begin, text = self.begins.get(name, 0), 'never trained'
                if values := values[begin:]:
                    if begin:
                        name += f' from iteration {begin + 1} on'
                    text = f'first {values[0]:g}, from {min(values):g} to {max(values):g}, last {values[-1]:g}'
                lines.append(f'{kind} of {name}: {text}')
        return lines


def trace_schedule(cfg: Config, length: EpochLength | None = None) -> Schedule:
    """Run a config's schedulers over all its iterations, on an optimizer with the config's parameter groups.

    The model is built, without its weights. ConfigError if the length of an epoch cannot be found.
    """
    length = length or EpochLength()
    for name, value in asdict(length).items():
        if value is not None and value < 1:
            raise ConfigError(f'{name} of an epoch: must be at least 1, got {value}')
    options = TrainOptions()
    cfg = check_config(cfg, options, 'train_dataloader, train_cfg, optim_wrapper', 'there is no training to schedule')
    cfg = resolve(cfg, options, Facts(length.processes)).cfg
    iters, note = _iters_per_epoch(cfg, length)
    epoch = total = cfg.train_cfg.get('max_iters')  # one long epoch for MMEngine
    if 'max_epochs' in cfg.train_cfg:
        epoch, total = iters, cfg.train_cfg.max_epochs * iters
    with config_errors('model, optim_wrapper'):
        model = build_model(cfg)
        optimizer = build_optim_wrapper(model, copy.deepcopy(cfg.optim_wrapper)).optimizer
        groups = optimizer.param_groups
    with config_errors('param_scheduler'), warnings.catch_warnings():
        warnings.filterwarnings('ignore', r'Detected call of `scheduler\.step')
        schedulers = list(_build_schedulers(cfg, optimizer, iters, total // epoch, total))
        rates, momenta = [], []
        for _ in iter_scheduled(schedulers, epoch, total):
            rates.append([float(group['lr']) for group in groups])
            momenta.append([float(group.get('betas', [group.get('momentum', 0.)])[0]) for group in groups])
    names = [group.get('name') or f'group {i}' for i, group in enumerate(groups)]
    names = [name if names.index(name) == i else f'{name} {i}' for i, name in enumerate(names)]  # a name may come again
    lr, momentum = (dict(zip(names, map(list, zip(*values)))) for values in (rates, momenta))
    if all(one == momenta[0] for one in momenta):
        momentum = {}
    led = [type(one).__name__ for one in schedulers if hasattr(one, 'monitor')]
    notes = [note, *(f'{name} follows the validation: drawn as if it never changed the rate' for name in led)]
    begins, joins, plan = _unfreezing(cfg, model, dict(zip(names, groups)), epoch, total)
    return Schedule(lr, momentum, iters, notes + plan, begins, joins)


def draw_schedule(cfg: Config, out: str | Path, length: EpochLength | None = None) -> Schedule:
    """Draw :func:`trace_schedule` as a PNG file, and return it."""
    schedule = trace_schedule(cfg, length)
    title = Path(getattr(cfg, 'filename', None) or 'schedule').stem
    plot_schedule(schedule.lr, schedule.momentum, schedule.iters_per_epoch, out, title, schedule.begins, schedule.joins)
    return schedule


def _iters_per_epoch(cfg: Config, length: EpochLength) -> tuple[int, str]:
    if length.iters is not None:
        return length.iters, f'{length.iters} iterations per epoch, as given'
    samples, source = length.samples, 'given'
    if samples is None:
        source = 'in the training set'
        try:
            samples = len(build_datasets(cfg, ['train'])[0]['train'])
        except UserError as err:
            raise ConfigError('the length of an epoch is unknown, since the training set cannot be read; give '
                              f'--dataset-size or --iters-per-epoch ({unwrapped(err)})') from err
    if (batch := cfg.train_dataloader.get('batch_size')) is None:
        raise ConfigError('train_dataloader.batch_sampler decides the length of an epoch; give --iters-per-epoch')
    rounded = math.floor if cfg.train_dataloader.get('drop_last') else math.ceil
    iters = max(1, rounded(math.ceil(samples / length.processes) / batch))
    note = f'{iters} iterations per epoch: {samples:,} samples {source}, batches of {batch}'
    if length.processes > 1:
        note += f' on each of {length.processes} processes'
    return iters, note


def _build_schedulers(cfg: Config, optimizer: Optimizer, iters: int, epochs: int, total: int) -> Iterator[Any]:
    """Build the schedulers as the Runner does: by default they end with the run, at an epoch or an iteration."""
    for config in as_list(cfg.get('param_scheduler') or []):
        end = epochs if config.get('by_epoch', True) else total
        yield PARAM_SCHEDULERS.build({'end': end, **config}, default_args=dict(optimizer=optimizer, epoch_length=iters))


def _unfreezing(cfg: Config, model: nn.Module, groups: Mapping[str, dict], epoch: int,
                total: int) -> tuple[dict[str, int], dict[int, str], list[str]]:
    """Return when each group begins to learn, what joins when (both in iterations), and the plan in words."""
    with config_errors('custom_hooks'):
        hook = next((HOOKS.build(dict(one)) for one in cfg.get('custom_hooks') or [] if _unfreezes(one)), None)
    if hook is None:
        return {}, {}, []
    hook.check_loop('max_epochs' in cfg.train_cfg)
    unit = epoch if hook.by_epoch else 1
    plan = hook.plan(model, total // unit)
    begin_of = plan.begins()
    starts = {id(param): begin_of[name] * unit for name, param in model.named_parameters() if name in begin_of}
    begins = {name: min(starts[id(param)] for param in group['params']) for name, group in groups.items()}
    joins = {at * unit: text for at, text in plan.joining().items() if at * unit < total}
    return begins, joins, plan.describe(total // unit)


def _unfreezes(hook: Any) -> bool:
    kind = HOOKS.get(type_name(hook))
    return isinstance(kind, type) and issubclass(kind, GradualUnfreezingHook)
