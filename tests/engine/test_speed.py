"""How the model computes: what a comparison chooses and leaves as it was, what is kept, and what is refused."""
import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from torch import nn

from ftcls.apis import TrainOptions, train
from ftcls.apis.training.train import check_config
from ftcls.config.resolve import Facts, resolve
from ftcls.datasets.worker_seed import random_state
from ftcls.engine.hooks import speed
from ftcls.engine.hooks.speed import Layout, SpeedHook, Trial
from ftcls.registry import MODELS
from ftcls.structures import DataSample
from ftcls.utils import ConfigError
from ftcls.utils.checkpoint.loading import read_checkpoint

PLAIN, LAST, HALF, BOTH = Layout(), Layout(True, False), Layout(False, True), Layout(True, True)
MODEL = dict(
    type='ImageClassifier',
    backbone=dict(type='ResNet', depth=18, stem_channels=8, base_channels=8),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=64))


def samples(count: int = 3) -> list[dict]:
    generator = torch.Generator().manual_seed(0)
    return [
        dict(
            inputs=torch.randint(256, (3, 32, 32), generator=generator, dtype=torch.uint8),
            data_samples=DataSample().set_gt_label(i)) for i in range(count)
    ]


def digits(tmp_path: Path, **changes: Any) -> Config:
    """A tiny run of a ResNet on digits."""
    pipeline = [dict(type='Resize', scale=(32, 32)), dict(type='PackInputs')]
    loader = dict(batch_size=8, num_workers=0, dataset=dict(type='Digits', indices=24, pipeline=pipeline))
    model = copy.deepcopy(MODEL)
    model['backbone']['in_channels'] = 1
    return Config(
        dict(
            model=model,
            train_dataloader=loader,
            train_cfg=dict(by_epoch=True, max_epochs=2),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9)),
            default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)),
            allow_missing_classes=True,
            randomness=dict(seed=0),
            work_dir=str(tmp_path / 'run'),
            **changes))


class Scripted(Trial):
    """A trial whose steps take given times."""

    def __init__(self, seconds: dict[Layout, float], loss: dict[Layout, float], turned: tuple[Layout, ...]) -> None:
        self.seconds, self.loss, self.turned, self.images = seconds, loss, turned, 0

    def step(self, images: int, layout: Layout) -> tuple[float, float]:
        if layout not in self.seconds:
            raise RuntimeError('no kernel for this\nmore')
        self.last, self.images = layout, images
        return self.seconds[layout], self.loss.get(layout, 2.)

    def gradient(self) -> torch.Tensor:
        return torch.tensor([0., 1.] if self.last in self.turned else [1., 0.])


@pytest.mark.parametrize(
    'seconds, loss, turned, best, said',
    [
        ((.04, .036, .032, .02), {},
         (), BOTH, 'float32 800.0, channels_last 888.9, amp 1,000.0, channels_last + amp 1,600.0'),
        ((1., .92, .95, .93), {}, (), PLAIN, 'float32 2.0, channels_last 2.2'),  # none is clearly faster
        ((1., .7, .9, .65), {}, (), LAST, 'channels_last + amp 3.1'),  # the simpler of two that are alike
        ((1., .9, .8, .5), {
            BOTH: 2.1
        }, (), HALF, 'channels_last + amp is not exact (loss 2.1, not 2'),
        ((1., .8, .8, .5), {
            HALF: float('nan')
        }, (BOTH, ), LAST, 'gradient 0.00'),
        ((1., .9, .8), {}, (), HALF, 'channels_last + amp fails (no kernel for this)'),
    ])
def test_choice(seconds: tuple, loss: dict, turned: tuple, best: Layout, said: str) -> None:
    trial = Scripted(dict(zip((PLAIN, LAST, HALF, BOTH), seconds)), loss, turned)
    found, seen = trial.compare([PLAIN, LAST, HALF, BOTH], left=10**6, batch_size=32, note='; a note')
    assert found == best and said in seen and seen.endswith('; 1.15 times as fast is needed; a note')


def test_a_busy_machine_is_said() -> None:
    trial, passed = Scripted({PLAIN: 0.2, BOTH: 0.1}, {}, ()), []

    def step(images: int, layout: Layout) -> tuple[float, float]:
        passed.append(layout)
        seconds, loss = Scripted.step(trial, images, layout)
        return seconds * (1 + 1.1 * (len(passed) == 8)), loss

    trial.step = step
    found, seen = trial.compare([PLAIN, BOTH], left=10_000, batch_size=9)
    assert found == BOTH and seen.endswith(
        '; the machine is busy: of equal steps, one took 2.1 times as long as another')


@pytest.mark.parametrize('left', [2999, 59_999])  # 30 s if two images take 20 ms, or as many as 0.4 s would give
def test_short_trainings_are_not_compared(left: int) -> None:
    trial = Scripted({PLAIN: 0.02}, {}, ())
    assert trial.compare([PLAIN, BOTH], left=left, batch_size=64) == (PLAIN, 'since less than 30 s of training are '
                                                                      'too short to compare')


