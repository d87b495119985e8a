"""What the preflight remarks of schedules that do not fit the run."""
import pytest

from ftcls.engine.hooks.preflight import _misfit


@pytest.mark.parametrize('scheduler, length, said', [
    (dict(type='CosineAnnealingLR', T_max=20), 20, ''),
    (dict(type='CosineAnnealingLR', T_max=20), 1, 'it spans 20 epochs, the run ends after 1'),
    (dict(type='CosineAnnealingLR', T_max=20, by_epoch=False), 9, 'it spans 20 iterations, the run ends after 9'),
    (dict(type='LinearLR', end=17), 17, ''),
    (dict(type='LinearLR', end=10**9), 2, ''),
    (dict(type='LinearLR', end=17), 1, 'it ends after 17 epochs, the run after 1: its last rate is not reached'),
    (dict(type='MultiStepLR', milestones=[15]), 16, ''),
    (dict(type='MultiStepLR', milestones=[15, 30]), 20, 'the milestones [30] have no effect'),
])
def test_schedules_that_do_not_fit(scheduler: dict, length: int, said: str) -> None:
    note = _misfit(scheduler, length, length)
    assert said in note if said else note == ''
