"""Gradual unfreezing and LP-FT: what is trained when, at which rate, with which momentum; after a resume; in two processes."""
import copy
import itertools
import math
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from ftcls.apis import TrainOptions, load_config, standard_arms, train
from ftcls.engine.hooks import ProgressHook
from ftcls.registry import HOOKS
from ftcls.utils import ConfigError

Digits = Callable[..., Config]

# Stages: the stem, and four with BatchNorm.
NORMED = dict(
    type='ImageClassifier',
    backbone=dict(type='ResNet_CIFAR', depth=18, in_channels=1, stem_channels=8, base_channels=4),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=32))
RANDOM_PIPELINE = [
    dict(type='Resize', scale=32),
    dict(type='RandomCrop', crop_size=32, padding=3),
    dict(type='PackInputs'),
]
COUNT = itertools.count()
SGD = dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=1e-3, _delete_=True)
COSINE = dict(type='CosineAnnealingLR', by_epoch=True, T_max=4, convert_to_iter_based=True, _delete_=True)


@HOOKS.register_module()
class WatchHook(Hook):
    """Writes down, an iteration, what the optimizer holds and does, and checks the momentum."""
    log: list[dict] = []

    def before_train(self, runner: Runner) -> None:
        self.model, self.optimizer = runner.model, runner.optim_wrapper.optimizer
        self.buffers: dict[str, torch.Tensor] = {}
        self.log.append(dict(after=self.state()))
        self.optimizer.register_step_pre_hook(lambda *_: self.look(runner.epoch))
        self.optimizer.register_step_post_hook(lambda *_: self.check_momentum())

    def look(self, epoch: int) -> None:
        self.names = {id(p): n for n, p in self.model.named_parameters()}
        self.grads = {n: p.grad.clone() for n, p in self.model.named_parameters() if p.grad is not None}
        held = [(self.names[id(p)], g['lr'], g['weight_decay']) for g in self.optimizer.param_groups
                for p in g['params']]
        assert [n for g in self.optimizer.param_groups for n in g['param_names']] == [name for name, *_ in held]
        self.log.append(
            dict(
                epoch=epoch,
                trained={n
                         for n, p in self.model.named_parameters() if p.requires_grad},
                held={
                    name: (lr, decay)
                    for name, lr, decay in held
                },
                count=len(held),
                updating={n
                          for n, m in self.model.named_modules() if isinstance(m, nn.BatchNorm2d) and m.training}))
        self.before = {n: p.detach().clone() for n, p in self.model.named_parameters()}

    def check_momentum(self) -> None:
        """A buffer is 0.9 times the one before plus the gradient, and the gradient alone where there was none."""
        new = {self.names[id(p)]: s['momentum_buffer'].clone() for p, s in self.optimizer.state.items()}
        assert new.keys() == self.grads.keys() == self.log[-1]['trained']
        for name, buffer in new.items():
            gradient = self.grads[name] + self.log[-1]['held'][name][1] * self.before[name]
            wanted = gradient + 0.9 * self.buffers[name] if name in self.buffers else gradient
            torch.testing.assert_close(buffer, wanted)
        self.buffers = new
        self.log[-1]['after'] = self.state()

    def state(self) -> dict[str, torch.Tensor]:
        return {n: v.clone() for n, v in self.model.state_dict().items()}


def gradual(digits: Digits, **overrides: object) -> Config:
    """Four epochs of 4 steps on LeNet-5, whose stages are its three convolutions; a rate and decay a kind of parameter."""
    return digits(**copy.deepcopy({  # MMEngine takes `_delete_` out of what it is given
        'train_cfg.max_epochs': 4,
        'train_dataloader.dataset.indices': 160,
        'train_dataloader.dataset.pipeline': RANDOM_PIPELINE,
        'optim_wrapper.optimizer': SGD,
        'optim_wrapper.paramwise_cfg': dict(custom_keys={'head': dict(lr_mult=10)}, bias_decay_mult=0.),
        'param_scheduler': COSINE,
        'randomness.seed': 0,
        'experiment_name': f'unfreezing{next(COUNT)}',  # two runs of one name and second would share a log
        'custom_hooks': [dict(type='GradualUnfreezingHook')],
        **overrides
    }))  # yapf: disable


