"""A validation's line shows that validation's loss."""
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
    assert processor.window_size == 10
