"""Train on a GPU: ResNet-50 as a share of the same step on data on the device; a U-Net in float32, float16, bfloat16.

python benchmarks/gpu_training.py                  # a GPU, if there is one; else a small form on the CPU
python benchmarks/gpu_training.py --parts unet     # one part

ResNet-50 trains in bfloat16 on photos of 224 pixels, read from files, with `frozen_stages` -1, 2 and 4. "end to end"
counts everything between two steps; "on the device" repeats the step of the same run with a batch that lies on the
device. The share is the first divided by the second.

Memory on a GPU is the peak of its tensors. On a CPU, which cannot train in float16, it is the growth of the process
during the steps. The Dice is that of configs/unet/unet_membrane.py after 60 epochs, on a CPU after 4. Each case has
its own process.
"""
import argparse
import multiprocessing
import os
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from side_by_side import ROOT, main

DATA = Path(os.environ.get('FTCLS_REAL_DATA', ROOT.parent / 'shared' / 'data'))
PRECISIONS = ('float32', 'float16', 'bfloat16')
# pixels, images per step, steps to warm up and to time; of the U-Net also its base channels and the epochs to the Dice
SIZES: dict[str, dict[str, tuple[int, ...]]] = {
    'gpu': dict(resnet=(224, 128, 20, 100), unet=(256, 32, 2, 20, 64, 60)),
    'cpu': dict(resnet=(64, 8, 2, 8), unet=(128, 4, 1, 5, 8, 4)),
    'quick': dict(resnet=(32, 4, 1, 2), unet=(32, 2, 1, 1, 2, 1)),
}


def now() -> float:
    """Return seconds, after the device has done its work."""
    import torch
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def make_photos(folder: Path, count: int = 64) -> Path:
    """Return a folder of classes of photos: hymenoptera's, or if it is missing smooth noise of 500x375 pixels."""
    if (DATA / 'hymenoptera' / 'train').is_dir():
        return DATA / 'hymenoptera' / 'train'
    import cv2
    import numpy as np
    rng = np.random.default_rng(0)
    for number in range(count):
        path = folder / str(number % 2) / f'{number}.jpg'
        path.parent.mkdir(parents=True, exist_ok=True)
        smooth = cv2.resize(
            rng.integers(0, 256, (47, 63, 3), dtype=np.uint8), (500, 375), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(path), smooth)
    return folder


def resnet(frozen: int, form: str) -> dict[str, float]:
    """Return images per second of training from files and of the same step with data on the device."""
    import torch
    from mmengine.hooks import Hook

    from ftcls.apis import load_config, train
    size, batch, warm_up, steps = SIZES[form]['resnet']

    class Clock(Hook):
        """Time the steps after the first ones, then the same step with the last batch on the device."""

        def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
            if runner.iter + 1 == warm_up:
                self.start = now()
            elif runner.iter + 1 == warm_up + steps:
                self.end_to_end = batch * steps / (now() - self.start)
                on_device = runner.model.data_preprocessor.cast_data(data_batch)
                runner.model.train_step(on_device, runner.optim_wrapper)
                start = now()
                for _ in range(steps):
                    runner.model.train_step(on_device, runner.optim_wrapper)
                self.on_device = batch * steps / (now() - start)

    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        cfg = load_config(ROOT / 'configs/_base_/default_runtime.py')
        cfg.merge_from_dict(
            dict(
                work_dir=f'{folder}/run',
                model=dict(
                    type='ImageClassifier',
                    backbone=dict(type='ResNet', depth=50, frozen_stages=frozen),
                    neck=dict(type='GlobalAveragePooling'),
                    head=dict(type='LinearClsHead', num_classes=2, in_channels=2048, topk=(1, ))),
                data_preprocessor=dict(
                    num_classes=2, mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True),
                optim_wrapper=dict(
                    type='AmpOptimWrapper', dtype='bfloat16', optimizer=dict(type='SGD', lr=0.001, momentum=0.9)),
                train_cfg=dict(by_epoch=False, max_iters=warm_up + steps),
                train_dataloader=dict(
                    batch_size=batch,
                    sampler=dict(type='InfiniteSampler', shuffle=True),
                    dataset=dict(
                        type='CustomDataset',
                        data_root=str(make_photos(Path(folder, 'photos'))),
                        pipeline=[
                            dict(type='LoadImageFromFile'),
                            dict(type='RandomResizedCrop', scale=size),
                            dict(type='RandomFlip', prob=0.5, direction='horizontal'),
                            dict(type='PackInputs')
                        ])),
                default_hooks=dict(checkpoint=None)))
        train(cfg, hooks=[clock])
    numbers = {
        'end to end, images/s': clock.end_to_end,
        'on the device, images/s': clock.on_device,
        'share': clock.end_to_end / clock.on_device
    }
    if torch.cuda.is_available():
        numbers['GPU memory, MiB'] = torch.cuda.max_memory_allocated() / 2**20
    return numbers