def load(path: Path) -> dict:
    return torch.load(path, map_location='cpu', weights_only=True)


def assert_same(one: object, other: object, where: str = '') -> None:
    """Bitwise."""
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key, value in one.items():
            assert_same(value, other[key], f'{where}.{key}')
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for i, value in enumerate(one):
            assert_same(value, other[i], f'{where}.{i}')
    else:
        assert one == other, where


def assert_same_end(one: Path, other: Path, name: str = 'epoch_4.pth') -> None:
    """Weights, optimizer (groups and momentum), schedules."""
    one, other = load(one / name), load(other / name)
    for key in ('state_dict', 'optimizer', 'param_schedulers'):
        assert_same(one[key], other[key], key)


def test_gradual_unfreezing_tensor_by_tensor(digits: Digits, tmp_path: Path) -> None:
    """Stage after stage begins to learn, at the schedule's rate, the earlier ones with their momentum, BatchNorm with it."""
    WatchHook.log = []
    hooks = [dict(type='GradualUnfreezingHook', start=3), dict(type='WatchHook')]
    cfg = gradual(digits, **{'model': dict(NORMED, _delete_=True), 'custom_hooks': hooks})
    cfg.model.backbone.frozen_stages = 0  # the config's own, which holds to the end
    runner = train(cfg, TrainOptions(work_dir=str(tmp_path)))
    start, *log = WatchHook.log
    assert len(log) == 16
    stage = {f'backbone.{n}': k for n, k in runner.model.backbone.stage_of_parameters().items()}
    for step, now in enumerate(log):
        epoch = step // 4
        frozen = 3 - epoch  # start=3: stage 4 learns from the first epoch on; the stem never
        wanted = {n for n, _ in runner.model.named_parameters() if stage.get(n, 9) > frozen}
        assert now['epoch'] == epoch and now['trained'] == set(now['held']) == wanted and now['count'] == len(wanted)
        for name, (lr, decay) in now['held'].items():
            factor = (10 if name.startswith('head') else 1) * (1 + math.cos(math.pi * step / 16)) / 2
            assert lr == pytest.approx(0.05 * factor, rel=1e-6)
            # for the head its custom key decides alone
            assert decay == (0. if name.endswith('bias') and not name.startswith('head') else 1e-3)
        assert now['updating'] == {
            n for n, m in runner.model.named_modules()
            if isinstance(m, nn.BatchNorm2d) and stage[f'{n}.weight'] > frozen
        }  # yapf: disable
    states = [start['after']] + [now['after'] for now in log[3::4]]
    for epoch in range(4):
        moved = {n for n in states[0] if not torch.equal(states[epoch][n], states[epoch + 1][n])}
        assert {n for n in moved if n in dict(runner.model.named_parameters())} == log[4 * epoch]['trained']
        statistics = {n.rpartition('.')[0] for n in moved if 'running' in n}
        assert statistics == log[4 * epoch]['updating']


def test_the_preflight_tells_the_plan_and_the_dry_run_holds(digits: Digits, tmp_path: Path,
                                                            capsys: pytest.CaptureFixture) -> None:
    cfg = gradual(digits, **{'model.backbone.frozen_stages': 0})
    cfg.custom_hooks = [dict(type='GradualUnfreezingHook', schedule={0: 2, 2: 1, 5: 0})]
    train(cfg, TrainOptions(work_dir=str(tmp_path), dry_run=True))
    text = (tmp_path / 'preflight.txt').read_text()
    assert 'unfreezing: from epoch 1 all but the backbone\n' in text
    assert 'unfreezing: from epoch 3 + stage 2 (backbone.features.6)\n' in text
    assert 'unfreezing: from epoch 6 + stage 1 (backbone.features.3) (NEVER: the run ends after 4 epochs)' in text
    assert '1,210 of 51,902 parameters are trained' in text
    assert 'one step on one batch: 2 of 2 trained tensors changed, 0 of 6 frozen ones' in capsys.readouterr().out


class Killed(BaseException):
    """Stands for a kill."""


def train_until(monkeypatch: pytest.MonkeyPatch, iteration: int, cfg: Config, work_dir: Path,
                **options: object) -> None:
    """Let a run die after so many iterations."""
    keep = ProgressHook.after_train_iter

    def after_train_iter(self: ProgressHook, runner: Runner, *args: object, **kwargs: object) -> None:
        keep(self, runner, *args, **kwargs)
        if runner.iter + 1 == iteration:
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(ProgressHook, 'after_train_iter', after_train_iter)
        train(cfg, TrainOptions(work_dir=str(work_dir), **options))


