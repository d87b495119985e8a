"""``--epochs N``: what counts epochs or iterations is stretched alike, and said."""
import pytest
from mmengine.config import Config

from ftcls.config.epochs import set_epochs
from ftcls.config.resolve import TrainOptions, resolve
from ftcls.utils import ConfigError


def recipe(**train_cfg: object) -> Config:
    return Config(
        dict(
            model=dict(),
            train_cfg=train_cfg or dict(max_epochs=100),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
            train_dataloader=dict(batch_size=2, num_workers=0, dataset=dict(type='Digits')),
            param_scheduler=[
                dict(type='LinearLR', by_epoch=True, begin=0, end=20, convert_to_iter_based=True),
                dict(type='LinearLR', by_epoch=False, begin=0, end=500),
                dict(type='MultiStepLR', milestones=[30, 60, 90])
            ]))


def test_schedules_are_stretched_and_named():
    resolved = resolve(recipe(), TrainOptions(epochs=10, seed=0))
    warmup, by_iteration, steps = resolved.cfg.param_scheduler
    assert (resolved.cfg.train_cfg.max_epochs, warmup.end, by_iteration.end, steps.milestones) == (10, 2, 50, [3, 6, 9])
    said = '\n'.join(resolved.notes)
    for text in ('train_cfg.max_epochs 100 -> 10', 'param_scheduler.0.end 20 -> 2', 'param_scheduler.1.end 500 -> 50',
                 'param_scheduler.2.milestones'):
        assert f'--epochs: {text}' in said
    assert resolve(recipe(), TrainOptions(epochs=100, seed=0)).notes == []


def test_a_schedule_for_which_no_epoch_is_left_is_not_reached():
    cfg = recipe(max_epochs=20)
    cosine = dict(type='CosineAnnealingLR', begin=4)
    cfg.param_scheduler = [dict(type='LinearLR', end=4), dict(cosine, end=20), dict(cosine, T_max=16)]
    said = set_epochs(cfg, 1)
    assert '--epochs: param_scheduler.1.end 20 -> 2' in said
    assert [(one.get('begin', 0), one.end) for one in cfg.param_scheduler] == [(0, 1), (1, 2), (1, 2)]


def test_a_budget_leaves_schedules_by_iteration():
    cfg = recipe()
    set_epochs(cfg, 10, '--budget')
    assert [cfg.param_scheduler[number].end for number in (0, 1)] == [2, 500]


@pytest.mark.parametrize(('train_cfg', 'epochs', 'said'), [
    (dict(max_epochs=3), 0, '--epochs 0: must be at least 1'),
    (dict(by_epoch=False, max_iters=300), 5, 'train_cfg.max_epochs is not set'),
])
def test_numbers_that_cannot_be(train_cfg, epochs, said):
    with pytest.raises(ConfigError, match=said):
        resolve(recipe(**train_cfg), TrainOptions(epochs=epochs))


@pytest.mark.parametrize(('scope', 'read'), [('mmpretrain', 'ftcls'), ('mmcls', 'ftcls'), ('ftcls', 'ftcls')])
def test_the_scope_of_the_peer_is_ours(scope, read):
    cfg = recipe()
    cfg.default_scope = scope
    resolved = resolve(cfg, TrainOptions(seed=0))
    assert resolved.cfg.default_scope == read
    assert bool(resolved.notes) == (scope != read)


def test_a_typo_in_the_scope_is_named():
    cfg = recipe()
    cfg.default_scope = 'mmpretrian'
    with pytest.raises(ConfigError, match="default_scope='mmpretrian'.*did you mean 'mmpretrain'"):
        resolve(cfg, TrainOptions(seed=0))


@pytest.mark.parametrize(('schedule', 'epochs', 'new'), [
    (dict(type='CosineAnnealingLR', begin=6, end=300, T_max=294), 2, dict(begin=1, end=2, T_max=1)),
    (dict(type='CosineAnnealingLR', begin=25, end=300, T_max=275), 30, dict(begin=2, end=30, T_max=28)),
    (dict(type='CosineRestartLR', periods=[16, 150, 134], restart_weights=[1, 1, 1]), 31, dict(periods=[2, 15, 14])),
])
def test_a_schedule_ends_with_the_training(schedule, epochs, new):
    cfg = Config(dict(train_cfg=dict(by_epoch=True, max_epochs=300), param_scheduler=[schedule]))
    set_epochs(cfg, epochs)
    assert {key: cfg.param_scheduler[0][key] for key in new} == new
