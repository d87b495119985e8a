"""Choose the arms' learning rates on a part of a config's training photos, never on the reported photos.

python benchmarks/choose_rates.py
python benchmarks/choose_rates.py configs/strategies/lite0/trashnet_128px.py --arms scratch,finetune --rates 0.01 0.03

Each seed holds out a quarter of each class. Prints the mean accuracy and loss on the held-out photos per arm and rate.
The seeds are not those of `tools/compare.py`.
"""
import argparse
import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.config import Config

from ftcls.apis import compare, load_config, standard_arms
from ftcls.registry import DATASETS

CONFIG = Path(__file__).resolve().parent.parent / 'configs' / 'tutorial' / 'cifar_resnet20_finetune_hymenoptera.py'


def held_out(cfg: Config, seed: int) -> Config:
    """Return the config with a quarter of each class of its training set, drawn by the seed, to validate on."""
    cfg = copy.deepcopy(cfg)
    labels = DATASETS.build({**cfg.train_dataloader.dataset, 'pipeline': []}).get_gt_labels()
    rng, train, val = np.random.default_rng(seed), [], []
    for label in np.unique(labels):
        order = rng.permutation(np.flatnonzero(labels == label)).tolist()
        val += order[:len(order) // 4]
        train += order[len(order) // 4:]
    test_pipeline = cfg.val_dataloader.dataset.pipeline
    cfg.val_dataloader.dataset = {**cfg.train_dataloader.dataset, 'pipeline': test_pipeline, 'indices': sorted(val)}
    cfg.train_dataloader.dataset.indices = sorted(train)
    cfg.test_dataloader = cfg.test_cfg = cfg.test_evaluator = None  # `compare` measures on `val` then
    return cfg


def scores(cfg: Config, arm: str, rate: float, seeds: Sequence[int], folder: Path) -> list[tuple[float, float]]:
    """Return the accuracy and the loss of an arm at a rate on the photos that each seed holds out."""
    found = []
    for seed in seeds:
        one = held_out(cfg, seed)
        one.arms = {arm: {**standard_arms(cfg)[arm], 'optim_wrapper.optimizer.lr': rate}}
        result = compare(one, [arm], [seed], folder / f'{arm}-{rate:g}', log=lambda line: None)
        found += [(run.metrics['accuracy/top1'], run.metrics['loss']) for run in result.results]
    return found


def main() -> None:
    """Train every arm at every rate and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', nargs='?', default=CONFIG, help='default: the tutorial on ants and bees')
    parser.add_argument('--arms', default='scratch,probe,finetune,lpft')
    parser.add_argument('--rates', type=float, nargs='+', default=[0.003, 0.01, 0.03, 0.1])
    parser.add_argument('--seeds', type=int, nargs='+', default=[100, 101])
    parser.add_argument('--out-dir', type=Path, default=Path('work_dirs/choose_rates'))
    parser.add_argument('--cfg-options', nargs='+', default=[])
    parser.add_argument('--quick', action='store_true', help='one epoch of one run, to see that all works')
    args = parser.parse_args()
    if args.quick:
        args.rates, args.arms, args.seeds = [0.01], 'scratch', [100]
        args.cfg_options.append('train_cfg.max_epochs=1')
    cfg = load_config(args.config, args.cfg_options)
    for arm in args.arms.split(','):
        for rate in args.rates:
            found = scores(cfg, arm, rate, args.seeds, args.out_dir)
            accuracy, loss = np.mean(found, axis=0)
            each = ', '.join(f'{score:.1f}' for score, _ in found)
            print(f'{arm:<20}{rate:<8g}{accuracy:6.2f}  loss {loss:.3f}  ({each})', flush=True)


if __name__ == '__main__':
    main()
