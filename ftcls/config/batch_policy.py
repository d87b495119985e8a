"""Keeping a recipe's total batch size when the number of processes is another than the recipe's."""
from dataclasses import dataclass

from mmengine.config import Config

from ftcls.utils import ConfigError, did_you_mean

__all__ = ['BATCH_POLICIES', 'BatchPlan', 'LAUNCHERS', 'apply_batch_policy']

LAUNCHERS = ('none', 'pytorch', 'slurm', 'mpi')
BATCH_POLICIES = ('accumulate', 'per-device', 'scale-lr', 'none')

# What counts iterations in a scheduler that is not by epoch, and in an iteration-based loop.
_SCHEDULER_ITERATIONS = ('begin', 'end', 'T_max', 'step_size', 'total_steps', 'milestones')
_LOOP_ITERATIONS = ('max_iters', 'val_begin', 'val_interval')


@dataclass(frozen=True)
class BatchPlan:
    """The numbers that a run trains with.

    Attributes:
        policy: One of ``BATCH_POLICIES``.
        per_device: Images that one process takes through the model at once.
        world_size: Number of processes.
        accumulation: Batches whose gradients are added up before the optimizer steps.
        recipe_total: ``auto_scale_lr.base_batch_size``, or None where the config states no total.
        lr_factor: What the learning rates were multiplied with.
        why: One sentence on what was done.
    """
    policy: str
    per_device: int
    world_size: int
    accumulation: int
    recipe_total: int | None
    lr_factor: float
    why: str

    @property
    def total(self) -> int:
        """Images an optimizer step."""
        return self.per_device * self.world_size * self.accumulation

    def describe(self) -> str:
        """Return the line that the preflight shows."""
        text = f'{self.total} images a step = {self.per_device} a process x {_processes(self.world_size)}'
        if self.accumulation > 1:
            text += f' x {self.accumulation} accumulated'
        return f'{text}; {self.why}'


def _processes(count: int) -> str:
    return f'{count} process' + ('es' if count > 1 else '')


def apply_batch_policy(cfg: Config, policy: str | None, world_size: int) -> BatchPlan:
    """Change batch size, accumulation or learning rate in ``cfg`` so that the recipe's total batch size is respected.

    Args:
        cfg: The config, changed in place.
        policy: One of ``BATCH_POLICIES``; None takes the config's ``batch_policy``, then ``'accumulate'``.
        world_size: Number of processes.

    Raises:
        ConfigError: If the policy is unknown, or the total cannot be met exactly.
    """
    policy = policy or cfg.get('batch_policy') or 'accumulate'
    if policy not in BATCH_POLICIES:
        raise ConfigError(f'--batch-policy {policy!r} is unknown{did_you_mean(policy, BATCH_POLICIES)}')
    per_device = cfg.train_dataloader.get('batch_size')
    if per_device is None:
        return BatchPlan('none', 1, world_size, 1, None, 1.,
                         'train_dataloader has a batch_sampler, which is left alone')
    accumulation = int(cfg.optim_wrapper.get('accumulative_counts', 1))
    recipe = (cfg.get('auto_scale_lr') or {}).get('base_batch_size')
    # `enable` would make MMEngine scale the rates a second time, and without regard to accumulation.
    if cfg.get('auto_scale_lr') and cfg.auto_scale_lr.get('enable'):
        cfg.auto_scale_lr.enable = False
        policy = 'scale-lr'
    total = per_device * world_size * accumulation
    if recipe is None:
        if policy == 'scale-lr':
            raise ConfigError(
                '--batch-policy scale-lr: the config states no auto_scale_lr.base_batch_size to scale from; add it')
        return BatchPlan('none', per_device, world_size, accumulation, None, 1.,
                         'the config states no total (auto_scale_lr)')
    if total == recipe:
        return BatchPlan(policy, per_device, world_size, accumulation, recipe, 1., f'as the recipe has it ({recipe})')
    if policy == 'none':
        return BatchPlan(policy, per_device, world_size, accumulation, recipe, 1.,
                         f'the recipe has {recipe}; nothing was adapted (batch policy none)')
    return _POLICIES[policy](cfg, per_device, world_size, accumulation, recipe)