ADAM = dict(type='Adam', lr=0.002, _delete_=True)


@pytest.mark.parametrize('optimizer, accumulate', [(SGD, 1), (ADAM, 3)], ids=['SGD', 'Adam, steps across epochs'])
def test_a_killed_run_goes_on_as_if_it_had_not_been_stopped(digits: Digits, tmp_path: Path,
                                                            monkeypatch: pytest.MonkeyPatch, optimizer: dict,
                                                            accumulate: int) -> None:
    """Killed in the middle of the second, and again of the third epoch of 4 steps: each time another set is trained."""
    cfg = gradual(
        digits, **{
            'optim_wrapper.optimizer': optimizer,
            'optim_wrapper.accumulative_counts': accumulate,
            'optim_wrapper.paramwise_cfg': dict(custom_keys={'head': dict(lr_mult=10)})
        })
    train(cfg, TrainOptions(work_dir=str(tmp_path / 'whole')))
    train_until(monkeypatch, 6, cfg, tmp_path / 'cut')
    assert not (tmp_path / 'cut' / 'epoch_2.pth').exists()
    train_until(monkeypatch, 11, cfg, tmp_path / 'cut', resume=True)
    train(cfg, TrainOptions(work_dir=str(tmp_path / 'cut'), resume=True))
    assert_same_end(tmp_path / 'whole', tmp_path / 'cut')


def test_resume_after_any_epoch_with_batchnorm(digits: Digits, tmp_path: Path) -> None:
    cfg = gradual(digits, **{'model': dict(NORMED, _delete_=True), 'default_hooks.checkpoint.max_keep_ckpts': -1})
    train(cfg, TrainOptions(work_dir=str(tmp_path / 'whole')))
    for epoch in (1, 2, 3):
        resume = tmp_path / 'whole' / f'epoch_{epoch}.pth'
        assert load(resume)['meta']['frozen_stages'] == 5 - epoch
        again = tmp_path / f'again{epoch}'
        train(cfg, TrainOptions(work_dir=str(again), resume=str(resume)))
        assert_same_end(tmp_path / 'whole', again)


def test_a_run_without_the_hook_can_be_gone_on_with_it(digits: Digits, tmp_path: Path) -> None:
    """Its optimizer held everything; what the plan has frozen at that point leaves it."""
    cfg = gradual(digits, custom_hooks=[])
    train(cfg, TrainOptions(work_dir=str(tmp_path / 'plain')))
    cfg.custom_hooks = [dict(type='GradualUnfreezingHook', every=3), dict(type='WatchHook')]
    WatchHook.log = []
    with pytest.raises(AssertionError):  # the watch starts with no buffers, and finds that those of before are kept
        train(cfg, TrainOptions(work_dir=str(tmp_path / 'on'), resume=str(tmp_path / 'plain' / 'epoch_3.pth')))
    assert set(WatchHook.log[1]['held']) == {
        f'{m}.{k}'
        for m in ('backbone.features.6', 'head.fc')
        for k in ('weight', 'bias')
    }


def test_by_iteration(digits: Digits, tmp_path: Path) -> None:
    """In a loop that counts iterations: after 2 the last stage, after 5 the rest."""
    WatchHook.log = []
    hook = dict(type='GradualUnfreezingHook', schedule={0: 2, 2: 1, 5: -1}, by_epoch=False)
    cfg = gradual(
        digits, **{
            'train_cfg': dict(type='IterBasedTrainLoop', max_iters=6, val_interval=3, _delete_=True),
            'param_scheduler': [],
            'optim_wrapper.paramwise_cfg': None,
            'default_hooks.checkpoint.by_epoch': False,
            'default_hooks.checkpoint.interval': 3,
            'custom_hooks': [hook, dict(type='WatchHook')]
        })
    train(cfg, TrainOptions(work_dir=str(tmp_path / 'whole')))
    assert [now['count'] for now in WatchHook.log[1:]] == [2, 2, 4, 4, 4, 8]
    cfg.custom_hooks = [hook]
    train(cfg, TrainOptions(work_dir=str(tmp_path / 'on'), resume=str(tmp_path / 'whole' / 'iter_3.pth')))
    on, whole = load(tmp_path / 'on' / 'iter_6.pth'), load(tmp_path / 'whole' / 'iter_6.pth')
    assert [len(g['params']) for g in on['optimizer']['param_groups']] == [8]
    assert on['state_dict'].keys() == whole['state_dict'].keys()


