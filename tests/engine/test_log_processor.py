"""A training's line shows the range of the learning rates, a validation's that validation's loss."""
import json
import re
from types import SimpleNamespace

import pytest
from mmengine.config import ConfigDict
from mmengine.logging import MessageHub
from mmengine.registry import init_default_scope

from ftcls.registry import LOG_PROCESSORS


def test_validation_loss_is_not_smoothed_over_epochs():
    init_default_scope('ftcls')
    processor = LOG_PROCESSORS.build(dict(type='LogProcessor'))
    hub = MessageHub.get_instance('log-processor-test')
    for loss in (2., 1., .5):
        hub.update_scalar('val/loss', loss)
        hub.update_scalar('val/accuracy/top1', 50 * loss)
    runner = SimpleNamespace(
        message_hub=hub,
        val_dataloader=[0],
        epoch=3,
        iter=9,
        train_loop=None,
        _train_loop=None,
        val_loop=SimpleNamespace(dataloader=[0]),
        cfg=ConfigDict())
    scalars, line = processor.get_log_after_epoch(runner, 1, 'val')
    assert scalars['loss'] == pytest.approx(.5)
    assert 'loss: 0.5000' in line
    assert re.search(r'accuracy/top1: 25\.00(?!\d)', line)


@pytest.mark.parametrize('head, frozen, shown', [
    (10., False, '1.0000e-01..1.0000e+00'),
    (1., False, '1.0000e-01'),
    (10., True, '1.0000e+00'),
])  # yapf: disable
def test_the_rates_of_all_groups_show(make_runner, tmp_path, head, frozen, shown):
    wrapper = dict(optimizer=dict(type='SGD', lr=0.1), paramwise_cfg=dict(custom_keys=dict(head=dict(lr_mult=head))))
    runner = make_runner(epochs=1, optim_wrapper=wrapper, log_processor=dict(type='LogProcessor'))
    runner.model.backbone.requires_grad_(not frozen)
    runner.train()
    log, = (tmp_path / 'run').rglob('*.log')
    lines = [line for line in log.read_text().splitlines() if 'Epoch(train)' in line]
    assert lines and all(f'  lr: {shown}  ' in line and 'base_lr' not in line for line in lines)
    scalars, = (tmp_path / 'run').rglob('scalars.json')
    record = json.loads(scalars.read_text().splitlines()[0])
    assert isinstance(record['lr'], float) and record.get('base_lr', 0.1) == 0.1
    assert not re.search(r'lr: ', ''.join(line for line in log.read_text().splitlines() if 'Epoch(val)' in line))


@pytest.mark.parametrize('window', [None, 3])
def test_log_file_and_backends_have_the_loss_of_the_records(make_runner, tmp_path, window):
    """Records after 2 and 3 of the 3 iterations of an epoch, lines after 2: means since the last record."""
    hook = dict(type='MetricsRecordHook')
    runner = make_runner([hook], epochs=2, log_processor=dict(type='LogProcessor', window_size=window))
    runner.train()
    records = [json.loads(line) for line in (tmp_path / 'run' / 'metrics.jsonl').read_text().splitlines()]
    losses = {one['step']: one['loss'] for one in records if one['kind'] == 'train' and one['iter'] == 2}
    log, = (tmp_path / 'run').rglob('*.log')
    logged = re.findall(r'Epoch\(train\).*  loss: (\S+)', log.read_text())
    scalars, = (tmp_path / 'run').rglob('scalars.json')
    lines = [json.loads(line) for line in scalars.read_text().splitlines()]
    sent = {one['step']: one['loss'] for one in lines if 'margin' in one}
    same = logged == [f'{loss:.4f}' for loss in losses.values()]
    assert len(logged) == 2 and same == (sent == pytest.approx(losses)) == (window is None)