def _accumulate(cfg: Config, per_device: int, world_size: int, accumulation: int, recipe: int) -> BatchPlan:
    at_once = per_device * world_size
    if recipe % at_once:
        fits = [b for b in range(1, per_device + 1) if recipe % (b * world_size) == 0]
        fix = f'set train_dataloader.batch_size to {fits[-1]}' if fits else 'use another number of processes'
        raise ConfigError(
            f'--batch-policy accumulate: the recipe\'s total of {recipe} images a step '
            f'(auto_scale_lr.base_batch_size) is no multiple of {per_device} images x {_processes(world_size)} '
            f'= {at_once}; {fix}, or choose --batch-policy scale-lr or none')
    new = recipe // at_once
    _stretch_iterations(cfg, new, accumulation)
    cfg.optim_wrapper.accumulative_counts = new
    return BatchPlan('accumulate', per_device, world_size, new, recipe, 1.,
                     f'the recipe\'s {recipe}, by accumulating gradients')


def _stretch_iterations(cfg: Config, new: int, old: int) -> None:
    """An iteration is one batch for MMEngine: counts of iterations grow with the accumulation; epochs do not."""
    if new == old:
        return

    def stretch(value: int | list) -> int | list:
        # An end of `INF` (1e9) means forever and is left alone.
        if isinstance(value, list | tuple):
            return [stretch(v) for v in value]
        return value if value >= 10**9 else value * new // old

    for scheduler in _schedulers(cfg):
        if not scheduler.get('by_epoch', True):
            for key in _SCHEDULER_ITERATIONS:
                if scheduler.get(key) is not None:
                    scheduler[key] = stretch(scheduler[key])
    if not cfg.train_cfg.get('by_epoch', 'IterBased' not in cfg.train_cfg.get('type', '')):
        for key in _LOOP_ITERATIONS:
            if cfg.train_cfg.get(key) is not None:
                cfg.train_cfg[key] = stretch(cfg.train_cfg[key])


def _per_device(cfg: Config, per_device: int, world_size: int, accumulation: int, recipe: int) -> BatchPlan:
    if recipe % (world_size * accumulation):
        by = _processes(world_size) + (f' x {accumulation} accumulated batches' if accumulation > 1 else '')
        raise ConfigError(
            f'--batch-policy per-device: {recipe} images a step (auto_scale_lr.base_batch_size) cannot be split '
            f'evenly over {by}; use another number of processes, or --batch-policy scale-lr or none')
    new = recipe // (world_size * accumulation)
    cfg.train_dataloader.batch_size = new
    return BatchPlan('per-device', new, world_size, accumulation, recipe, 1.,
                     f'the recipe\'s {recipe}, by taking {new} instead of {per_device} a process')


def _scale_lr(cfg: Config, per_device: int, world_size: int, accumulation: int, recipe: int) -> BatchPlan:
    """The linear rule of Goyal et al. 2017 (arXiv:1706.02677), section 2.1, over the batch that one step sees."""
    total = per_device * world_size * accumulation
    factor = total / recipe
    optimizer = cfg.optim_wrapper.optimizer
    if 'lr' not in optimizer:
        raise ConfigError(
            '--batch-policy scale-lr: optim_wrapper.optimizer.lr is not set, so that there is nothing to scale; '
            'set it')
    old = optimizer.lr
    optimizer.lr = old * factor
    for scheduler in _schedulers(cfg):
        for key in ('eta_min', 'eta_max'):  # absolute rates
            if scheduler.get(key):
                scheduler[key] = scheduler[key] * factor
    return BatchPlan('scale-lr', per_device, world_size, accumulation, recipe, factor,
                     f'the recipe has {recipe}, so lr {old:g} x {factor:g} = {optimizer.lr:g} (linear rule)')


def _schedulers(cfg: Config) -> list:
    schedulers = cfg.get('param_scheduler') or []
    return [schedulers] if isinstance(schedulers, dict) else list(schedulers)


_POLICIES = {'accumulate': _accumulate, 'per-device': _per_device, 'scale-lr': _scale_lr}