def test_lpft_is_a_probe_and_then_a_fine_tuning(digits: Digits, tmp_path: Path) -> None:
    """Until the change it is bitwise a probe; at the change the schedule starts anew at a tenth; then everything moves."""
    restart = dict(
        type='CosineRestartLR',
        periods=[2, 2],
        restart_weights=[1, 0.1],
        eta_min=0.,
        convert_to_iter_based=True,
        _delete_=True)
    overrides = {'param_scheduler': restart, 'default_hooks.checkpoint.max_keep_ckpts': -1}
    WatchHook.log = []
    hooks = [dict(type='LinearProbeFineTuneHook', probe=2), dict(type='WatchHook')]
    train(gradual(digits, custom_hooks=hooks, **overrides), TrainOptions(work_dir=str(tmp_path / 'lpft')))
    probe = gradual(digits, custom_hooks=[], **overrides)
    probe.model.backbone.frozen_stages = 2
    train(probe, TrainOptions(work_dir=str(tmp_path / 'probe')))
    assert_same(
        load(tmp_path / 'lpft' / 'epoch_2.pth')['state_dict'],
        load(tmp_path / 'probe' / 'epoch_2.pth')['state_dict'])
    assert [now['count'] for now in WatchHook.log[1:]] == [2] * 8 + [8] * 8
    rates = [now['held']['head.fc.weight'][0] for now in WatchHook.log[1:]]
    wanted = [0.5 * w * (1 + math.cos(math.pi * i / 8)) / 2 for w in (1, 0.1) for i in range(8)]
    assert rates == pytest.approx(wanted)
    backbone = [now['held']['backbone.features.0.weight'][0] for now in WatchHook.log[9:]]
    assert backbone == pytest.approx([rate / 10 for rate in wanted[8:]])
    start, end = WatchHook.log[8]['after'], load(tmp_path / 'lpft' / 'epoch_4.pth')['state_dict']
    assert not [n for n in start if torch.equal(start[n], end[n])]


