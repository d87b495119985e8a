"""What a longer list of images and a second process cost: start, memory, images/s.

python benchmarks/scaling.py

The base is a list of 10,000 images of 32x32 pixels (`path label` in a text file), LeNet-5, batches of 64, two processes
for loading, `check=False` (`benchmarks/scan.py` measures the scan of all files). Then the list has 10 and 100 times as
many entries, and then two processes share the training (gloo on the CPU over loopback, NCCL with two GPUs). The million
paths are real: 1,000 files, below 1,000 links to their folder.

`start` is the time from the start of the process (of torchrun) to the end of the first step, `list` the part of it that
reads the list. Memory is that of the main process and of one that loads images: PSS, which counts a shared page in
parts, and `own`, the pages that only this process has.
"""
import argparse
import json
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from side_by_side import ROOT, main

from ftcls.apis import TrainOptions, train
from ftcls.datasets import CustomDataset

BATCH, LINKS = 64, 1000


def write_images(folder: Path, count: int) -> Path:
    """Write a list of ``count`` paths; return it."""
    (folder / 'files').mkdir()
    (folder / 'images').mkdir()
    rng = np.random.default_rng(0)
    for number in range(LINKS):
        cv2.imwrite(str(folder / 'files' / f'{number:03}.jpg'), rng.integers(0, 255, (32, 32, 3), dtype=np.uint8))
        (folder / 'images' / f'{number:03}').symlink_to(folder / 'files')
    lines = (f'{number // LINKS:03}/{number % LINKS:03}.jpg {number % 10}\n' for number in range(count))
    path = folder / 'train.txt'
    path.write_text(''.join(lines))
    return path


def config(folder: Path, steps: int) -> dict[str, Any]:
    """Return the config of the training."""
    pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
    dataset = dict(
        type='CustomDataset',
        data_root=str(folder),
        ann_file='train.txt',
        data_prefix='images',
        check=False,
        pipeline=pipeline)
    sampler = dict(type='DefaultSampler', shuffle=True)
    return dict(
        default_scope='ftcls',
        model=dict(
            type='ImageClassifier',
            backbone=dict(type='LeNet5', num_classes=10, in_channels=3),
            head=dict(type='ClsHead')),
        data_preprocessor=dict(mean=[127.5], std=[127.5]),
        train_dataloader=dict(batch_size=BATCH, num_workers=2, sampler=sampler, dataset=dataset),
        train_cfg=dict(by_epoch=False, max_iters=steps),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
        default_hooks=dict(checkpoint=None))


class MeasureHook(Hook):
    """Notes when the first step is done, how fast the others are, and the memory in the middle."""
    priority = 'LOWEST'

    def __init__(self, steps: int) -> None:
        self.steps, self.result = steps, {}

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Measure."""
        if batch_idx == 0:
            self.result['start (s)'] = round(time.time() - float(os.environ['BENCH_START']), 2)
        if batch_idx == self.steps // 5:
            self.began = time.monotonic()
        if batch_idx == self.steps // 2:
            workers = [child.pid for child in multiprocessing.active_children()]
            for name, pid in (('main process', os.getpid()), ('worker', workers[0])):
                for kind, mib in memory(pid).items():
                    self.result[f'{name}, {kind} (MiB)'] = round(mib)
        if batch_idx == self.steps - 1:
            images = (self.steps - 1 - self.steps // 5) * BATCH * runner.world_size
            self.result['images/s'] = round(images / (time.monotonic() - self.began))


def memory(pid: int) -> dict[str, float]:
    """Return the PSS and the own memory of a process, in MiB."""
    text = Path(f'/proc/{pid}/smaps_rollup').read_text()
    kib = {name: int(value) for name, value in re.findall(r'^(\w+): +(\d+) kB', text, re.M)}
    return {'PSS': kib['Pss'] / 1024, 'own': (kib['Private_Clean'] + kib['Private_Dirty']) / 1024}


def measure(folder: Path, steps: int) -> None:
    """Train in this process; the main one prints the numbers."""
    torch.set_num_threads(1)
    seconds = []
    read = CustomDataset.full_init

    def timed(dataset: CustomDataset) -> None:
        began = time.monotonic()
        read(dataset)
        seconds.append(time.monotonic() - began)

    CustomDataset.full_init = timed
    launcher = 'pytorch' if 'RANK' in os.environ else 'none'
    hook = MeasureHook(steps)
    train(Config(config(folder, steps)), TrainOptions(work_dir=str(folder / 'run'), launcher=launcher), [hook])
    if os.environ.get('RANK', '0') == '0':
        print(json.dumps(dict({'list (s)': round(max(seconds), 2)}, **hook.result)), flush=True)


def side(args: argparse.Namespace, count: int, processes: int = 1) -> dict[str, float]:
    """Measure a list of ``count`` entries on a number of processes."""
    if args.quick:
        count //= 10
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder), count)
        command = [__file__, '--measure', folder, '20' if args.quick else '150']
        if processes > 1:
            command = ['-m', 'torch.distributed.run', '--standalone', f'--nproc-per-node={processes}', *command]
        path = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
        env = {**os.environ, 'BENCH_START': str(time.time()), 'OMP_NUM_THREADS': '1', 'PYTHONPATH': path}
        done = subprocess.run([sys.executable, *command], env=env, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith('{')]
    if done.returncode or not lines:
        sys.exit(f'{" ".join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}')
    return json.loads(lines[-1])


if __name__ == '__main__':
    if '--measure' in sys.argv:
        measure(Path(sys.argv[-2]), int(sys.argv[-1]))
    else:
        sides = {
            'ours': partial(side, count=10_000),
            'ours, 100,000 entries': partial(side, count=100_000),
            'ours, 1,000,000 entries': partial(side, count=1_000_000),
            'ours, 2 processes': partial(side, count=10_000, processes=2),
        }
        main('scaling', sides, argparse.ArgumentParser(description=__doc__))
