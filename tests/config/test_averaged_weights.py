"""EMAHook passes its arguments on to a model of averaged weights, against which they are checked."""
from pathlib import Path

import pytest

from ftcls.apis import load_config
from ftcls.config.validation import validate_config
from ftcls.utils import ConfigError

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'


@pytest.mark.parametrize(('arguments', 'said'), [
    (dict(ema_type='Foo'), "ema_type: 'Foo' is not a model of averaged weights; allowed: ExponentialMovingAverage"),
    (dict(decay=0.99),
     "decay: ExponentialMovingAverage takes no argument 'decay'; did you mean 'momentum', which is 1 - decay"),
    (dict(momentm=0.1), "momentm: .*did you mean 'momentum'"),
    (dict(momentum=5), 'momentum=5: must be above 0 and below 1'),
    (dict(ema_type='MomentumAnnealingEMA', gamma=0), 'gamma=0: must be above 0'),
    (dict(momentum=0.01, interval=2, update_buffers=True, priority='NORMAL', begin_epoch=1), None),
])
def test_arguments_of_the_averaged_weights(arguments: dict, said: str | None) -> None:
    cfg = load_config(CONFIGS / 'tutorial/lenet5_pretrain_digits.py',
                      {'custom_hooks': [dict(type='EMAHook', **arguments)]})
    if said is None:
        validate_config(cfg)
        return
    with pytest.raises(ConfigError, match=f'custom_hooks.0.{said}'):
        validate_config(cfg)
