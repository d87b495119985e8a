"""Fine-tune on hymenoptera at 224 pixels, start to end: ours and mmpretrain, each with its defaults.

python benchmarks/end_to_end.py --peers PYTHON --write

Both run the train.py of their own, on the same config but for `_base_`, the package's default_runtime.py, and the
number of workers: mmpretrain's base configs say 5, ours leave it out. ResNet-18 starts at random weights (it is there
for its time), EfficientNet-lite0 at ImageNet's. Epochs, batch size and optimizer are the same. A round is a seed. Ours
writes its report after the last validation.
"""
import argparse
import importlib.util
import json
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from side_by_side import ROOT, main
from start import train

DATA = Path(os.environ.get('FTCLS_REAL_DATA', ROOT.parent / 'shared' / 'data'))
# backbone, channels of its last feature map, mean and standard deviation of the pixels that its weights want
NETS: dict[str, tuple[dict[str, Any], int, list[float], list[float]]] = {
    'ResNet-18': (dict(type='ResNet', depth=18), 512, [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]),
    'EfficientNet-lite0': (dict(
        type='TIMMBackbone',
        model_name='tf_efficientnet_lite0',
        checkpoint_path=str(DATA / 'tf_efficientnet_lite0-57934424.safetensors')), 1280, [127.5] * 3, [127.5] * 3),
}


def recipe(net: str, epochs: int, seed: int, quick: bool) -> dict[str, Any]:
    """Return what both sides' configs say."""
    backbone, channels, mean, std = NETS[net]
    scale = 64 if quick else 224
    pipelines = dict(
        train=[
            dict(type='LoadImageFromFile'),
            dict(type='RandomResizedCrop', scale=scale),
            dict(type='RandomFlip', prob=0.5, direction='horizontal'),
            dict(type='PackInputs')
        ],
        val=[
            dict(type='LoadImageFromFile'),
            dict(type='ResizeEdge', scale=scale * 8 // 7, edge='short'),
            dict(type='CenterCrop', crop_size=scale),
            dict(type='PackInputs')
        ])
    cfg: dict[str, Any] = dict(
        model=dict(
            type='ImageClassifier',
            backbone=backbone,
            neck=dict(type='GlobalAveragePooling'),
            head=dict(
                type='LinearClsHead',
                num_classes=2,
                in_channels=channels,
                loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
                topk=(1, ))),
        data_preprocessor=dict(num_classes=2, mean=mean, std=std, to_rgb=True),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=0.0001)),
        train_cfg=dict(by_epoch=True, max_epochs=epochs, val_interval=1),
        val_cfg=dict(),
        val_evaluator=dict(type='Accuracy', topk=(1, )),
        randomness=dict(seed=seed))
    for split, pipeline in pipelines.items():
        cfg[f'{split}_dataloader'] = dict(
            batch_size=32,
            dataset=dict(
                type='CustomDataset', data_root=str(DATA / 'hymenoptera'), data_prefix=split, pipeline=pipeline),
            sampler=dict(type='DefaultSampler', shuffle=split == 'train'))
        if quick:
            cfg[f'{split}_dataloader']['dataset']['indices'] = [0, 1, -2, -1]
    return cfg


def run(side: str, trainer: Path, workers: int | None, args: argparse.Namespace) -> dict[str, Any]:
    """Train each network by the side's train.py; return wall and CPU seconds, and the last accuracy."""
    numbers: dict[str, Any] = {}
    for net in args.nets:
        cfg = recipe(net, 1 if args.quick else args.epochs, int(os.environ.get('BENCH_ROUND', '0')), args.quick)
        if workers is not None:
            for split in ('train', 'val'):
                cfg[f'{split}_dataloader']['num_workers'] = workers
        with tempfile.TemporaryDirectory() as name:
            before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            numbers[f'{net}: seconds to the last validation'] = train(
                side, trainer, cfg, Path(name), 'after_val_epoch', is_last=False)
            numbers[f'{net}: seconds to the end'] = time.perf_counter() - begun
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            logs = [path for pattern in ('metrics.jsonl', 'scalars.json') for path in Path(name, 'run').rglob(pattern)]
            records = [json.loads(line) for line in logs[0].read_text().splitlines()]
        numbers[f'{net}: CPU seconds'] = (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
        numbers[f'{net}: accuracy'] = [r['accuracy/top1'] for r in records if 'accuracy/top1' in r][-1]
    return numbers


def ours(args: argparse.Namespace) -> dict[str, Any]:
    """Run tools/train.py."""
    return run('ftcls', ROOT / 'tools' / 'train.py', None, args)


def mmpretrain(args: argparse.Namespace) -> dict[str, Any]:
    """Run mmpretrain's tools/train.py."""
    package = Path(importlib.util.find_spec('mmpretrain').origin).parent
    return run('mmpretrain', package / '.mim' / 'tools' / 'train.py', 1 if args.quick else 5, args)


if __name__ == '__main__':
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument('--nets', nargs='+', choices=list(NETS), default=list(NETS))
    options.add_argument('--epochs', type=int, default=10)
    main('end_to_end', dict(ours=ours, mmpretrain=mmpretrain), options, rounds=3)
