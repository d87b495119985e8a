"""The range test leaves no trace: what is trained after it is bitwise what would have been trained without it."""
import copy
import random

import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from places import make_place

from ftcls.apis import TrainOptions, find_lr, load_config, train
from ftcls.utils import ConfigError


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = make_place(tmp_path)
    place.edit('batch_size=2', 'batch_size=1')  # two batches a step
    # each group its own rate
    place.edit('lr=0.01, momentum=0.9)',
               'lr=0.01, momentum=0.9), paramwise_cfg=dict(custom_keys=dict(head=dict(lr_mult=10)))')
    return place


def trained(folder):
    return torch.load(folder / 'epoch_1.pth', weights_only=True)


def assert_same(one, other):
    assert one['state_dict'].keys() == other['state_dict'].keys()
    for name, value in one['state_dict'].items():
        assert torch.equal(value, other['state_dict'][name]), name
    for index, state in one['optimizer']['state'].items():
        assert torch.equal(state['momentum_buffer'], other['optimizer']['state'][index]['momentum_buffer'])


def test_training_after_it_in_the_same_process_is_bitwise_the_same(place, tmp_path):
    cfg = load_config(place.config)
    train(cfg, TrainOptions(work_dir='before'))
    as_it_was = copy.deepcopy(cfg.to_dict())
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    files, log = set(tmp_path.rglob('*')), MMLogger.get_current_instance()

    result = find_lr(cfg, 'found/lr.png', lowest=1e-6, highest=1e-3, steps=12)

    assert cfg.to_dict() == as_it_was and MMLogger.get_current_instance() is log and log.handlers
    assert random.getstate() == states[0] and torch.equal(torch.get_rng_state(), states[2])
    assert all(np.array_equal(a, b) for a, b in zip(np.random.get_state(), states[1]))
    assert set(tmp_path.rglob('*')) - files == {tmp_path / 'found', tmp_path / 'found' / 'lr.png'}
    assert result.configured == 0.01 and len(result.rates) == 12 == len(result.losses)
    assert result.rates[0] == pytest.approx(1e-6) and result.rates[-1] == pytest.approx(1e-3)
    train(cfg, TrainOptions(work_dir='after'))
    assert_same(trained(tmp_path / 'before'), trained(tmp_path / 'after'))


@pytest.mark.slow
def test_command_leaves_a_command_the_same(place, run_tool, tmp_path):
    assert run_tool('train.py', place.config, '--work-dir', 'before').returncode == 0
    done = run_tool('lr_finder.py', place.config, '--steps', 12, '--max', 0.5)
    assert done.returncode == 0 and 'suggested: ' in done.stdout and (tmp_path / 'lr_finder.png').stat().st_size, done
    assert run_tool('train.py', place.config, '--work-dir', 'after').returncode == 0
    assert_same(trained(tmp_path / 'before'), trained(tmp_path / 'after'))


@pytest.mark.parametrize('arguments, said', [
    (dict(lowest=1., highest=0.1), 'lowest'),
    (dict(steps=3), 'steps=3: must be at least 10'),
    (dict(out='lr.jpg'), '.png'),
])
def test_wrong_arguments(place, arguments, said):
    out = arguments.pop('out', 'lr.png')
    with pytest.raises(ConfigError, match=said):
        find_lr(load_config(place.config), out, **arguments)
