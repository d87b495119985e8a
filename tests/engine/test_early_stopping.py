"""When a training is stopped early, value by value."""
import math

import pytest

from ftcls.engine.hooks import EarlyStoppingHook
from ftcls.evaluation import Accuracy, DiceMetric, LossMetric, SingleLabelMetric, resolve_rule
from ftcls.registry import HOOKS
from ftcls.utils import ConfigError


def stops_after(values: list[float], **settings: object) -> int | None:
    """The number of validations after which it stops."""
    hook = EarlyStoppingHook(**{'monitor': 'accuracy/top1', 'patience': 2, **settings})
    hook._start([Accuracy(), LossMetric(), DiceMetric(), SingleLabelMetric()])
    for count, value in enumerate(values, 1):
        if hook._check_stop_condition(value)[0]:
            return count
    return None


@pytest.mark.parametrize(('values', 'settings', 'stop'), [
    ([50, 60, 70, 69, 70], {}, 5),
    ([50, 60, 70, 69, 71, 70, 70], {}, 7),
    ([50, 50.05, 50.08, 50.2], {}, 3),
    ([50, 50.05, 50.08, 50.2], dict(min_delta=0.), None),
    ([50, 50, 50], dict(min_delta=0.), 3),
    ([0.9, 0.8, 0.81, 0.82], dict(monitor='loss'), 4),
    ([0.9, 0.89, 0.88, 0.87, 0.86], dict(monitor='loss'), None),
    ([0.9, 0.89, 0.88, 0.7], dict(monitor='loss', min_delta=0.1), 3),
    ([0.1, 0.2, 0.3], dict(monitor='coverage', rule='greater', min_delta=0.), None),
    ([50, 90, 91], dict(stopping_threshold=90), 3),
    ([0.5, 0.09], dict(monitor='loss', stopping_threshold=0.1), 2),
    ([50, math.nan], {}, 2),
    ([50, math.nan, 51], dict(check_finite=False), None),
])
def test_stops_after(values: list[float], settings: dict, stop: int | None) -> None:
    assert stops_after(values, **settings) == stop


def test_what_cannot_be_told_is_asked() -> None:
    with pytest.raises(ConfigError, match="'coverage' better.*`higher_is_better`.*rule='greater' or rule='less'"):
        EarlyStoppingHook('coverage')._start([Accuracy()])
    with pytest.raises(ConfigError, match='patience=0'):
        HOOKS.build(dict(type='EarlyStoppingHook', monitor='loss', patience=0))


@pytest.mark.parametrize(('key', 'rule', 'wrong'), [('accuracy/top1', 'less', True), ('dice_set', 'less', True),
                                                    ('single-label/f1-score', 'less', True), ('loss', 'greater', True),
                                                    ('accuracy/top1', 'greater', False), ('loss', 'less', False),
                                                    ('top1_error', 'less', False), ('loss', None, False)])
def test_the_rule_by_which_the_worst_would_be_best_is_refused(key: str, rule: str | None, wrong: bool) -> None:
    metrics = [Accuracy(), LossMetric(), DiceMetric(), SingleLabelMetric()]
    if wrong:
        with pytest.raises(ConfigError, match=f'Hook.rule={rule!r}: .*{key}.*leave rule out'):
            resolve_rule('CheckpointHook', rule, key, metrics)
    else:
        resolve_rule('CheckpointHook', rule, key, metrics)
