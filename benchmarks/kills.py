"""Kill trainings at random moments, resume each until it is done, and count what is lost and what differs.

python benchmarks/kills.py --kills 200

LeNet-5 on 30 digits with augmentation, one CPU, about 2 s per kill. A checkpoint is lost if the newest whole one after
a kill is older than one that was whole before. A run differs if its last weights are not those of an uninterrupted run,
bit by bit.
"""
import argparse
import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from ftcls.apis.training.train import TrainOptions, train
from ftcls.engine.hooks import curves
from ftcls.engine.mmengine_compat import quiet_run
from ftcls.utils.checkpoint.folder import newest_whole
from ftcls.utils.checkpoint.loading import read_checkpoint
from ftcls.utils.table import render_table

ROOT = Path(__file__).resolve().parents[1]
COLUMNS = {'checkpoints': 'left', 'kills': 'right', 'runs': 'right', 'lost': 'right', 'differ': 'right'}
# name: (settings of CheckpointHook, workers)
SETTINGS: dict[str, tuple[dict[str, Any], int]] = {
    'epochs, keep 1': (dict(by_epoch=True, interval=1, max_keep_ckpts=1), 0),
    'epochs, keep 3': (dict(by_epoch=True, interval=1, max_keep_ckpts=3), 0),
    'within epochs, keep 1': (dict(by_epoch=False, interval=3, max_keep_ckpts=1), 0),
    'within epochs, keep 3, 2 workers': (dict(by_epoch=False, interval=3, max_keep_ckpts=3), 2),
}


def recipe(name: str, work_dir: Path) -> Config:
    """Return the config of a run of 4 epochs with 8 batches."""
    checkpoint, workers = SETTINGS[name]
    cfg = Config.fromfile(ROOT / 'configs/tutorial/lenet5_pretrain_digits.py', lazy_import=False)
    pipeline = [
        dict(type='RandomResizedCrop', scale=32, crop_ratio_range=(0.5, 1.0)),
        dict(type='RandomErasing', erase_prob=0.5, mode='rand'),
        dict(type='PackInputs')
    ]
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.update(subset='target', shots_per_class=3)
    cfg.train_dataloader.update(batch_size=4, num_workers=workers)
    cfg.train_dataloader.dataset.pipeline = pipeline
    cfg.train_cfg.max_epochs = 4
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', save_best='auto', **checkpoint)
    cfg.work_dir = str(work_dir)
    return cfg


def start(name: str, work_dir: Path) -> int:
    """Start or resume a run in a process of its own, where all is imported already; return its id."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        log = os.open(work_dir.with_suffix('.log'), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        train(recipe(name, work_dir), TrainOptions(resume=work_dir.exists()))
        code = 0
    finally:
        os._exit(code)


def weights(work_dir: Path) -> dict[str, torch.Tensor]:
    """Return the weights of the last checkpoint."""
    return read_checkpoint((work_dir / 'last_checkpoint').read_text())['state_dict']


def newest(work_dir: Path) -> int:
    """Return the iteration of the newest whole checkpoint, 0 if there is none."""
    path = newest_whole([work_dir])
    return read_checkpoint(path)['meta']['iter'] if path else 0


def attack(name: str, kills: int, folder: Path, rng: random.Random) -> list[Any]:
    """Kill runs of one setting ``kills`` times; return a row of the table."""
    for warm_up in ('imports', 'whole'):  # in this process, so that all is imported before the forks
        began = time.monotonic()
        with quiet_run():
            train(recipe(name, folder / warm_up), TrainOptions())
    length, expected = time.monotonic() - began, weights(folder / 'whole')
    done = lost = runs = differ = 0
    while done < kills:
        work_dir, before, code = folder / f'run_{runs}', 0, 1
        while code:
            process, until = start(name, work_dir), time.monotonic() + rng.uniform(0, length)
            while (ended := os.waitpid(process, os.WNOHANG))[0] == 0 and (time.monotonic() < until or done == kills):
                time.sleep(0.002)
            code = ended[1]
            if ended[0] == 0:
                os.kill(process, signal.SIGKILL)
                code = os.waitpid(process, 0)[1]
                done += 1
            elif code:
                sys.exit(work_dir.with_suffix('.log').read_text())
            lost += newest(work_dir) < before
            before = newest(work_dir)
        last = weights(work_dir)
        runs += 1
        differ += any(not torch.equal(value, last[key]) for key, value in expected.items())
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(work_dir)
    return [name, done, runs, lost, differ]


def main() -> int:
    """Print a row per setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--kills', type=int, default=200, help='over all settings')
    parser.add_argument('--only', nargs='*', choices=SETTINGS, default=list(SETTINGS), help='settings to try')
    parser.add_argument('--seed', type=int, default=0, help='of the moments')
    args = parser.parse_args()
    torch.set_num_threads(1)
    # most of the time of so small a run would be spent on drawing and on formatting the config for each checkpoint
    curves.plot_curves = lambda *args, **kwargs: None
    Config.pretty_text = property(lambda cfg: '\n'.join(f'{key} = {value!r}' for key, value in cfg.to_dict().items()))
    rng, rows = random.Random(args.seed), []
    for number, name in enumerate(args.only):
        with tempfile.TemporaryDirectory() as folder:
            share = (args.kills + number) // len(args.only)
            rows.append(attack(name, share, Path(folder), rng))
    print(render_table(COLUMNS, rows))
    return int(any(row[3] or row[4] for row in rows))


if __name__ == '__main__':
    sys.exit(main())
