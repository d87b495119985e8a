"""Keeping a recipe's total batch size when the number of processes differs from the recipe's."""
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mmengine.config import Config

from ftcls.utils import ConfigError, did_you_mean
from ftcls.utils.names import plural
from ftcls.utils.tree import walk
from .choices import BATCH_POLICIES, LAUNCHERS
from .epochs import stretched

__all__ = ['BATCH_POLICIES', 'BatchPlan', 'LAUNCHERS', 'apply_batch_policy']

Changes = dict[str, Any]


@dataclass(frozen=True)
class BatchPlan:
    """The numbers that a run trains with.

    Attributes:
        policy: One of ``BATCH_POLICIES``.
        per_device: Images per process and forward pass.
        world_size: Number of processes.
        accumulation: Batches whose gradients are added up before the optimizer steps.
        recipe_total: ``auto_scale_lr.base_batch_size``, or None where the config states no total.
        why: One sentence on what was done.
    """
    policy: str
    per_device: int
    world_size: int
    accumulation: int
    recipe_total: int | None
    why: str = ''

    @property
    def total(self) -> int:
        """Images per optimizer step."""
        return self.per_device * self.world_size * self.accumulation

    def describe(self) -> str:
        """Return the line that the preflight shows."""
        text = f'{self.total} images per step = {self.per_device} per process x {_processes(self.world_size)}'
        if self.accumulation > 1:
            text += f' x {self.accumulation} accumulated'
        return f'{text}; {self.why}'


def _processes(count: int) -> str:
    return plural(count, 'process', 'es')


def apply_batch_policy(cfg: Config, policy: str | None, world_size: int) -> tuple[BatchPlan, Changes]:
    """Find the batch size, accumulation or learning rate that respects the recipe's total batch size.

    Args:
        cfg: The config; it is not changed.
        policy: One of ``BATCH_POLICIES``; None takes the config's ``batch_policy``, then ``'accumulate'``.
        world_size: Number of processes.

    Returns:
        The plan, and the config keys to change with their new values.

    Raises:
        ConfigError: If the policy is unknown, or the total cannot be met exactly.
    """
    policy = policy or cfg.get('batch_policy') or 'accumulate'
    if policy not in BATCH_POLICIES:
        raise ConfigError(f'--batch-policy {policy!r} is unknown{did_you_mean(policy, BATCH_POLICIES)}')
    if (per_device := cfg.train_dataloader.get('batch_size')) is None:
        return BatchPlan('none', 1, world_size, 1, None, why='train_dataloader has a batch_sampler, which is kept'), {}
    scaling = cfg.get('auto_scale_lr') or {}
    changes: Changes = {}
    if scaling.get('enable'):
        policy = 'scale-lr'
        changes['auto_scale_lr.enable'] = False  # MMEngine would scale the rates again, without regard to accumulation
    recipe = scaling.get('base_batch_size')
    plan = BatchPlan(policy, per_device, world_size, int(cfg.optim_wrapper.get('accumulative_counts', 1)), recipe)
    if recipe is None:
        if policy == 'scale-lr':
            raise ConfigError('--batch-policy scale-lr: needs auto_scale_lr.base_batch_size in the config; add it')
        return replace(plan, policy='none', why='the config states no total (auto_scale_lr)'), changes
    if plan.total == recipe:
        return replace(plan, why=f'as in the recipe ({recipe})'), changes
    if policy == 'none':
        return replace(plan, why=f'the recipe has {recipe}; nothing was adapted (batch policy none)'), changes
    plan, more = _POLICIES[policy](cfg, plan)
    return plan, {**changes, **more}


def _quotient(plan: BatchPlan, divisor: int, product: str, fix: str) -> int:
    """Return the recipe's total over a divisor, which `product` spells out; it must be a multiple of it."""
    if plan.recipe_total % divisor:
        what = f'--batch-policy {plan.policy}: auto_scale_lr.base_batch_size={plan.recipe_total}'
        raise ConfigError(f'{what} is no multiple of {product}; {fix}, or choose --batch-policy scale-lr or none')
    return plan.recipe_total // divisor


def _accumulate(cfg: Config, plan: BatchPlan) -> tuple[BatchPlan, Changes]:
    recipe, at_once = plan.recipe_total, plan.per_device * plan.world_size
    fitting = [b for b in range(1, plan.per_device + 1) if recipe % (b * plan.world_size) == 0]
    fix = f'set train_dataloader.batch_size to {fitting[-1]}' if fitting else 'use another number of processes'
    new = _quotient(plan, at_once, f'{plan.per_device} images x {_processes(plan.world_size)} = {at_once}', fix)
    changes = {'optim_wrapper.accumulative_counts': new, **_stretched_iterations(cfg, new, plan.accumulation)}
    return replace(plan, accumulation=new, why=f'the recipe\'s {recipe}, by accumulating gradients'), changes


def _stretched_iterations(cfg: Config, new: int, old: int) -> Changes:
    """An iteration is one batch for MMEngine: counts of iterations grow with the accumulation; epochs do not."""
    counting = [(path, one) for path, one in _schedulers(cfg) if not one.get('by_epoch', True)]
    if not cfg.train_cfg.get('by_epoch', 'IterBased' not in cfg.train_cfg.get('type', '')):
        counting.append(('train_cfg', cfg.train_cfg))
    return {f'{path}.{key}': value for path, one in counting for key, value in stretched(one, new / old).items()}


def _per_device(cfg: Config, plan: BatchPlan) -> tuple[BatchPlan, Changes]:
    product = f'{_processes(plan.world_size)} x {plan.accumulation} accumulated batches'
    new = _quotient(plan, plan.world_size * plan.accumulation, product, 'use another number')
    why = f'the recipe\'s {plan.recipe_total}, by taking {new} instead of {plan.per_device} per process'
    return replace(plan, per_device=new, why=why), {'train_dataloader.batch_size': new}


def _scale_lr(cfg: Config, plan: BatchPlan) -> tuple[BatchPlan, Changes]:
    """The linear rule of Goyal et al. 2017 (arXiv:1706.02677), section 2.1, over the batch that one step sees."""
    if (old := cfg.optim_wrapper.optimizer.get('lr')) is None:
        raise ConfigError('--batch-policy scale-lr: needs optim_wrapper.optimizer.lr in the config; set it')
    factor = plan.total / plan.recipe_total
    changes: Changes = {'optim_wrapper.optimizer.lr': old * factor}
    for path, scheduler in _schedulers(cfg):  # absolute rates
        changes.update({f'{path}.{k}': scheduler[k] * factor for k in ('eta_min', 'eta_max') if scheduler.get(k)})
    why = f'the recipe has {plan.recipe_total}, so lr {old:g} x {factor:g} = {old * factor:g} (linear rule)'
    return replace(plan, why=why), changes


def _schedulers(cfg: Config) -> list[tuple[str, Mapping]]:
    """Return the path and the settings of each scheduler."""
    found = walk(cfg.get('param_scheduler') or [], 'param_scheduler')
    return [(path, one) for path, one in found if isinstance(one, Mapping) and 'type' in one]


_POLICIES = {'accumulate': _accumulate, 'per-device': _per_device, 'scale-lr': _scale_lr}
