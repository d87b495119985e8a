"""The light hub keeps what MMEngine's keeps, and hooks that do nothing are not called."""
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import torch
from mmengine.hooks import Hook, IterTimerHook
from mmengine.logging import HistoryBuffer, MessageHub

from ftcls.engine import recording
from ftcls.engine.message_hub import LightMessageHub
from ftcls.engine.mmengine_compat import CompatRunner
from ftcls.engine.recording import MetricsRecordHook


def test_histories_are_those_of_mmengine() -> None:
    plain, light = MessageHub('plain'), LightMessageHub.of(MessageHub('light'))
    for hub in (plain, light):
        hub.log_scalars['resumed'] = HistoryBuffer([1, 2], [1, 1])
        for number in range(300):
            hub.update_scalar('train/loss', torch.tensor(number / 7))
            hub.update_scalar('resumed', number if number < 5 else number / 3, count=2)
    for key in ('train/loss', 'resumed'):
        for one, other in zip(plain.get_scalar(key).data, light.get_scalar(key).data):
            assert one.dtype == other.dtype and np.array_equal(one, other)
        assert plain.get_scalar(key).mean(10) == light.get_scalar(key).mean(10)
    saved = light.state_dict()['log_scalars']['train/loss']
    light.update_scalar('train/loss', 5.)
    assert len(saved.data[0]) == 300 and light.get_scalar('train/loss').current() == 5.


def test_a_value_on_a_device_is_fetched_when_it_is_read() -> None:
    hub = LightMessageHub.of(MessageHub('device'))
    value = torch.tensor(2., requires_grad=True)
    late = Mock(spec=torch.Tensor, device=torch.device('cuda'), numel=lambda: 1)
    late.detach.return_value = Mock(item=Mock(side_effect=lambda: value.item()))
    hub.update_scalar('train/time', 1.)
    hub.update_scalar('train/loss', late)
    assert hub.get_scalar('train/time').current() == 1.  # as IterTimerHook asks in each iteration
    assert not late.detach.return_value.item.called
    assert hub.log_scalars['train/loss'].current() == 2.
    hub.update_scalar('train/loss', late)
    assert len(hub.state_dict()['log_scalars']['train/loss'].data[0]) == 2


def test_only_hooks_that_do_something_are_called() -> None:

    class Own(Hook):
        calls = 0

        def _after_iter(self, *args, **kwargs) -> None:
            self.calls += 1

        def after_fold(self, runner) -> None:
            self.calls += 10

    runner = CompatRunner.__new__(CompatRunner)
    own, idle, single = Own(), Hook(), Hook()
    single.after_train_iter = Mock()  # a method of this hook alone
    runner._hooks = []
    for hook in (own, idle, single, IterTimerHook()):
        runner.register_hook(hook)
    runner._hooks.pop()
    runner.call_hook('after_train_iter', batch_idx=0)
    runner.call_hook('after_val_iter', batch_idx=0)
    runner.call_hook('after_fold')
    runner.call_hook('before_run')
    assert own.calls == 12 and single.after_train_iter.call_count == 1
    assert runner._called['after_train_iter'] == [own, single] and runner._called['before_run'] == []
    late = Own()
    runner.register_hook(late)
    runner.call_hook('after_fold')
    assert late.calls == 10


def test_losses_on_a_device_are_read_in_tens(monkeypatch) -> None:
    hook = MetricsRecordHook(interval=25)
    monkeypatch.setattr(recording, 'distinct_lrs', lambda _: dict(lr=0.1))
    monkeypatch.setattr(recording, '_train_position', lambda runner, idx: dict(epoch=1, iter=idx + 1, step=idx + 1))
    written = []
    hook._file = SimpleNamespace(append=written.append)
    runner = SimpleNamespace(optim_wrapper=SimpleNamespace())
    monkeypatch.setattr(recording, 'as_floats', lambda outputs: {'loss': 1.})
    for index in range(25):
        hook.after_train_iter(runner, index, outputs=dict(loss=torch.empty((), device='meta')))
        assert hook._iterations == {True: 0, False: (index + 1) // 10 * 10}[index == 24]
    assert [record['iters'] for record in written] == [25] and written[0]['loss'] == 1.