def test_a_step_of_a_comparison_takes_a_while() -> None:
    trial = Scripted({PLAIN: 0.2, BOTH: 0.1}, {}, ())
    assert trial.compare([PLAIN, BOTH], left=10_000, batch_size=9)[0] == BOTH and trial.images == 8


def test_a_trial_leaves_the_model_and_the_random_numbers_as_they_are() -> None:
    torch.manual_seed(0)
    model = MODELS.build(copy.deepcopy(MODEL))
    model.eval()
    model.head.fc.weight.grad = torch.ones(10, 64)
    state, numbers = copy.deepcopy(model.state_dict()), str(random_state())
    trial = Trial(model, samples(), pseudo_collate)
    losses = [trial.step(4, layout)[1] for layout in (PLAIN, BOTH, PLAIN)]
    assert losses[0] == losses[2] == pytest.approx(losses[1], rel=0.02)
    assert str(random_state()) == numbers
    assert not model.training and model.cast_dtype is None and model.backbone.conv1.weight.is_contiguous()
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert [name for name, p in model.named_parameters() if p.grad is not None] == ['head.fc.weight']


def test_layouts_compute_the_same() -> None:
    torch.manual_seed(0)
    model = MODELS.build(copy.deepcopy(MODEL)).eval()
    images = torch.randn(2, 3, 32, 32)
    plain = model(images)
    BOTH.apply(model)
    assert model.backbone.layer1[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)
    out = model(images)
    assert out.dtype == torch.bfloat16 and torch.allclose(out.float(), plain, atol=0.02)
    with torch.autocast('cpu', torch.float16):  # what is set outside holds
        assert model(images).dtype == torch.float16
    PLAIN.apply(model)
    assert torch.equal(model(images), plain)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare in any training, and find channels_last + amp better."""
    for name in ('_LEAST_SECONDS', '_LEAST_IMAGES'):
        monkeypatch.setattr(speed, name, 0)
    monkeypatch.setattr(speed, '_GAIN', 0.)
    monkeypatch.setattr(speed, '_SECONDS', 60.)
    monkeypatch.setattr(speed, '_ROUNDS', 2)
    monkeypatch.setattr(speed, '_STEP', 0.01)
    monkeypatch.setattr(speed, '_GRADIENT', 0.5)
    monkeypatch.setattr(speed, 'has_bfloat16', lambda device: True)


def test_a_resumed_run_keeps_the_choice_bit_by_bit(tmp_path: Path, quick: None,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train(digits(tmp_path / 'whole'))
    assert whole.model.cast_dtype == torch.bfloat16
    table = (tmp_path / 'whole/run/preflight.txt').read_text()
    assert 'speed     channels_last + amp, images/s of training' in table
    assert 'optimizer SGD(momentum=0.9), torch.bfloat16 where it is safe' in table
    monkeypatch.setattr(Trial, 'compare', None)  # would fail
    first = read_checkpoint(tmp_path / 'whole/run/epoch_1.pth')
    assert first['meta']['speed'] == dict(channels_last=True, amp=True)
    assert all(value.is_contiguous() for value in first['state_dict'].values())
    off, again = digits(tmp_path / 'off', speed='off'), TrainOptions(resume=str(tmp_path / 'whole/run/epoch_1.pth'))
    train(off, again)
    said = 'float32, as the config says; before the resume it was channels_last + amp'
    assert said in (tmp_path / 'off/run/preflight.txt').read_text()
    resumed = train(digits(tmp_path / 'resumed'), TrainOptions(resume=str(tmp_path / 'whole/run/epoch_1.pth')))
    assert 'channels_last + amp, as before the resume' in (tmp_path / 'resumed/run/preflight.txt').read_text()
    for key, value in resumed.model.state_dict().items():
        assert torch.equal(value, whole.model.state_dict()[key]), key


@pytest.mark.parametrize('part', ['__init__', 'compare'])
def test_a_model_that_fits_once_trains_without_a_comparison(tmp_path: Path, quick: None,
                                                            monkeypatch: pytest.MonkeyPatch, part: str) -> None:

    def fail(*args: object) -> None:
        raise torch.OutOfMemoryError('CUDA out of memory')

    monkeypatch.setattr(Trial, part, fail)
    train(digits(tmp_path))
    said = 'float32, since a second copy of the model does not fit in the memory of the device'
    assert said in (tmp_path / 'run/preflight.txt').read_text()


@pytest.mark.parametrize('changes, said', [
    (dict(speed='off'), 'float32, as the config says'),
    (dict(speed=False), 'float32, as the config says'),
    (dict(speed=dict(channels_last=True, amp=False)), 'channels_last, as the config says'),
    (dict(randomness=dict(seed=0, deterministic=True)), 'float32, since randomness.deterministic=True'),
    (dict(speed=dict(channels_last=True), randomness=dict(seed=0, deterministic=True)),
     'channels_last, channels_last=True as the config says, the rest since randomness.deterministic=True'),
])
def test_what_the_config_says_is_not_compared(tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch,
                                              changes: dict, said: str) -> None:
    monkeypatch.setattr(Trial, 'compare', None)
    cfg = digits(tmp_path)
    cfg.merge_from_dict(dict(changes, **{'train_cfg.max_epochs': 1}))
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic
    try:
        runner = train(cfg)
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.deterministic = before[1]
    assert f'speed     {said}' in (tmp_path / 'run/preflight.txt').read_text()
    assert runner.model.cast_dtype is None


def test_other_settings(tmp_path: Path) -> None:
    runner = train(
        digits(tmp_path, speed=dict(fused=True, grad_checkpointing=True, channels_last=True)),
        TrainOptions(amp=True, dry_run=False))
    assert runner.optim_wrapper.optimizer.param_groups[0]['fused'] is True
    table = (tmp_path / 'run/preflight.txt').read_text()
    assert 'fused=True, tf32=False, cudnn_benchmark=False, grad_checkpointing=True, compile=False' in table
    assert 'forward' in vars(runner.model.backbone.layer1[0]) and runner.model.cast_dtype is None
    said = 'channels_last=True as the config says, the rest since optim_wrapper sets the precision'
    assert f'speed     channels_last, {said}' in table


def test_what_amp_computes_in_is_not_called_float32(tmp_path: Path) -> None:
    train(digits(tmp_path, speed='off'), TrainOptions(amp=True))
    assert 'speed     AmpOptimWrapper, as the config says' in (tmp_path / 'run/preflight.txt').read_text()


def test_a_comparison_is_made_in_the_precision_of_the_run() -> None:
    model, seen = MODELS.build(copy.deepcopy(MODEL)), []
    model.head.register_forward_hook(lambda *args: seen.append(torch.is_autocast_enabled('cpu')))
    Trial(model, samples(), pseudo_collate, lambda model: torch.autocast('cpu', torch.bfloat16)).step(2, LAST)
    Trial(model, samples(), pseudo_collate).step(2, LAST)
    assert seen == [True, False]


@pytest.mark.parametrize('changes, said', [
    ({
        'optim_wrapper.optimizer': dict(type='Rprop', lr=0.1),
        'speed': dict(fused=True)
    }, 'speed.fused=True: Rprop'),
    ({
        'model.backbone': dict(type='LeNet5'),
        'model.head.in_channels': 120,
        'speed': dict(grad_checkpointing=True)
    }, 'speed.grad_checkpointing=True: LeNet5'),
])
def test_refused_before_the_first_step(tmp_path: Path, changes: dict, said: str) -> None:
    cfg = digits(tmp_path)
    for key, value in changes.items():
        *way, last = key.split('.')
        node = cfg
        for part in way:
            node = node[part]
        node[last] = value
    with pytest.raises(ConfigError, match=said):
        train(cfg)


@pytest.mark.parametrize('changes, key', [
    (dict(speed=dict(amp=False), optim_wrapper=dict(type='AmpOptimWrapper', optimizer=dict(type='SGD', lr=1.))), 'amp'),
    (dict(speed=dict(compile=False), compile=True), 'compile'),
    (dict(speed=dict(cudnn_benchmark=True), env_cfg=dict(cudnn_benchmark=False)), 'cudnn_benchmark'),
    (dict(speed=dict(cudnn_benchmark=True), randomness=dict(deterministic=True)), 'cudnn_benchmark'),
])
def test_contradictions(tmp_path: Path, changes: dict, key: str) -> None:
    cfg = digits(tmp_path)
    cfg._cfg_dict.update(Config(changes)._cfg_dict)
    with pytest.raises(ConfigError, match=rf'speed\.{key}=.*remove one'):
        resolve(cfg, TrainOptions(), Facts())
    cfg.speed = 'off'  # of what the hook decides only
    resolve(cfg, TrainOptions(), Facts())


@pytest.mark.parametrize('value, said', [
    ('of', "'off'"),
    (True, 'speed'),
    (dict(chanels_last=True), "'channels_last'"),
    (dict(amp='yes'), 'speed.amp'),
])
def test_misspelt_settings(tmp_path: Path, value: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check_config(digits(tmp_path, speed=value), TrainOptions())


def test_models_of_others_have_no_autocast(make_runner: Any) -> None:
    runner = make_runner([SpeedHook()], cfg=Config(dict(speed=dict(amp=True))))
    with pytest.raises(ConfigError, match='speed.amp=True'):
        runner.train()


def test_compiles_the_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each part is one graph, the step around it is not compiled; a compiler that fails is a ConfigError."""
    compiled = []
    monkeypatch.setattr(nn.Module, 'compile', lambda self, **options: compiled.append((type(self).__name__, options)))
    train(digits(tmp_path, speed=dict(compile=True), compile=dict(backend='eager')))
    assert [name for name, _ in compiled] == ['ResNet', 'GlobalAveragePooling', 'LinearClsHead']
    assert compiled[0][1] == dict(backend='eager')

    def broken(function: Any, **options: Any) -> None:
        raise RuntimeError('no g++ here')

    monkeypatch.setattr(torch, 'compile', broken)
    with pytest.raises(ConfigError, match=r'no g\+\+ here.*remove speed.compile'):
        train(digits(tmp_path, speed=dict(compile=True)))
