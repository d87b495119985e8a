"""What the preflight remarks of schedules that do not fit the run."""
from types import SimpleNamespace

import pytest

from ftcls.engine.hooks.preflight import _misfit, _schedule


@pytest.mark.parametrize('scheduler, length, said', [
    (dict(type='CosineAnnealingLR', T_max=20), 20, ''),
    (dict(type='CosineAnnealingLR', T_max=20), 1, 'it spans epochs 0 to 20, the run ends after 1'),
    (dict(type='CosineAnnealingLR', T_max=20, by_epoch=False), 9, 'it spans iterations 0 to 20, the run ends after 9'),
    (dict(type='CosineAnnealingLR', begin=1, T_max=1), 1, 'it spans epochs 1 to 2, the run ends after 1'),
    (dict(type='LinearLR', end=17), 17, ''),
    (dict(type='LinearLR', end=10**9), 2, ''),
    (dict(type='LinearLR', end=17), 1, 'it ends after 17 epochs, the run after 1: its last rate is not reached'),
    (dict(type='MultiStepLR', milestones=[15]), 16, ''),
    (dict(type='MultiStepLR', milestones=[15, 30]), 20, 'the milestones [30] have no effect'),
])
def test_schedules_that_do_not_fit(scheduler: dict, length: int, said: str) -> None:
    note = _misfit(scheduler, length, length)
    assert said in note if said else note == ''


@pytest.mark.parametrize('every, said', [(1, '3 epochs, 15 iterations'), (8, '3 epochs, 15 iterations in 2 steps')])
def test_steps_are_counted_where_gradients_are_accumulated(every: int, said: str) -> None:
    loop = SimpleNamespace(max_epochs=3, max_iters=15, iter=0)
    runner = SimpleNamespace(train_loop=loop, cfg={}, optim_wrapper=SimpleNamespace(_accumulative_counts=every))
    assert _schedule(runner)[0] == said
