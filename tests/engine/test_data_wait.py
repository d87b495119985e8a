"""The share of the time that a training waits for data, and what it says if that is high."""
from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.logging import HistoryBuffer

from ftcls.engine.hooks import DataWaitHook
from ftcls.engine.hooks import data_wait as data_wait_module


class Train:
    """What the hook sees of a Runner."""

    def __init__(self, num_workers: int = 1, **dataset: object) -> None:
        self.iter, self.said = 0, []
        self.logger = SimpleNamespace(warning=self.said.append)
        self.message_hub = SimpleNamespace(log_scalars={})
        self.train_dataloader = SimpleNamespace(num_workers=num_workers, dataset=SimpleNamespace(**dataset))

    def epoch(self, waited: list[float], time: float) -> None:
        scalars = self.message_hub.log_scalars
        for name, values in (('data_time', waited), ('time', [time] * len(waited))):
            old = scalars[f'train/{name}'].data[0] if scalars.get(f'train/{name}') else np.zeros(0)
            values = [*old, *values]
            scalars[f'train/{name}'] = HistoryBuffer(values, [1] * len(values))
        self.iter += len(waited)


@pytest.mark.parametrize(
    ('waited', 'time', 'is_said'),
    [
        ([3., 2., 2., 1., 3.], 10., True),
        ([1., 2., 2., 1., 3.], 10., False),  # 18 %
        ([.5, .6, .7, .8], 1., False),  # of a short run
    ])
def test_only_a_high_share_of_a_long_time_is_said(waited, time, is_said):
    runner, hook = Train(cache=None), DataWaitHook()
    hook.before_train(runner)
    for _ in range(3):
        runner.epoch(waited, time)
        hook.after_train_epoch(runner)
        hook.before_val_epoch(runner)  # nothing new
        if not is_said:
            break
    assert len(runner.said) == is_said


@pytest.mark.parametrize(('settings', 'words'), [
    (dict(num_workers=1, cache=None), "took 50% of the time. Set train_dataloader.num_workers=2 (now 1) and "
     "train_dataloader.dataset.cache='ram' or 'disk'"),
    (dict(num_workers=2, cache=None), "Set train_dataloader.dataset.cache='ram'"),
    (dict(num_workers=2, cache='set'), 'Take smaller files'),
    (dict(num_workers=0, cache=None, IN_MEMORY=True), 'The images are in memory'),
])
def test_what_to_change(monkeypatch, settings, words):
    monkeypatch.setattr(data_wait_module, 'usable_cores', lambda: 2)
    runner, hook = Train(**settings), DataWaitHook()
    hook.before_train(runner)
    runner.epoch([20.], 40.)
    hook.after_train_epoch(runner)
    assert words in runner.said[0]


def test_a_run_without_a_timer_says_nothing():
    runner, hook = Train(), DataWaitHook()
    hook.before_train(runner)
    runner.iter = 3
    hook.after_train_epoch(runner)
    assert not runner.said
