"""Freezing, BatchNorm policies, rates by layer, L2-SP and EMA in whole runs: what moved, after a resume, in two processes."""
import itertools
import json
import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ftcls.apis import TrainOptions
from ftcls.apis import test as run_test
from ftcls.apis import train
from ftcls.registry import HOOKS, MODELS

Digits = Callable[..., Config]
Tensors = dict[str, torch.Tensor]

BACKBONE = dict(
    type='ResNet_CIFAR', depth=18, in_channels=1, stem_channels=8, base_channels=4, zero_init_residual=False)
MODEL = dict(
    type='ImageClassifier',
    backbone=BACKBONE,
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=32))
COUNT = itertools.count()
L2SP = dict(type='L2SPHook', alpha=0.1, beta=0.1)
EMA = dict(type='EMAHook', momentum=0.2)
BY_LAYER = dict(
    optimizer=dict(type='SGD', lr=0.3, momentum=0.9),
    constructor='LearningRateDecayOptimWrapperConstructor',
    paramwise_cfg=dict(layer_decay_rate=0.8))


class Killed(BaseException):
    """Stands for a kill: not an `Exception`, so that nothing on the way handles it."""


@HOOKS.register_module()
class DieHook(Hook):
    """Ends the run in the middle of its second epoch, which has 3 iterations."""
    priority = 'LOWEST'

    def after_train_iter(self, runner: Runner, *args: object, **kwargs: object) -> None:
        if runner.iter + 1 == 5:
            raise Killed


@HOOKS.register_module()
class ValidatedHook(Hook):
    """Keeps the weights after each iteration, and those that were validated."""
    priority = 'LOWEST'
    trained: list[Tensors] = []
    validated: list[Tensors] = []

    def before_train(self, runner: Runner) -> None:
        self.trained[:], self.validated[:] = [self.state(runner)], []

    def after_train_iter(self, runner: Runner, *args: object, **kwargs: object) -> None:
        self.trained.append(self.state(runner))

    def before_val_epoch(self, runner: Runner) -> None:
        self.validated.append(self.state(runner))

    @staticmethod
    def state(runner: Runner) -> Tensors:
        return {k: v.clone() for k, v in runner.model.state_dict().items()}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A pretrained backbone; its BatchNorm statistics are those of no data of ours."""
    torch.manual_seed(5)
    state = MODELS.build(BACKBONE).state_dict()
    for name, value in state.items():
        if 'running' in name:
            state[name] = 0.1 * torch.randn_like(value) + value
    torch.save(state, tmp_path / 'source.pth')
    return tmp_path / 'source.pth'


def strategy(digits: Digits, source: Path, model: dict, hooks: list[dict], optim_wrapper: dict | None = None) -> Config:
    """Two epochs of 3 steps with 40 scans each."""
    backbone = dict(BACKBONE, init_cfg=dict(type='Pretrained', checkpoint=str(source)))
    return digits(**{
        'model': dict(MODEL, backbone=backbone, _delete_=True, **model),
        'train_dataloader.dataset.indices': 120,
        'val_dataloader.dataset.indices': 40,
        'test_dataloader.dataset.indices': 40,
        'optim_wrapper': dict(optim_wrapper or dict(optimizer=dict(type='SGD', lr=0.05, momentum=0.9)), _delete_=True),
        'randomness.seed': 0,
        'experiment_name': f'strategy{next(COUNT)}',  # two runs of one name and second would share a log
        'custom_hooks': hooks,
    })  # yapf: disable


def load(path: Path) -> dict:
    return torch.load(path, map_location='cpu', weights_only=True)


def stays(source: Path, state: Tensors) -> set[str]:
    """The names of the backbone's tensors that are as in the pretrained file."""
    start = torch.load(source, weights_only=True)
    return {k for k, v in start.items() if torch.equal(state[f'backbone.{k}'], v)}


STATISTICS = r'.*(running_mean|running_var|num_batches_tracked)$'
AFFINE = r'.*(bn\d|downsample\.1)\.(weight|bias)$'
STRATEGIES = {
    'frozen by name': (dict(freeze=['^backbone.(conv1|bn1|layer[12])']), [], None, r'(conv1|bn1|layer[12])\b'),
    'feature extraction': (dict(freeze=['^(?!head)']), [], None, ''),
    'statistics fixed, rates by layer': (dict(norm_policy='eval'), [], BY_LAYER, STATISTICS),
    'frozen BatchNorm, L2-SP': (dict(norm_policy='frozen'), [L2SP], None, f'{STATISTICS}|{AFFINE}'),
    'EMA': ({}, [EMA], None, '(?!)'),
}


