"""The schedules that MMClassification's configs name are found in scope ``ftcls``, change the rate, and survive a resume."""
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mmengine.runner import Runner

SCHEDULES = [
    (dict(type='LinearLR', start_factor=0.5, by_epoch=False, begin=0, end=4), 0.05),
    (dict(type='MultiStepLR', by_epoch=True, milestones=[1], gamma=0.1), 0.1),
    (dict(type='StepLR', by_epoch=True, step_size=1, gamma=0.1), 0.1),
    (dict(type='CosineAnnealingLR', T_max=3, by_epoch=True, begin=0, end=3), 0.1),
    (dict(type='CosineAnnealingLR', eta_min=1e-3, by_epoch=True, begin=1, end=3, convert_to_iter_based=True), 0.1),
    (dict(type='OneCycleLR', eta_max=0.1, total_steps=9, by_epoch=False), 0.004),
    (dict(type='PolyLR', power=1., eta_min=0.01, by_epoch=False), 0.1),
    (dict(type='ConstantLR', factor=0.5, by_epoch=True, end=2), 0.05),
    (dict(type='ExponentialLR', gamma=0.5, by_epoch=True), 0.1),
    (dict(type='CosineRestartLR', periods=[1, 2], restart_weights=[1, 0.1], eta_min=0.,
          convert_to_iter_based=True), 0.1),
    (dict(type='FunctionLR', function='inverse_sqrt', args=dict(warmup=4), by_epoch=False), 0.025),
]


@pytest.mark.parametrize(('schedule', 'first'), SCHEDULES, ids=[s['type'] for s, _ in SCHEDULES])
@pytest.mark.filterwarnings('ignore:Detected call of')
def test_schedule(schedule: dict[str, Any], first: float, make_runner: Callable[..., Runner], tmp_path: Path) -> None:
    hooks = [dict(type='SafeCheckpointHook')]
    keep = dict(checkpoint=dict(type='CheckpointHook', interval=1))
    rates, rest = [], []
    whole = make_runner(hooks, param_scheduler=[schedule], default_hooks=keep)
    note_rates(whole, rates)
    whole.train()
    assert rates[0] == pytest.approx(first)
    assert len(set(rates)) > 1
    resumed = make_runner(
        hooks, param_scheduler=[schedule], resume=True, load_from=str(tmp_path / 'run' / 'epoch_1.pth'))
    note_rates(resumed, rest)
    resumed.train()
    assert rest == rates[3:]


def note_rates(runner: Runner, rates: list[float]) -> None:
    """Let a runner write down the rate of each step."""
    step = runner.model.train_step

    def note(data: Any, optim_wrapper: Any) -> Any:
        rates.append(optim_wrapper.optimizer.param_groups[0]['lr'])
        return step(data, optim_wrapper)

    runner.model.train_step = note
