"""The tutorial's input per core: images of 32x32 in memory, a crop with padding, a flip, 224x224, normalised.

python benchmarks/batch_transforms.py --peers PYTHON

One thread, batches of 32, no workers; images per CPU second from the dataset to what the network gets. `ours batched`
is the config `tutorial/resnet50_finetune_cifar_fast.py`, `ours per sample` that without `_fast`, `torchvision` its v2
transforms on each tensor, with a DataLoader and one normalising per batch.
"""
import argparse
import pickle
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from side_by_side import ROOT, main

BATCH, IMAGES = 32, 3200
MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
STEPS = [
    dict(type='RandomCrop', crop_size=32, padding=4),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='Resize', scale=224)
]


def rate(batches: Iterable[torch.Tensor]) -> dict[str, float]:
    """Return the images per CPU second, after a first batch; check what comes out."""
    iterator = iter(batches)
    first = next(iterator)
    if first.shape != (BATCH, 3, 224, 224) or first.dtype != torch.float32:
        raise ValueError(f'wrong batch: {first.shape} {first.dtype}')
    begin, count = time.process_time(), 0
    for batch in iterator:
        count += len(batch)
    return {'images/s': round(count / (time.process_time() - begin), 1)}


def count_of(args: argparse.Namespace) -> int:
    """Return how many images to load."""
    torch.set_num_threads(1)
    return 4 * BATCH if args.quick else IMAGES


def write_cifar(folder: Path, count: int) -> None:
    """Write noise in the format of CIFAR-10."""
    rng = np.random.default_rng(0)
    batches = folder / 'cifar-10-batches-py'
    batches.mkdir()
    for name in ('data_batch_1', 'data_batch_2', 'data_batch_3', 'data_batch_4', 'data_batch_5'):
        size = count // 5 if name != 'data_batch_5' else count - 4 * (count // 5)
        images = rng.integers(0, 256, (size, 3072), np.uint8)
        (batches / name).write_bytes(pickle.dumps(dict(data=images, labels=[i % 10 for i in range(size)])))


def ours(args: argparse.Namespace, config: str) -> dict[str, float]:
    """Measure one of the tutorial's configs."""
    from ftcls.apis.training.loaders import build_datasets, build_loaders
    from ftcls.config.loading import load_config
    from ftcls.registry import MODELS

    with tempfile.TemporaryDirectory() as folder:
        write_cifar(Path(folder), count_of(args))
        cfg = load_config(
            ROOT / 'configs' / 'tutorial' / config, {
                'train_dataloader.dataset.data_root': folder,
                'train_dataloader.dataset.verify': False,
                'train_dataloader.batch_size': BATCH,
                'train_dataloader.num_workers': 0,
                'train_dataloader.persistent_workers': False
            })
        datasets, _ = build_datasets(cfg, ['train'])
    loader = build_loaders(cfg, datasets)['train']
    preprocessor = MODELS.build(dict(type='ClsDataPreprocessor', **cfg.data_preprocessor))
    return rate(preprocessor(batch, training=True)['inputs'] for batch in loader)


def mmpretrain(args: argparse.Namespace) -> dict[str, float]:
    """Measure mmpretrain."""
    import mmpretrain.datasets  # noqa: F401
    import mmpretrain.models  # noqa: F401
    from mmengine.registry import init_default_scope
    from mmengine.runner import Runner
    from mmpretrain.registry import MODELS

    init_default_scope('mmpretrain')
    with tempfile.TemporaryDirectory() as folder:
        write_cifar(Path(folder), count_of(args))
        data = _unchecked_cifar()(data_root=folder, split='train', pipeline=[*STEPS, dict(type='PackInputs')])
        data.full_init()
    loader = Runner.build_dataloader(
        dict(
            batch_size=BATCH,
            num_workers=0,
            collate_fn=dict(type='default_collate'),
            sampler=dict(type='DefaultSampler', shuffle=True),
            dataset=data))
    preprocessor = MODELS.build(dict(type='ClsDataPreprocessor', mean=MEAN, std=STD, to_rgb=False))
    return rate(preprocessor(batch, training=True)['inputs'] for batch in loader)


def _unchecked_cifar() -> type:
    """Return mmpretrain's CIFAR10, which takes files that are not the published ones."""
    from mmpretrain.datasets import CIFAR10

    class Unchecked(CIFAR10):
        train_list = [[f'data_batch_{i}', None] for i in range(1, 6)]
        meta = dict(CIFAR10.meta, md5=None)

        def _check_integrity(self) -> bool:
            return True

        def _load_meta(self) -> None:
            pass

    return Unchecked


def torchvision(args: argparse.Namespace) -> dict[str, float]:
    """Measure torchvision's transforms on each tensor."""
    from torch.utils.data import DataLoader
    from torchvision.transforms import v2

    images = torch.randint(0, 256, (count_of(args), 3, 32, 32), dtype=torch.uint8)
    steps = v2.Compose([v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip(), v2.Resize(224, antialias=True)])
    data = [(image, number % 10) for number, image in enumerate(images)]
    loader = DataLoader(
        data, BATCH, shuffle=True, collate_fn=lambda batch: torch.stack([steps(one) for one, _ in batch]))
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (MEAN, STD))
    return rate((batch.float() - mean) / std for batch in loader)


if __name__ == '__main__':
    sides = {
        'ours batched': lambda args: ours(args, 'resnet50_finetune_cifar_fast.py'),
        'ours per sample': lambda args: ours(args, 'resnet50_finetune_cifar.py'),
        'mmpretrain': mmpretrain,
        'torchvision': torchvision
    }
    main('batch_transforms', sides, argparse.ArgumentParser(description=__doc__), own=['torchvision'])
