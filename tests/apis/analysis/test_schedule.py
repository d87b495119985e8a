"""What `vis_scheduler` draws is what torch's schedulers give, and what a run does."""
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.optim import lr_scheduler

from ftcls.apis import EpochLength, TrainOptions, draw_schedule, load_config, trace_schedule, train
from ftcls.registry import FUNCTIONS, HOOKS
from ftcls.utils import ConfigError
from ftcls.visualization import read_records
from ftcls.visualization.records import learning_rates
from ftcls.visualization.schedule import _points

CONFIG = Path(__file__).resolve().parents[3] / 'configs' / 'tutorial' / 'lenet5_pretrain_digits.py'
EPOCHS, ITERS = 3, 4


def config(*schedulers: dict[str, Any], **overrides: Any) -> Config:
    """Three epochs of SGD at 0.1 with momentum 0.95, biases at a tenth of the rate."""
    cfg = load_config(CONFIG, {'train_cfg.max_epochs': EPOCHS, **overrides})
    cfg.optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.95), paramwise_cfg=dict(bias_lr_mult=0.1))
    cfg.param_scheduler = list(schedulers)
    return cfg


@FUNCTIONS.register_module()
def sawtooth(step: int, total: int, teeth: int = 2) -> float:
    """A function of one's own."""
    return 1 - step * teeth / total % 1


TOTAL = EPOCHS * ITERS
ONE_CYCLE = dict(type='OneCycleLR', eta_max=0.1, by_epoch=False)
# Each beside torch's own, and whether that one steps by epoch.
REFERENCES = [
    (dict(type='StepLR', step_size=2, gamma=0.5), lambda o: lr_scheduler.StepLR(o, 2, 0.5), True),
    (dict(type='MultiStepLR', milestones=[1, 2], gamma=0.3), lambda o: lr_scheduler.MultiStepLR(o, [1, 2], 0.3), True),
    (dict(type='ExponentialLR', gamma=0.5), lambda o: lr_scheduler.ExponentialLR(o, 0.5), True),
    (dict(type='CosineAnnealingLR', T_max=3), lambda o: lr_scheduler.CosineAnnealingLR(o, 3), True),
    (dict(type='CosineAnnealingLR', T_max=3, convert_to_iter_based=True),
     lambda o: lr_scheduler.CosineAnnealingLR(o, TOTAL), False),
    (dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=6),
     lambda o: lr_scheduler.LinearLR(o, 0.1, total_iters=5), False),
    (dict(type='PolyLR', power=0.9, by_epoch=False, end=TOTAL + 1),
     lambda o: lr_scheduler.PolynomialLR(o, TOTAL, 0.9), False),
    (dict(type='FunctionLR', function='sawtooth', args=dict(teeth=3), by_epoch=False),
     lambda o: lr_scheduler.LambdaLR(o, lambda s: 1 - s * 3 / TOTAL % 1), False),
    (dict(type='FunctionLR', function='sawtooth', convert_to_iter_based=True),
     lambda o: lr_scheduler.LambdaLR(o, lambda s: 1 - s * 2 / TOTAL % 1), False),
    (dict(type='FunctionLR', function='inverse_sqrt', args=dict(warmup=4), by_epoch=False),
     lambda o: lr_scheduler.LambdaLR(o, lambda s: min((s + 1) / 4, math.sqrt(4 / (s + 1)))), False),
]  # yapf: disable