def test_lpft_after_a_kill(digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = gradual(digits, custom_hooks=[dict(type='LinearProbeFineTuneHook')])  # half of the four epochs
    train(cfg, TrainOptions(work_dir=str(tmp_path / 'whole')))
    train_until(monkeypatch, 6, cfg, tmp_path / 'cut')
    train_until(monkeypatch, 14, cfg, tmp_path / 'cut', resume=True)
    assert load(tmp_path / 'cut' / 'epoch_2.pth')['meta']['frozen_stages'] == 2
    assert load(tmp_path / 'cut' / 'epoch_3.pth')['meta']['frozen_stages'] == -1
    train(cfg, TrainOptions(work_dir=str(tmp_path / 'cut'), resume=True))
    assert_same_end(tmp_path / 'whole', tmp_path / 'cut')


def test_the_arm_lpft(digits: Digits) -> None:
    own = dict(type='WatchHook')
    arms = standard_arms(gradual(digits, custom_hooks=[own, dict(type='GradualUnfreezingHook')]))
    assert arms['lpft']['custom_hooks'] == [own, dict(type='LinearProbeFineTuneHook', probe=0.5)]
    assert arms['probe']['custom_hooks'] == arms['scratch']['custom_hooks'] == [own]
    assert 'custom_hooks' not in arms['finetune']


@pytest.fixture
def port() -> str:
    """A port that is free now."""
    with socket.socket() as one:
        one.bind(('127.0.0.1', 0))
        return str(one.getsockname()[1])


FIXED = {**NORMED, 'backbone': {**NORMED['backbone'], 'norm_eval': True}}


@pytest.mark.parametrize('hook, model', [
    pytest.param(dict(type='GradualUnfreezingHook'), FIXED, id='gradual'),
    pytest.param(dict(type='LinearProbeFineTuneHook', probe=1), None, id='LP-FT', marks=pytest.mark.slow),
])
def test_two_processes_train_as_one(digits: Digits, tmp_path: Path, run_tool: Callable, port: str, hook: dict,
                                    model: dict | None) -> None:
    """Without `find_unused_parameters`; and a resumed run of two equals the uninterrupted one."""
    cfg = gradual(
        digits, **{
            'train_cfg.max_epochs': 3,
            'train_dataloader.batch_size': 20,
            'train_dataloader.dataset.indices': 80,
            'train_dataloader.dataset.pipeline': [dict(type='Resize', scale=32), dict(type='PackInputs')],
            'default_hooks.checkpoint.max_keep_ckpts': -1,
            'custom_hooks': [hook],
            'auto_scale_lr': dict(base_batch_size=40),
            **({'model': dict(model, _delete_=True)} if model else {})
        })  # yapf: disable
    cfg.dump(tmp_path / 'config.py')
    done = run_tool('dist_train.sh', 'config.py', 2, '--work-dir', 'two', PORT=port)
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'Warning' not in done.stderr and 'from epoch 2 +' in done.stdout
    train(cfg, TrainOptions(work_dir=str(tmp_path / 'one'), batch_policy='per-device'))
    first, one, two = (
        load(tmp_path / path)['state_dict'] for path in ('two/epoch_1.pth', 'one/epoch_3.pth', 'two/epoch_3.pth'))
    furthest = max(float((one[n].double() - two[n].double()).abs().max()) for n in one)
    moved = max(float((first[n].double() - two[n].double()).abs().max()) for n in one)
    print(f'two processes and one differ by {furthest:.1e} at most, after moving by {moved:.1e}')
    assert moved > 1e-2 and furthest < 5e-6
    unfrozen = [n for n in first if 'backbone' in n and not torch.equal(first[n], two[n])]
    assert unfrozen and {n.split('.')[1] for n in unfrozen} <= {'layer4', 'layer3', 'features'}
    if model:
        done = run_tool('dist_train.sh', 'config.py', 2, '--work-dir', 'on', '--resume', 'two/epoch_1.pth', PORT=port)
        assert done.returncode == 0, done.stdout + done.stderr
        assert_same_end(tmp_path / 'two', tmp_path / 'on', 'epoch_3.pth')


@pytest.mark.parametrize('hooks, said', [
    ([dict(type='GradualUnfreezingHook', every=0)], 'every=0: must be at least 1'),
    ([dict(type='GradualUnfreezingHook', start=3)], 'start=3: must be -1 .* … 2 '),
    ([dict(type='GradualUnfreezingHook', start=1, schedule={0: 1})], 'give it, or these'),
    ([dict(type='GradualUnfreezingHook', schedule={1: 1})], 'whole numbers, 0 among them'),
    ([dict(type='GradualUnfreezingHook', schedule={0: 1, -1: 0})], 'whole numbers, 0 among them'),
    ([dict(type='GradualUnfreezingHook', schedule={0: 1, 2: 2})], 'freezes again'),
    ([dict(type='GradualUnfreezingHook', schedule={0: 2, 2: 7})], r'schedule\[2\]=7: must be -1 .* … 2 '),
    ([dict(type='GradualUnfreezingHook', start=-1)], 'nothing to unfreeze'),
    ([dict(type='GradualUnfreezingHook', by_epoch=False), dict(type='LinearProbeFineTuneHook')], 'keep one'),
    ([dict(type='LinearProbeFineTuneHook', probe=4)], 'probe=4: must be below the 4 epochs'),
    ([dict(type='LinearProbeFineTuneHook', probe=1.5)], 'probe=1.5'),
])  # yapf: disable
def test_what_means_nothing_is_refused(digits: Digits, tmp_path: Path, hooks: list, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        train(gradual(digits, custom_hooks=hooks), TrainOptions(work_dir=str(tmp_path)))
    assert not list(tmp_path.glob('*.pth'))


def test_a_schedule_survives_the_dump_of_the_config(digits: Digits, tmp_path: Path) -> None:
    gradual(digits, custom_hooks=[dict(type='GradualUnfreezingHook', schedule={0: 2, 2: -1})]).dump(tmp_path / 'c.py')
    assert load_config(tmp_path / 'c.py').custom_hooks[0].schedule == {0: 2, 2: -1}
