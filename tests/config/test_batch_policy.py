"""The recipe's total batch size on any number of processes."""
import pytest
from mmengine.config import Config

from ftcls.config.batch_policy import BatchPlan
from ftcls.config.batch_policy import apply_batch_policy as plan_batch
from ftcls.utils import ConfigError


def recipe(batch=16, total=128, lr=0.1, **optim):
    return Config(
        dict(
            train_dataloader=dict(batch_size=batch),
            train_cfg=dict(by_epoch=True, max_epochs=3),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=lr), **optim),
            auto_scale_lr=dict(base_batch_size=total) if total else None))


def apply_batch_policy(cfg: Config, policy: str | None, world: int) -> BatchPlan:
    """Return the plan, and write its changes into the config, as `resolve` does into its copy."""
    before = cfg.to_dict()
    plan, changes = plan_batch(cfg, policy, world)
    assert cfg.to_dict() == before
    cfg.merge_from_dict(changes, allow_list_keys=True)
    return plan


@pytest.mark.parametrize(('world', 'accumulation'), [(1, 8), (2, 4), (8, 1)])
def test_accumulation_meets_the_total_by_default(world, accumulation):
    cfg = recipe()
    plan = apply_batch_policy(cfg, None, world)
    assert plan.total == 128
    assert plan.accumulation == cfg.optim_wrapper.get('accumulative_counts', 1) == accumulation
    assert (cfg.train_dataloader.batch_size, cfg.optim_wrapper.optimizer.lr) == (16, 0.1)
    assert '128 images per step' in plan.describe()


def test_per_device_splits_the_total():
    cfg = recipe()
    plan = apply_batch_policy(cfg, 'per-device', 2)
    assert (plan.total, cfg.train_dataloader.batch_size) == (128, 64)


def test_scale_lr_counts_accumulation_in():
    cfg = recipe(accumulative_counts=2)
    plan = apply_batch_policy(cfg, 'scale-lr', 2)
    assert plan.total == 64
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(0.05)
    assert '0.1 x 0.5 = 0.05' in plan.describe()


def test_mmengine_does_not_scale_a_second_time():
    cfg = recipe()
    cfg.auto_scale_lr.enable = True
    plan = apply_batch_policy(cfg, None, 1)
    assert plan.policy == 'scale-lr'
    assert cfg.auto_scale_lr.enable is False
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(0.1 / 8)


def test_nothing_changes_where_nothing_has_to():
    for policy, kwargs in (('none', {}), ('accumulate', dict(total=None)), ('accumulate', dict(batch=128))):
        cfg = recipe(**kwargs)
        before = cfg.pretty_text
        plan = apply_batch_policy(cfg, policy, 1)
        assert cfg.pretty_text == before
        assert plan.why


def test_iterations_grow_with_the_accumulation_and_epochs_do_not():
    cfg = recipe()
    cfg.param_scheduler = [
        dict(type='LinearLR', by_epoch=False, begin=0, end=100),
        dict(type='MultiStepLR', by_epoch=False, milestones=[10, 20], end=10**9),
        dict(type='StepLR', by_epoch=True, step_size=3)
    ]
    apply_batch_policy(cfg, 'accumulate', 1)
    warmup, steps, epochs = cfg.param_scheduler
    assert (warmup.end, steps.milestones, steps.end, epochs.step_size) == (800, [80, 160], 10**9, 3)


@pytest.mark.parametrize(('policy', 'world', 'cfg', 'parts'), [
    ('accumulate', 16, recipe(), ['128', '16 images x 16 processes', 'batch_size to 8']),
    ('accumulate', 3, recipe(), ['another number of processes']),
    ('per-device', 3, recipe(), ['128', '3 processes']),
    ('scale-lr', 1, recipe(total=None), ['base_batch_size']),
    ('acumulate', 1, recipe(), ["'accumulate'"]),
])
def test_totals_that_cannot_be_met_are_refused(policy, world, cfg, parts):
    with pytest.raises(ConfigError) as caught:
        apply_batch_policy(cfg, policy, world)
    for part in parts:
        assert part in str(caught.value)
