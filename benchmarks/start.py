"""Time what passes before work begins: `train.py --help`, and the command up to the end of the first training step.

python benchmarks/start.py --peers PYTHON --write

LeNet-5 on as many made-up images as MNIST has, in files like its (28x28, enlarged to 32), 128 per step, no worker
processes; each side with its own train.py, default_runtime.py and MNIST dataset.
"""
import argparse
import importlib.util
import os
import pprint
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from side_by_side import ROOT, main
from step_overhead import write_images

CLOCK = """
import os, time
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

@HOOKS.register_module()
class Clock(Hook):
    priority = 'LOWEST'

    def {point}(self, runner, *args, **kwargs):
        print('CLOCK', time.time(), flush=True)
        if {is_last}:
            os._exit(0)
"""


def recipe(folder: Path) -> dict[str, Any]:
    """Return what both sides' configs say."""
    cfg: dict[str, Any] = dict(
        model=dict(
            type='ImageClassifier',
            backbone=dict(type='LeNet5', num_classes=10),
            head=dict(type='ClsHead', loss=dict(type='CrossEntropyLoss', loss_weight=1.0))),
        data_preprocessor=dict(num_classes=10, mean=[33.46], std=[78.87]),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9)),
        train_cfg=dict(by_epoch=True, max_epochs=1, val_interval=1),
        val_cfg=dict(),
        val_evaluator=dict(type='Accuracy', topk=(1, )),
        randomness=dict(seed=0))
    for split in ('train', 'val'):
        cfg[f'{split}_dataloader'] = dict(
            batch_size=128,
            num_workers=0,
            persistent_workers=False,
            dataset=dict(
                type='MNIST',
                data_root=str(folder),
                split='train' if split == 'train' else 'test',
                test_mode=split == 'val',
                pipeline=[dict(type='Resize', scale=32), dict(type='PackInputs')]),
            sampler=dict(type='DefaultSampler', shuffle=split == 'train'))
    return cfg


def train(side: str, trainer: Path, cfg: dict[str, Any], folder: Path, point: str, is_last: bool) -> float:
    """Run a side's train.py in ``folder``; return the seconds until a hook is at ``point``, if ``is_last`` the end."""
    cfg = dict(cfg, custom_imports=dict(imports=['clock']), custom_hooks=[dict(type='mmengine.Clock')])
    folder.joinpath('clock.py').write_text(CLOCK.format(point=point, is_last=is_last), encoding='utf-8')
    text = [f'{key} = {pprint.pformat(value)}' for key, value in cfg.items()]
    config = folder / 'config.py'
    config.write_text('\n'.join([f"_base_ = '{side}::_base_/default_runtime.py'", *text]), encoding='utf-8')
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join([str(folder), os.environ.get('PYTHONPATH', '')]))
    command = [sys.executable, str(trainer), str(config), '--work-dir', str(folder / 'run')]
    begun = time.time()
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    times = [line.split()[1] for line in done.stdout.splitlines() if line.startswith('CLOCK ')]
    if done.returncode or not times:
        sys.exit((done.stderr.strip() or done.stdout.strip()).splitlines()[-1])
    return float(times[-1]) - begun


def run(side: str, trainer: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Return the wall seconds of ``--help`` and up to the end of the first step."""
    with tempfile.TemporaryDirectory() as name:
        write_images(Path(name), 256 if args.quick else 60_000, size=28)
        begun = time.perf_counter()
        subprocess.run([sys.executable, str(trainer), '--help'], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
        help_seconds = time.perf_counter() - begun
        first_step = train(side, trainer, recipe(Path(name)), Path(name), 'after_train_iter', is_last=True)
    return {'train.py --help, seconds': help_seconds, 'first step, seconds': first_step}


def ours(args: argparse.Namespace) -> dict[str, Any]:
    """Run tools/train.py."""
    return run('ftcls', ROOT / 'tools' / 'train.py', args)


def mmpretrain(args: argparse.Namespace) -> dict[str, Any]:
    """Run mmpretrain's tools/train.py."""
    package = Path(importlib.util.find_spec('mmpretrain').origin).parent
    return run('mmpretrain', package / '.mim' / 'tools' / 'train.py', args)


if __name__ == '__main__':
    main('start', dict(ours=ours, mmpretrain=mmpretrain), argparse.ArgumentParser(description=__doc__))
