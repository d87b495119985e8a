"""A run that is resumed within an epoch equals the one that was not stopped, bit by bit."""
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from ftcls.apis.training.train import TrainOptions, train
from ftcls.datasets import Digits
from ftcls.engine.hooks import CheckpointHook
from ftcls.models.backbones import LeNet5
from ftcls.registry import MODELS
from ftcls.utils.checkpoint.loading import read_checkpoint
from ftcls.visualization import read_records


@MODELS.register_module(force=True)
class DropoutLeNet(LeNet5):
    """LeNet-5 whose training draws random numbers in the main process."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(nn.functional.dropout(feature, 0.3, self.training) for feature in super().forward(x))


def recipe(work_dir: Path,
           workers: int = 0,
           sampler: str = 'DefaultSampler',
           persistent_workers: bool = False,
           checkpoint: dict | None = None,
           hooks: list = (),
           **changes: Any) -> Config:
    """Return a training of 2 epochs with 5 batches of 4 images, or what ``changes`` makes of it."""
    augmenting = [
        dict(type='RandomResizedCrop', scale=32, crop_ratio_range=(0.5, 1.0)),
        dict(type='RandomErasing', erase_prob=0.5, mode='rand'),
        dict(type='PackInputs')
    ]
    resizing = [dict(type='Resize', scale=32), dict(type='PackInputs')]
    loader = dict(num_workers=workers, collate_fn=dict(type='default_collate'))
    images = dict(type='Digits', subset='target', shots_per_class=2)
    cfg = dict(
        model=dict(
            type='ImageClassifier',
            backbone=dict(type='DropoutLeNet', num_classes=-1),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=10, in_channels=120),
            train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8)])),
        data_preprocessor=dict(num_classes=10, mean=[78.], std=[82.], to_rgb=False),
        train_dataloader=dict(
            batch_size=4,
            dataset=dict(split='train', pipeline=augmenting, **images),
            sampler=dict(type=sampler),
            persistent_workers=persistent_workers,
            **loader),
        val_dataloader=dict(
            batch_size=50,
            dataset=dict(split='val', pipeline=resizing, **images),
            sampler=dict(type='DefaultSampler', shuffle=False),
            **loader),
        val_evaluator=dict(type='Accuracy', topk=(1, )),
        val_cfg=dict(),
        train_cfg=dict(by_epoch=True, max_epochs=2, val_interval=1),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.01)),
        param_scheduler=[
            dict(type='LinearLR', start_factor=0.1, begin=0, end=9, by_epoch=False),
            dict(type='MultiStepLR', milestones=[1, 2], by_epoch=True)
        ],
        default_hooks=dict(
            logger=dict(type='LoggerHook', interval=3),
            checkpoint=dict(
                dict(type='CheckpointHook', by_epoch=False, interval=1, save_best='accuracy/top1'), **checkpoint
                or {})),
        custom_hooks=list(hooks),
        default_scope='ftcls',
        randomness=dict(seed=0),
        work_dir=str(work_dir))
    return Config({**cfg, **changes})


def last_state(folder: Path) -> dict[str, Any]:
    """Return the last checkpoint's weights and optimizer."""
    checkpoint = read_checkpoint((folder / 'last_checkpoint').read_text())
    return {key: checkpoint[key] for key in ('state_dict', 'optimizer', 'param_schedulers') if key in checkpoint}


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other


def records(folder: Path) -> list[dict]:
    """Return the records of a run, apart from the time."""
    return [{
        key: value
        for key, value in record.items() if key != 'time'
    } for record in read_records(folder / 'metrics.jsonl')]


def resumed_equals(tmp_path: Path, at: int, **settings: Any) -> bool:
    """Tell whether the run that continues from iteration ``at`` of ``whole`` ends as ``whole`` did."""
    folder = tmp_path / f'from_{at}'
    shutil.copytree(tmp_path / 'whole', folder)
    train(recipe(folder, **settings), TrainOptions(resume=str(folder / f'iter_{at}.pth')))
    return equal(last_state(tmp_path / 'whole'), last_state(folder))


@pytest.fixture(autouse=True)
def no_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    """The layout of the config in each checkpoint would take most of the time."""
    lines = property(lambda cfg: '\n'.join(f'{key} = {value!r}' for key, value in cfg.to_dict().items()))
    monkeypatch.setattr(Config, 'pretty_text', lines)


ACCUMULATED = dict(
    optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.05, momentum=0.9), accumulative_counts=3),
    hooks=[dict(type='EMAHook')])
UNFREEZING = dict(hooks=[dict(type='LinearProbeFineTuneHook', probe=4, by_epoch=False)])
BY_ITERATIONS = dict(
    train_cfg=dict(by_epoch=False, max_iters=12, val_interval=4),
    param_scheduler=[dict(type='LinearLR', start_factor=0.1, begin=0, end=9, by_epoch=False)])


