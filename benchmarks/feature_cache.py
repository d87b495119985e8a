"""A linear probe of ResNet-50 at 224 pixels: the epochs after the first, with `feature_cache`, without, and mmpretrain.

python benchmarks/feature_cache.py --peers PYTHON --write

The weights are random and the images made up, which the time does not depend on. Validation is left out. The side
`ours` also trains without features and compares the final weights of both trainings.
"""
import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from side_by_side import main


def settings(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Make images, and return what both sides' configs say."""
    import cv2
    import numpy as np
    draw = np.random.default_rng(0)
    for number in range(32 if args.quick else args.images):
        path = folder / 'images' / f'class_{number % 2}' / f'{number:04}.jpg'
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), draw.integers(0, 256, (300, 400, 3), np.uint8))
    scale = 64 if args.quick else 224
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='ResizeEdge', scale=scale * 8 // 7, edge='short'),
        dict(type='CenterCrop', crop_size=scale),
        dict(type='PackInputs')
    ]
    return dict(
        model=dict(
            type='ImageClassifier',
            backbone=dict(type='ResNet', depth=50, frozen_stages=4),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(
                type='LinearClsHead', num_classes=2, in_channels=2048, loss=dict(type='CrossEntropyLoss'), topk=(1, ))),
        data_preprocessor=dict(num_classes=2, mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True),
        train_dataloader=dict(
            batch_size=16,
            num_workers=0,
            dataset=dict(type='CustomDataset', data_root=str(folder / 'images'), pipeline=pipeline),
            sampler=dict(type='DefaultSampler', shuffle=True),
            collate_fn=dict(type='default_collate')),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9)),
        train_cfg=dict(by_epoch=True, max_epochs=3),
        default_scope='mmpretrain',
        randomness=dict(seed=0))


def stopwatch(hook: type) -> Any:
    """Return a hook, of the class ``hook``, with the ``seconds`` of each epoch."""

    class Stopwatch(hook):

        def before_train_epoch(self, runner: Any) -> None:
            self.began = time.perf_counter()

        def after_train_epoch(self, runner: Any) -> None:
            self.seconds = [*getattr(self, 'seconds', []), time.perf_counter() - self.began]

    return Stopwatch()


def ours(args: argparse.Namespace) -> dict[str, Any]:
    """Train with features, and without."""
    import torch
    from mmengine.config import Config
    from mmengine.hooks import Hook

    from ftcls.apis import TrainOptions, train
    numbers: dict[str, Any] = {}
    weights = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cfg = dict(settings(folder, args), default_scope='ftcls', speed='off')
        for kind, cache in {'features': dict(folder=str(folder / 'features')), 'images': False}.items():
            watch, began = stopwatch(Hook), time.perf_counter()
            runner = train(
                Config(dict(cfg, feature_cache=cache)), TrainOptions(work_dir=str(folder / kind)), hooks=[watch])
            whole = time.perf_counter() - began
            count = len(runner.train_dataloader.dataset)
            if cache:
                numbers['images/s, epochs after the first'] = count / statistics.median(watch.seconds[1:])
                numbers['features: all seconds but those of the epochs'] = whole - sum(watch.seconds)
                size = sum(file.stat().st_size for file in (folder / 'features').glob('*.features'))
                numbers['features: kB per image on disk'] = size / 1000 / count
            else:
                numbers['images/s, feature_cache=False'] = count / statistics.median(watch.seconds[1:])
            weights[kind] = runner.model.state_dict()
    off = max(
        (value.double() - weights['images'][key].double()).abs().max() for key, value in weights['features'].items())
    is_same = all(torch.equal(value, weights['images'][key]) for key, value in weights['features'].items())
    numbers['final weights, with and without features'] = 'bitwise the same' if is_same else f'differ by {off:.0e}'
    return numbers


def mmpretrain(args: argparse.Namespace) -> dict[str, Any]:
    """Train with mmpretrain's Runner."""
    import mmpretrain.datasets
    import mmpretrain.models  # noqa: F401
    from mmengine.hooks import Hook
    from mmengine.runner import Runner
    watch = stopwatch(Hook)
    with tempfile.TemporaryDirectory() as folder:
        runner = Runner(work_dir=folder, custom_hooks=[watch], **settings(Path(folder), args))
        runner.train()
        return {
            'images/s, epochs after the first':
            len(runner.train_dataloader.dataset) / statistics.median(watch.seconds[1:])
        }


if __name__ == '__main__':
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument('--images', type=int, default=96)
    main('feature_cache', dict(ours=ours, mmpretrain=mmpretrain), options, rounds=3)
