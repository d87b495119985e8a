"""What a training step costs beside the layers: our Runner, and mmpretrain's, as a share of a bare PyTorch loop.

python benchmarks/step_overhead.py --peers PYTHON

LeNet-5 on 32x32, one thread, SGD with momentum, the hooks of `_base_/default_runtime.py`, all that they log. After each
ten steps of the Runner, the bare loop trains a copy of the same layers on the same ten batches: normalise, forward,
cross-entropy, backward, step. The batches are made before the clock starts, as the project's own loader gives them, so
loading counts on neither side, nor do checkpoints and validation. Times are CPU seconds of the process. `share` is the
bare loop's time by the Runner's, the median over all tens.
"""
import argparse
import copy
import itertools
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from side_by_side import ROOT, main

BATCHES = {128: 40, 16: 120}  # and how many times ten iterations
BLOCK = 10
MEAN, STD = 33.46, 78.87
PIPELINE = [dict(type='PackInputs')]


def write_images(folder: Path, count: int, size: int = 32) -> None:
    """Write idx files like MNIST's, a sixth more for testing: a bright square whose place tells the class, in noise."""
    rng = np.random.default_rng(0)
    labels = (np.arange(count + count // 6) % 10).astype(np.uint8)
    images = rng.integers(0, 60, (len(labels), size, size), dtype=np.uint8)
    for image, label in zip(images, labels):
        image[4 + 10 * (label // 5):12 + 10 * (label // 5), 1 + 5 * (label % 5):6 + 5 * (label % 5)] += 180
    for part, rows in (('train', slice(count)), ('t10k', slice(count, None))):
        for name, values in (('images-idx3', images[rows]), ('labels-idx1', labels[rows])):
            head = bytes((0, 0, 8, values.ndim)) + np.array(values.shape, '>i4').tobytes()
            (folder / f'{part}-{name}-ubyte').write_bytes(head + values.tobytes())


class Batches:
    """Batches that were made before, in place of a loader; after each ten, the bare loop trains on the same ten."""

    def __init__(self, loader: Any, bare: torch.nn.Module, blocks: int) -> None:
        self.dataset, self.sampler, self.batch_sampler = loader.dataset, loader.sampler, loader.batch_sampler
        self.num_workers, self.persistent_workers, self.batch_size = 0, False, loader.batch_size
        self.made, self.bare, self.blocks = list(loader), bare, blocks
        self.optimizer = torch.optim.SGD(bare.parameters(), lr=0.01, momentum=0.9, weight_decay=0.0001)
        self.runner_s: list[float] = []
        self.bare_s: list[float] = []

    def __len__(self) -> int:
        return BLOCK * self.blocks

    def __iter__(self) -> Iterator[Any]:
        endless = itertools.cycle(self.made)
        for _ in range(self.blocks):
            block = list(itertools.islice(endless, BLOCK))
            began = time.process_time()
            yield from block
            self.runner_s.append((time.process_time() - began) / BLOCK)
            arrays = [self.arrays(batch) for batch in block]
            began = time.process_time()
            self.train(arrays)
            self.bare_s.append((time.process_time() - began) / BLOCK)

    @staticmethod
    def arrays(batch: dict) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the images, (N, C, H, W) uint8, and the labels, (N, ), of a batch."""
        inputs = batch['inputs']
        inputs = inputs if isinstance(inputs, torch.Tensor) else torch.stack(list(inputs))
        samples = batch['data_samples']
        labels = samples.gt_label if hasattr(samples, 'gt_label') else torch.cat(
            [sample.gt_label for sample in samples])
        return inputs, labels.flatten()

    def train(self, block: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        """Train the layers as one writes it by hand."""
        for inputs, labels in block:
            loss = F.cross_entropy(self.bare((inputs.float() - MEAN) / STD)[0], labels)
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()


def measuring(hook: type, blocks: int) -> Any:
    """Return a hook, of the class ``hook``, that gives the Runner the prepared batches."""

    class Measure(hook):

        def before_train(self, runner: Any) -> None:
            loop = runner.train_loop
            self.batches = loop.dataloader = Batches(loop.dataloader, copy.deepcopy(runner.model.backbone), blocks)
            if hasattr(loop, 'stream'):  # ours
                loop.stream.loader = self.batches

    return Measure()


def settings(base: Path, place: dict, batch: int) -> dict:
    """Return what a project's own config of LeNet-5 gets here."""
    loader = dict(batch_size=batch, num_workers=0, persistent_workers=False, pin_memory=False, dataset=place)
    scope: dict = {}
    exec((base / '_base_' / 'default_runtime.py').read_text(), scope)
    return dict(
        train_dataloader=loader,
        train_cfg=dict(by_epoch=True, max_epochs=1, val_interval=1),
        val_dataloader=None,
        val_cfg=None,
        val_evaluator=None,
        test_dataloader=None,
        test_cfg=None,
        test_evaluator=None,
        default_hooks=dict(_delete_=True, **scope['default_hooks']),
        auto_scale_lr=dict(base_batch_size=batch),
        randomness=dict(seed=0))


def shares(args: argparse.Namespace, train: Any) -> dict[str, float]:
    """Return the numbers of each batch size; ``train(folder, batch, blocks)`` gives the batches after the run."""
    torch.set_num_threads(1)
    result = {}
    for batch, blocks in BATCHES.items():
        with tempfile.TemporaryDirectory() as folder:
            write_images(Path(folder), 2048)
            batches = train(Path(folder), batch, 2 if args.quick else blocks)
        ratios = [bare / ours for ours, bare in zip(batches.runner_s, batches.bare_s)]
        result[f'share of the bare loop, batch {batch}'] = round(statistics.median(ratios), 3)
        for name, times in (('step', batches.runner_s), ('bare step', batches.bare_s)):
            result[f'{name}, batch {batch} (µs)'] = round(1e6 * statistics.median(times), 1)
    return result


def ours(args: argparse.Namespace) -> dict[str, float]:
    """Measure this library."""
    from mmengine.config import Config
    from mmengine.hooks import Hook

    from ftcls.apis import TrainOptions
    from ftcls.apis import train as run

    def train(folder: Path, batch: int, blocks: int) -> Any:
        cfg = Config.fromfile(ROOT / 'configs' / 'lenet' / 'lenet5_mnist.py', lazy_import=False)
        cfg.merge_from_dict(settings(ROOT / 'configs', dict(data_root=str(folder), pipeline=PIPELINE), batch))
        cfg.speed = 'off'  # the bare loop has none of it
        hook = measuring(Hook, blocks)
        run(cfg, TrainOptions(work_dir=str(folder / 'run')), [hook])
        return hook.batches

    return shares(args, train)


def mmpretrain(args: argparse.Namespace) -> dict[str, float]:
    """Measure mmpretrain."""
    import mmpretrain as package
    from mmengine.config import Config
    from mmengine.hooks import Hook
    from mmengine.runner import Runner

    base = Path(package.__file__).parent / '.mim' / 'configs'

    def train(folder: Path, batch: int, blocks: int) -> Any:
        cfg = Config.fromfile(base / 'lenet' / 'lenet5_mnist.py', lazy_import=False)
        place = dict(data_root='', data_prefix=str(folder), pipeline=PIPELINE)
        cfg.merge_from_dict(settings(base, place, batch))
        cfg.work_dir = str(folder / 'run')
        cfg.default_hooks.checkpoint.pop('save_best', None)
        hook = measuring(Hook, blocks)
        runner = Runner.from_cfg(cfg)
        runner.register_hook(hook, priority='LOWEST')
        runner.train()
        return hook.batches

    return shares(args, train)


if __name__ == '__main__':
    sides = dict(ours=ours, mmpretrain=mmpretrain)
    main('step', sides, argparse.ArgumentParser(description=__doc__))