@pytest.mark.parametrize(
    ('at', 'workers', 'sampler', 'settings'),
    [
        ((3, 5), 0, 'DefaultSampler', ACCUMULATED),  # 5 is the end of the first epoch, before its validation
        ((7, ), 2, 'BalancedSampler', {}),
        ((3, ), 0, 'RepeatAugSampler', UNFREEZING),
        ((4, ), 0, 'InfiniteSampler', BY_ITERATIONS),  # 4 is before a validation
        ((5, ), 2, 'DefaultSampler', BY_ITERATIONS),  # 5 is the end of the first pass
        ((1, ), 2, 'InfiniteSampler', BY_ITERATIONS),  # its workers start before the seed of an epoch is set
        ((2, ), 2, 'DefaultSampler', dict(persistent_workers=True)),
    ])
def test_resumed_run_equals_the_uninterrupted_one(tmp_path: Path, at: tuple, workers: int, sampler: str,
                                                  settings: dict) -> None:
    settings = dict(workers=workers, sampler=sampler, **settings)
    train(recipe(tmp_path / 'whole', **settings))
    for iteration in at:
        assert resumed_equals(tmp_path, iteration, **settings), iteration


def test_records_of_a_resumed_run(tmp_path: Path) -> None:
    """The means and validations in ``metrics.jsonl`` are those of the uninterrupted run, also with a late validation."""
    train(recipe(tmp_path / 'whole'))
    expected = records(tmp_path / 'whole')
    for at in (4, 5):
        assert resumed_equals(tmp_path, at)
        assert records(tmp_path / f'from_{at}') == expected


def test_a_run_with_nothing_left_keeps_its_records(tmp_path: Path) -> None:
    cfg = recipe(tmp_path, checkpoint=dict(by_epoch=True))
    train(cfg)
    before = read_records(tmp_path / 'metrics.jsonl')
    cfg.train_cfg.update(max_epochs=1, val_interval=5)
    train(cfg, TrainOptions(resume=True))
    assert read_records(tmp_path / 'metrics.jsonl') == before and before[-1]['kind'] == 'val'


def test_no_image_is_loaded_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(recipe(tmp_path / 'whole'))
    loaded: list[int] = []
    read = Digits.__getitem__

    def count(self: Digits, index: int) -> dict:
        loaded.append(self.split == 'train')
        return read(self, index)

    class Forget(Hook):
        """Leaves out what the checks before the training load."""

        def before_train(self, runner: Runner) -> None:
            loaded.clear()

    monkeypatch.setattr(Digits, '__getitem__', count)
    resumed = TrainOptions(resume=str(tmp_path / 'whole' / 'iter_3.pth'))
    train(recipe(tmp_path / 'whole'), resumed, hooks=[Forget()])
    assert sum(loaded) == 4 * 7  # 7 of 10 batches


def test_the_plateau_counts_a_validation_that_is_made_up(tmp_path: Path) -> None:
    settings = dict(
        checkpoint=dict(by_epoch=True, save_best=None),
        param_scheduler=[dict(type='ReduceOnPlateauLR', monitor='loss', rule='less', patience=0, threshold=100.)])
    train(recipe(tmp_path / 'whole', **settings))
    (tmp_path / 'whole' / 'epoch_1.pth').rename(tmp_path / 'whole' / 'iter_5.pth')
    assert resumed_equals(tmp_path, 5, **settings)


def test_other_number_of_workers(tmp_path: Path) -> None:
    """The batches are the same, if not their augmentation, and the log says so."""
    train(recipe(tmp_path / 'whole'))
    assert not resumed_equals(tmp_path, 3, workers=1)
    log = ' '.join(file.read_text() for file in (tmp_path / 'from_3').glob('*/*.log'))
    assert re.search(r"'workers': 1, .*'workers': 0, .*other random numbers", log)
    assert read_checkpoint((tmp_path / 'from_3' / 'last_checkpoint').read_text())['meta']['iter'] == 10


class StopInValidation(Hook):
    """Saves in a validation, as a signal does, and ends the run."""
    priority = 'LOWEST'

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        hook = next(hook for hook in runner.hooks if isinstance(hook, CheckpointHook))
        hook.save_now(runner, validating=True)
        raise KeyboardInterrupt


@pytest.mark.parametrize('settings', [{}, BY_ITERATIONS])
def test_stopped_in_a_validation(tmp_path: Path, settings: dict) -> None:
    settings = dict(checkpoint=dict(by_epoch=not settings, interval=20), **settings)
    train(recipe(tmp_path / 'whole', **settings))
    with pytest.raises(KeyboardInterrupt):
        train(recipe(tmp_path / 'stopped', **settings), hooks=[StopInValidation()])
    train(recipe(tmp_path / 'stopped', **settings), TrainOptions(resume=True))
    assert equal(last_state(tmp_path / 'whole'), last_state(tmp_path / 'stopped'))
    assert records(tmp_path / 'whole') == records(tmp_path / 'stopped')


def test_another_batch_size(tmp_path: Path) -> None:
    """Within an epoch, the same share of the images is left; the next one is whole."""
    train(recipe(tmp_path / 'whole', checkpoint=dict(save_best=None)))
    batches: list[int] = []

    class Count(Hook):

        def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
            batches.append(batch_idx)

    cfg = recipe(tmp_path / 'whole')
    cfg.train_dataloader.batch_size = 2
    train(cfg, TrainOptions(resume=str(tmp_path / 'whole' / 'iter_3.pth')), hooks=[Count()])
    assert batches == [*range(6, 10), *range(10)]
