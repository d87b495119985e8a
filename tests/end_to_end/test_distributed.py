"""Two processes on the CPU, through `dist_train.sh` and `dist_test.sh`, against one."""
import json
import socket
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from ftcls.apis import TrainOptions
from ftcls.apis import test as run_test
from ftcls.apis import train

Digits = Callable[..., Config]


@pytest.fixture
def port() -> str:
    """A port that is free now."""
    with socket.socket() as one:
        one.bind(('127.0.0.1', 0))
        return str(one.getsockname()[1])


def weights(work_dir: Path) -> dict[str, torch.Tensor]:
    return torch.load(work_dir / 'epoch_1.pth', weights_only=True)['state_dict']


def furthest(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """The largest absolute difference between two sets of weights."""
    assert one.keys() == other.keys()
    return max(float((one[k].double() - other[k].double()).abs().max()) for k in one)


def last_validation(work_dir: Path) -> dict[str, float]:
    record = json.loads((work_dir / 'metrics.jsonl').read_text().splitlines()[-1])
    assert record['kind'] == 'val'
    return record


def processes_naming(text: str) -> list[str]:
    """The command lines of running processes in which a text stands."""
    found = []
    for path in Path('/proc').glob('[0-9]*/cmdline'):
        try:
            line = path.read_bytes().replace(b'\0', b' ').decode(errors='replace')
        except OSError:  # it has ended meanwhile
            continue
        if text in line:
            found.append(line)
    return found


def three_steps(digits: Digits, **overrides: object) -> Config:
    """One epoch of 3 steps with 40 scans each; 101 scans to validate on, which 2 x 20 does not divide."""
    return digits(**{
        'randomness.seed': 3,
        'train_cfg.max_epochs': 1,
        'param_scheduler': [],
        'train_dataloader.batch_size': 20,
        'train_dataloader.dataset.indices': 120,
        'val_dataloader.batch_size': 20,
        'val_dataloader.dataset.indices': 101,
        'test_dataloader.batch_size': 20,
        'test_dataloader.dataset.indices': 101,
        'optim_wrapper.optimizer': dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=1e-3, _delete_=True),
        'auto_scale_lr': dict(base_batch_size=40),
        **overrides
    })  # yapf: disable


# BatchNorm with fixed statistics, some of it frozen: what fine-tuning in small batches wants.
FIXED_BATCHNORM = dict(
    type='ImageClassifier',
    backbone=dict(
        type='ResNet_CIFAR', depth=18, in_channels=1, stem_channels=8, base_channels=4, frozen_stages=1,
        norm_eval=True),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=32))


@pytest.mark.parametrize('model', [None, FIXED_BATCHNORM], ids=['no BatchNorm', 'fixed BatchNorm'])
def test_two_processes_train_as_one_with_the_same_total_batch(model: dict | None, digits: Digits, tmp_path: Path,
                                                              run_tool: Callable, port: str) -> None:
    changes = {'model': dict(model, _delete_=True)} if model else {}
    cfg = three_steps(digits, **changes)
    cfg.dump(tmp_path / 'config.py')
    done = run_tool('dist_train.sh', 'config.py', 2, '--work-dir', 'two', PORT=port)
    assert done.returncode == 0, done.stdout + done.stderr
    assert '40 images per step = 20 per process x 2 processes; as in the recipe (40)' in done.stdout
    # Two processes speak with one voice, and of nothing that is not the user's.
    assert done.stdout.count('Epoch(val) [1]') == 1 and 'Warning' not in done.stderr
    train(cfg, TrainOptions(work_dir=str(tmp_path / 'at_once'), batch_policy='per-device'))
    train(cfg, TrainOptions(work_dir=str(tmp_path / 'accumulated')))
    assert '40 images per step = 40 per process x 1 process' in (tmp_path / 'at_once/preflight.txt').read_text()
    assert '20 per process x 1 process x 2 accumulated' in (tmp_path / 'accumulated/preflight.txt').read_text()
    start = tmp_path / 'start'
    cfg.optim_wrapper.optimizer.lr = 1e-30  # changes no weight; 0 is refused
    train(cfg, TrainOptions(work_dir=str(start)))
    two = weights(tmp_path / 'two')
    assert furthest(two, weights(start)) > 1e-2
    for name in ('at_once', 'accumulated'):
        difference = furthest(two, weights(tmp_path / name))
        print(
            f'{name}: weights differ by {difference:.2e} at most, after moving by {furthest(two, weights(start)):.2e}')
        assert difference < 2e-6
        one, other = last_validation(tmp_path / name), last_validation(tmp_path / 'two')
        assert other['accuracy/top1'] == one['accuracy/top1']
        assert other['loss'] == pytest.approx(one['loss'], rel=1e-5)