def reference(build: Any, by_epoch: bool) -> list[float]:
    """The rates that torch gives to the iterations of the run."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1, momentum=0.95)
    scheduler, rates = build(optimizer), []
    for done in range(1, TOTAL + 1):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        if not by_epoch or done % ITERS == 0:
            scheduler.step()
    return rates


@pytest.mark.parametrize(('schedule', 'build', 'by_epoch'), REFERENCES, ids=[
    f'{r[0]["type"]}-{i}' for i, r in enumerate(REFERENCES)
])  # yapf: disable
def test_rates_are_those_of_torch(schedule: dict, build: Any, by_epoch: bool) -> None:
    trace = trace_schedule(config(schedule), EpochLength(iters=ITERS))
    wanted = reference(build, by_epoch)
    assert trace.lr['default'] == pytest.approx(wanted, rel=1e-6, abs=1e-12)
    assert trace.lr['bias'] == pytest.approx([0.1 * rate for rate in wanted], rel=1e-6, abs=1e-12)
    assert trace.momentum == {} and trace.iters_per_epoch == ITERS


def test_one_cycle_with_its_momentum_is_that_of_torch() -> None:
    momentum = dict(type='FunctionMomentum', function='one_cycle_momentum', by_epoch=False)
    trace = trace_schedule(config(ONE_CYCLE, momentum), EpochLength(iters=ITERS))
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1, momentum=0.95)
    scheduler = lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=TOTAL)
    for i in range(TOTAL):
        group = optimizer.param_groups[0]
        assert trace.lr['default'][i] == pytest.approx(group['lr'], rel=1e-6)
        assert trace.momentum['default'][i] == pytest.approx(group['momentum'], rel=1e-6)
        optimizer.step()
        if i + 1 < TOTAL:
            scheduler.step()
    # `eta_max` is for the optimizer's lr; the biases keep their tenth of it
    assert trace.lr['bias'] == pytest.approx([0.1 * rate for rate in trace.lr['default']])
    # Adam's momentum is its first beta
    cfg = config(momentum)
    cfg.optim_wrapper = dict(optimizer=dict(type='Adam', lr=0.1, betas=(0.95, 0.999)))
    adam = trace_schedule(cfg, EpochLength(iters=ITERS))
    assert adam.momentum['default'] == pytest.approx(trace.momentum['default'])


@HOOKS.register_module()
class NoteRates(Hook):
    """Notes what each step is made with."""
    rates: list[tuple[float, float]] = []

    def before_train(self, runner: Runner) -> None:
        self.rates.clear()
        runner.optim_wrapper.optimizer.register_step_pre_hook(self.note)

    def note(self, optimizer: torch.optim.Optimizer, args: tuple, kwargs: dict) -> None:
        group = optimizer.param_groups[0]
        self.rates.append((group['lr'], group['momentum']))


def test_a_run_does_what_is_drawn(tmp_path: Path) -> None:
    cfg = config(
        dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=5),
        dict(type='CosineAnnealingLR', begin=1, T_max=2, convert_to_iter_based=True),
        dict(type='FunctionMomentum', function='one_cycle_momentum', by_epoch=False), **{
            'train_dataloader.batch_size': 40,
            'train_dataloader.dataset.indices': 150,
            'custom_hooks': [dict(type='NoteRates')]
        })
    train(cfg, TrainOptions(work_dir=str(tmp_path)))
    trace = draw_schedule(cfg, tmp_path / 'schedule.png')
    assert trace.notes == ['4 iterations per epoch: 150 samples in the training set, batches of 40']
    assert NoteRates.rates == list(zip(trace.lr['default'], trace.momentum['default']))
    height, width, _ = cv2.imread(str(tmp_path / 'schedule.png')).shape
    assert width > 1.5 * height > 300  # two panels


BY_ITERATION = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=5),
    dict(type='CosineAnnealingLR', begin=1, T_max=2, convert_to_iter_based=True)
]


@pytest.mark.parametrize('schedulers', [[dict(type='MultiStepLR', milestones=[1, 2], gamma=0.3)], BY_ITERATION,
                                        [dict(type='MultiStepLR', milestones=[3, 6], by_epoch=False)]])
def test_the_curves_of_a_run_are_those_that_are_drawn(tmp_path: Path, schedulers: list[dict]) -> None:
    short = {'train_dataloader.batch_size': 40, 'train_dataloader.dataset.indices': 150}
    cfg = config(*schedulers, **short)
    train(cfg, TrainOptions(work_dir=str(tmp_path), seed=0))
    rates = trace_schedule(cfg).lr
    whole = learning_rates(read_records(tmp_path / 'metrics.jsonl'))
    for group, name in (('default', 'the others'), ('bias', 'bias')):
        assert {*whole[name]} <= {*enumerate(rates[group]), (TOTAL, rates[group][-1])}
        assert np.interp(range(TOTAL), *zip(*whole[name])) == pytest.approx(rates[group])
    train(cfg, TrainOptions(work_dir=str(tmp_path), seed=0, resume=str(tmp_path / 'epoch_2.pth')))
    assert learning_rates(read_records(tmp_path / 'metrics.jsonl')) == whole


def test_the_length_of_an_epoch() -> None:
    cfg = config(dict(type='StepLR', step_size=1), **{'train_dataloader.batch_size': 40})
    assert trace_schedule(cfg, EpochLength(samples=201, processes=2)).iters_per_epoch == 3
    assert trace_schedule(cfg, EpochLength(iters=7)).notes == ['7 iterations per epoch, as given']
    cfg.train_dataloader.drop_last = True
    assert trace_schedule(cfg, EpochLength(samples=201)).iters_per_epoch == 5
    # on one process, the recipe's batch of 80 is two iterations of 40
    cfg.auto_scale_lr = dict(base_batch_size=80)
    assert trace_schedule(cfg, EpochLength(samples=200)).iters_per_epoch == 5
    cfg.train_dataloader.dataset = dict(type='CustomDataset', data_root='nowhere', pipeline=[dict(type='PackInputs')])
    with pytest.raises(ConfigError, match='--dataset-size or --iters-per-epoch .*nowhere'):
        trace_schedule(cfg)
    with pytest.raises(ConfigError, match='samples of an epoch: must be at least 1, got 0'):
        trace_schedule(cfg, EpochLength(samples=0))


def test_a_loop_by_iterations_is_one_epoch() -> None:
    cfg = config(
        dict(type='StepLR', step_size=3, gamma=0.5, by_epoch=False), dict(type='StepLR', step_size=1, gamma=0.1))
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=7)
    assert trace_schedule(cfg, EpochLength(iters=2)).lr['default'] == pytest.approx([.1] * 3 + [.05] * 3 + [.025])


def test_what_follows_the_validation_is_said() -> None:
    trace = trace_schedule(config(dict(type='ReduceOnPlateauLR', monitor='loss')), EpochLength(iters=2))
    assert 'ReduceOnPlateauLR follows the validation' in trace.notes[1]
    assert set(trace.lr['default']) == {0.1}


@pytest.mark.parametrize(('schedule', 'said'), [
    (dict(type='FunctionLR', function='sawtoth'), "no such function is registered; did you mean 'sawtooth'"),
    (dict(type='FunctionLR', function='sawtooth', args=dict(tooth=1)), "unexpected keyword argument 'tooth'"),
    (dict(type='FunctionLR', function='inverse_sqrt', arg=dict()), "no argument 'arg'; did you mean 'args'"),
])
def test_what_cannot_be_meant_is_refused(schedule: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        trace_schedule(config(schedule), EpochLength(iters=2))


def test_unfreezing_is_drawn_and_said(tmp_path: Path) -> None:
    """The head learns from the first epoch, the convolutions' group from the second, the first two layers never."""
    cfg = config(custom_hooks=[dict(type='GradualUnfreezingHook')])
    cfg.train_cfg.max_epochs = 3
    rates = {f'features.{i}': dict(lr_mult=0.1 * (i + 1)) for i in (0, 3, 6)}
    cfg.optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1), paramwise_cfg=dict(custom_keys=rates))
    trace = draw_schedule(cfg, tmp_path / 'schedule.png', EpochLength(iters=ITERS))
    assert trace.begins == {
        'features.0': 12, 'features.3': 8, 'features.6': 4, 'default': 0}  # yapf: disable
    assert trace.joins == {4: 'stage 2', 8: 'stage 1'}
    assert 'unfreezing: from epoch 2 + stage 2 (backbone.features.6)' in trace.notes
    assert 'NEVER: the run ends after 3 epochs' in trace.notes[-1]
    assert 'lr of features.0: never trained' in trace.describe()
    drawn = _points(trace.lr, trace.begins, ITERS)
    assert set(drawn) == {
        'default', 'features.6 (trained from epoch 2)', 'features.3 (trained from epoch 3)',
        'features.0 (never trained)'
    }
    assert drawn['features.6 (trained from epoch 2)'][0][0] == 4