def unet(precision: str, form: str) -> dict[str, float]:
    """Return the peak memory in MiB, images per second, and where there is data the Dice, of a U-Net."""
    import torch
    from mmengine.optim import OptimWrapper

    import ftcls.models  # noqa: F401
    from ftcls.engine.optimizers import AmpOptimWrapper
    from ftcls.registry import MODELS
    from ftcls.structures import DataSample
    size, batch, warm_up, steps, channels, epochs = SIZES[form]['unet']
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type='ImageSegmentor',
            backbone=dict(type='UNet', base_channels=channels),
            head=dict(type='PixelHead', loss=dict(type='BCEDiceLoss')),
            data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3))).to(device).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    wrapper = OptimWrapper(optimizer)
    if precision != 'float32':
        wrapper = AmpOptimWrapper(optimizer=optimizer, dtype=precision)
    samples = [DataSample() for _ in range(batch)]
    for sample in samples:
        sample.set_field(torch.randint(0, 2, (size, size), dtype=torch.uint8), 'gt_mask')
    data = dict(inputs=torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8), data_samples=samples)

    before = _process_memory()
    for _ in range(warm_up):  # allocates buffers, selects kernels
        model.train_step(data, wrapper)
    start = now()
    for _ in range(steps):
        model.train_step(data, wrapper)
    seconds = now() - start
    peak = torch.cuda.max_memory_allocated() if device == 'cuda' else _process_memory() - before
    numbers = {'memory, MiB': peak / 2**20, 'images/s': batch * steps / seconds}
    if (DATA / 'membrane').is_dir():
        numbers['Dice'] = _dice(precision, epochs)
    return numbers


def _process_memory() -> int:
    """Return the peak memory of this process in bytes (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _dice(precision: str, epochs: int) -> float:
    """Return the last Dice of the config of membranes."""
    from ftcls.apis import TrainOptions, load_config, train
    cfg = load_config(ROOT / 'configs/unet/unet_membrane.py')
    for split in ('train', 'val'):
        cfg[f'{split}_dataloader'].dataset.data_root = str(DATA / 'membrane')
    cfg.test_dataloader = cfg.test_cfg = cfg.test_evaluator = None
    cfg.randomness.seed = int(os.environ.get('BENCH_ROUND', '0'))
    if precision == 'float32':
        cfg.speed = dict(amp=False)  # which 'auto' might choose
    else:
        cfg.optim_wrapper.update(type='AmpOptimWrapper', dtype=precision)
    with tempfile.TemporaryDirectory() as folder:
        cfg.work_dir = folder
        return train(cfg, TrainOptions(epochs=epochs)).message_hub.get_scalar('val/dice').current()


def ours(args: argparse.Namespace) -> dict[str, float]:
    """Measure every case in a process of its own."""
    import torch
    on_gpu = torch.cuda.is_available()
    form = 'gpu' if on_gpu else 'cpu'
    form = 'quick' if args.quick else form
    cases: list[tuple[str, Any, Any]] = []
    if 'resnet' in args.parts:
        cases += [(f'ResNet-50, frozen_stages={frozen}', resnet, frozen) for frozen in (-1, 2, 4)]
    if 'unet' in args.parts:
        usable = dict(float16=on_gpu, bfloat16=not on_gpu or torch.cuda.is_bf16_supported(including_emulation=False))
        cases += [(f'U-Net, {name}', unet, name) for name in PRECISIONS if usable.get(name, True)]
    numbers: dict[str, float] = {}
    for name, measure, value in cases:
        with ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as pool:  # may start workers, unlike a Pool
            found = pool.submit(measure, value, form).result()
        numbers.update({f'{name}: {key}': number for key, number in found.items()})
        for key in ('memory, MiB', 'images/s'):
            of_float32 = numbers.get(f'U-Net, float32: {key}')
            if measure is unet and value != 'float32' and of_float32:
                numbers[f'{name}: {key.split(",")[0]} / float32'] = found[key] / of_float32
    return numbers


if __name__ == '__main__':
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument('--parts', nargs='+', choices=['resnet', 'unet'], default=['resnet', 'unet'])
    main('gpu_training', dict(ours=ours), options, rounds=3)