def test_two_processes_measure_as_one(digits: Digits, tmp_path: Path, run_tool: Callable, port: str) -> None:
    """The last batch of each process is filled up with a sample that must not count."""
    cfg = three_steps(digits)
    cfg.dump(tmp_path / 'config.py')
    train(cfg, TrainOptions(work_dir=str(tmp_path / 'run')))
    checkpoint = tmp_path / 'run' / 'epoch_1.pth'
    done = run_tool('dist_test.sh', 'config.py', checkpoint, 2, '--out', 'two.json', PORT=port)
    assert done.returncode == 0, done.stdout + done.stderr
    two = json.loads((tmp_path / 'two.json').read_text())
    for batch_size in (1, 20, 101):
        cfg.test_dataloader.batch_size = batch_size
        one = run_test(cfg, str(checkpoint), work_dir=str(tmp_path / 'one'))
        print(f'batch size {batch_size}: the losses differ by {abs(one["loss"] - two["loss"]):.1e}')
        assert two['accuracy/top1'] == one['accuracy/top1']
        assert two['loss'] == pytest.approx(one['loss'], rel=1e-6)


def test_an_error_that_all_processes_find_is_said_once(digits: Digits, tmp_path: Path, run_tool: Callable,
                                                       port: str) -> None:
    three_steps(digits, **{'model.head.num_classes': 7}).dump(tmp_path / 'config.py')
    done = run_tool('dist_train.sh', 'config.py', 2, '--work-dir', tmp_path / 'run', PORT=port)
    assert done.returncode == 2
    assert done.stderr.count('model.head.num_classes is 7, but the data has 10 classes') == 1
    assert 'Traceback' not in done.stderr
    assert processes_naming(str(tmp_path)) == []


def test_an_error_that_one_process_finds_ends_them_all(digits: Digits, tmp_path: Path, run_tool: Callable,
                                                       port: str) -> None:
    """The broken picture is the second, which goes to the second process; the first waits for it in vain."""
    noise = np.random.default_rng(0)
    for name in 'ab':
        (tmp_path / 'pictures' / name).mkdir(parents=True)
        for i in range(20):
            cv2.imwrite(str(tmp_path / 'pictures' / name / f'{i:02d}.png'), noise.integers(0, 255, (32, 32), np.uint8))
    (tmp_path / 'pictures' / 'a' / '01.png').write_bytes(b'no picture')
    pipeline = [dict(type='LoadImageFromFile', color_type='grayscale'), dict(type='PackInputs')]
    cfg = three_steps(digits, **{'model.head.num_classes': 2, 'data_preprocessor.num_classes': 2})
    cfg.train_dataloader = dict(
        batch_size=20,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(type='CustomDataset', data_root=str(tmp_path / 'pictures'), pipeline=pipeline))
    cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    cfg.dump(tmp_path / 'config.py')
    done = run_tool('dist_train.sh', 'config.py', 2, '--work-dir', tmp_path / 'run', PORT=port)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count('01.png') == 1 and 'Traceback' not in done.stderr, done.stderr
    assert processes_naming(str(tmp_path)) == []


@pytest.mark.parametrize('arguments, said', [
    (('config.py', ), 'usage: dist_train CONFIG GPUS'),
    (('config.py', 'many'), "GPUS must be a whole number above 0, got 'many'"),
    (('config.py', '0'), "GPUS must be a whole number above 0, got '0'"),
])
def test_wrong_arguments(arguments: tuple[str, ...], said: str, run_tool: Callable) -> None:
    done = run_tool('dist_train.sh', *arguments)
    assert done.returncode == 2 and said in done.stderr
