"""The rates of a range test, where it stops, and what is read off its curve."""
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ftcls.apis.analysis.lr_finder import _evaluate
from ftcls.engine.hooks import LRRangeHook, RangeTestFinished


def run(loss_of, accumulation=1, **arguments):
    """Run the hook over iterations whose loss is ``loss_of(rate of the head)``; returns what it raised and the rates it set."""
    body, head = (torch.nn.Parameter(torch.zeros(1)) for _ in range(2))
    optimizer = torch.optim.SGD([dict(params=[body], lr=0.05), dict(params=[head], lr=0.5)], lr=0.1)
    wrapper = SimpleNamespace(
        optimizer=optimizer, param_groups=optimizer.param_groups, _accumulative_counts=accumulation)
    runner = SimpleNamespace(iter=0, optim_wrapper=wrapper)
    hook = LRRangeHook(**arguments)
    hook.before_train(runner)
    rates = []
    with pytest.raises(RangeTestFinished) as caught:
        while True:
            hook.before_train_iter(runner, 0)
            rates.append([group['lr'] for group in wrapper.param_groups])
            hook.after_train_iter(runner, 0, outputs=dict(loss=torch.tensor(loss_of(rates[-1][0] * 2))))
            runner.iter += 1
    return caught.value, np.array(rates)


def test_rates_grow_by_one_factor_and_groups_keep_theirs():
    done, rates = run(lambda rate: 1., lowest=1e-4, highest=1., steps=21)
    assert done.configured == 0.1 and not done.stopped and len(done.rates) == 21 == len(done.losses) - 1
    np.testing.assert_allclose(done.rates, np.logspace(-4, 0, 21))
    np.testing.assert_allclose(rates[:21], np.logspace(-4, 0, 21)[:, None] * [0.5, 5])


def test_accumulated_batches_share_a_rate_and_their_mean_is_the_loss():
    losses = iter(np.arange(200.) % 2)
    done, rates = run(lambda rate: float(next(losses)), accumulation=2, steps=10)
    assert len(rates) == 22 and np.array_equal(rates[0::2], rates[1::2])
    assert done.losses == [0.5] * 11


@pytest.mark.parametrize('bad', [math.nan, math.inf, 50.])
def test_it_stops_where_the_loss_leaves_all_bounds(bad):
    done, _ = run(lambda rate: bad if rate > 0.01 else 1., lowest=1e-4, highest=1., steps=101)
    assert done.stopped and 0.009 < done.rates[-1] < 0.012 + 0.01 * (bad == 50.)


def test_steepest_and_lowest_are_read_off_the_curve():
    rates = np.logspace(-6, 0, 101)
    # falls fastest at 1e-3, is lowest near 0.03, then leaves
    losses = 1 / (1 + (rates / 1e-3)**2) + 0.5 * (rates / 0.1)**2
    result = _evaluate(RangeTestFinished(list(rates), [1., *losses], True, 0.5))
    assert 7e-4 < result.steepest < 1.5e-3
    assert result.bottom == pytest.approx(rates[np.argmin(losses)], rel=0.35)
    assert result.suggested == result.steepest
    assert f'suggested: {result.steepest:.2g}, where it falls fastest' in '\n'.join(result.describe())


@pytest.mark.parametrize('configured, confirmed', [(1e-5, False), (6e-4, True), (0.01, True), (0.5, False)])
def test_the_rate_of_the_config_is_kept_where_the_loss_falls(configured, confirmed):
    rates = np.logspace(-6, 0, 101)
    losses = 1 / (1 + (rates / 1e-3)**2) + 0.5 * (rates / 0.1)**2
    result = replace(_evaluate(RangeTestFinished(list(rates), [1., *losses], True, configured)), images=32)
    assert result.confirms == confirmed and (result.suggested == configured) == confirmed
    lines = result.describe()
    assert 'steps of 32 images, one at each rate, without the schedule' in lines[0]
    assert any(f'suggested: {configured:.2g}, the config' in line for line in lines) == confirmed