@pytest.mark.parametrize('name', STRATEGIES)
def test_what_stays_stays_and_a_resumed_run_equals_the_uninterrupted_one(digits: Digits, source: Path, tmp_path: Path,
                                                                         name: str) -> None:
    """Bitwise, weights and optimizer; the pretrained file is not needed any more."""
    model, hooks, optim_wrapper, fixed = STRATEGIES[name]
    names = list(torch.load(source, weights_only=True))
    train(strategy(digits, source, model, hooks, optim_wrapper), TrainOptions(work_dir=str(tmp_path / 'whole')))
    whole = load(tmp_path / 'whole' / 'epoch_2.pth')
    wanted = {n for n in names if re.match(fixed, n)}
    assert stays(source, whole['state_dict']) == wanted
    with pytest.raises(Killed):
        train(
            strategy(digits, source, model, [*hooks, dict(type='DieHook')], optim_wrapper),
            TrainOptions(work_dir=str(tmp_path / 'cut')))
    cfg = strategy(digits, source, model, hooks, optim_wrapper)
    source.unlink()
    train(cfg, TrainOptions(work_dir=str(tmp_path / 'cut'), resume=True))
    cut = load(tmp_path / 'cut' / 'epoch_2.pth')
    for key in {'state_dict', 'ema_state_dict', 'l2sp_start'} & whole.keys():
        assert whole[key].keys() == cut[key].keys()
        assert [k for k, v in whole[key].items() if not torch.equal(v, cut[key][k])] == []
    assert whole['optimizer']['state'].keys() == cut['optimizer']['state'].keys()
    for number, state in whole['optimizer']['state'].items():
        assert all(torch.equal(value, cut['optimizer']['state'][number][key]) for key, value in state.items())
    held = sum(len(group['params']) for group in whole['optimizer']['param_groups'])
    frozen = {n for n in wanted if not re.match(STATISTICS, n)}
    assert held == 2 + sum(not re.match(STATISTICS, n) for n in names) - len(frozen)


def test_validation_measures_the_averaged_weights_and_the_checkpoint_holds_them(digits: Digits, source: Path,
                                                                                tmp_path: Path) -> None:
    cfg = strategy(digits, source, {}, [EMA, dict(type='ValidatedHook')])
    train(cfg, TrainOptions(work_dir=str(tmp_path / 'run')))
    trained = ValidatedHook.trained
    params = dict(MODELS.build(MODEL).named_parameters())
    average = {k: v.clone() for k, v in trained[1].items()}  # MMEngine's average starts after the first step
    expected = []
    for step, state in enumerate(trained[1:], start=1):
        if step > 1:
            average = {k: 0.8 * average[k] + 0.2 * state[k] if k in params else state[k] for k in state}
        if step in (3, 6):
            expected.append(average)
    checkpoint = load(tmp_path / 'run' / 'epoch_2.pth')
    for wanted, got in ((expected[0], ValidatedHook.validated[0]), (expected[1], ValidatedHook.validated[1]),
                        (expected[1], checkpoint['state_dict'])):  # yapf: disable
        for k in wanted:
            torch.testing.assert_close(got[k], wanted[k], rtol=1e-4, atol=1e-6)
    assert (expected[1]['head.fc.weight'] - trained[-1]['head.fc.weight']).abs().max() > 1e-4
    # training goes on from its own weights, which are kept beside
    assert torch.equal(checkpoint['ema_state_dict']['module.head.fc.weight'], trained[-1]['head.fc.weight'])
    last = json.loads((tmp_path / 'run' / 'metrics.jsonl').read_text().splitlines()[-1])
    cfg.custom_hooks, cfg.experiment_name = [], 'measured'
    cfg.test_dataloader = cfg.val_dataloader
    scores = run_test(cfg, str(tmp_path / 'run' / 'epoch_2.pth'), work_dir=str(tmp_path / 'test'))
    assert last['kind'] == 'val' and scores['loss'] == pytest.approx(last['loss'], rel=1e-5)


def test_two_processes_do_all_of_it_as_one(digits: Digits, source: Path, tmp_path: Path, run_tool: Callable) -> None:
    """Freezing by name, fixed statistics, rates by layer, L2-SP and EMA together; 2 x 20 scans a step against 40."""
    cfg = strategy(digits, source, dict(freeze=[r'^backbone.layer1', 'head.fc.bias'], norm_policy='eval'), [L2SP, EMA],
                   BY_LAYER)
    cfg.train_dataloader.batch_size = 20
    cfg.auto_scale_lr = dict(base_batch_size=40)
    cfg.dump(tmp_path / 'config.py')
    with socket.socket() as one:
        one.bind(('127.0.0.1', 0))
        port = str(one.getsockname()[1])
    done = run_tool('dist_train.sh', 'config.py', 2, '--work-dir', 'two', PORT=port)
    assert done.returncode == 0, done.stdout + done.stderr
    preflight = (tmp_path / 'two' / 'preflight.txt').read_text()
    assert 'frozen bias with trained weight in 1 layer: head.fc' in preflight and 'L2-SP: 0.1/2' in preflight
    train(cfg, TrainOptions(work_dir=str(tmp_path / 'one'), batch_policy='per-device'))
    two, one = (load(tmp_path / name / 'epoch_2.pth') for name in ('two', 'one'))
    for key in ('state_dict', 'ema_state_dict'):
        for name, value in one[key].items():
            torch.testing.assert_close(two[key][name], value, rtol=1e-4, atol=5e-6, msg=f'{key} {name}')
    assert all(torch.equal(v, two['l2sp_start'][k]) for k, v in one['l2sp_start'].items())
    names = list(torch.load(source, weights_only=True))
    assert stays(source, two['state_dict']) == {n for n in names if n.startswith('layer1') or re.match(STATISTICS, n)}
