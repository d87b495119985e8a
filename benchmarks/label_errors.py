"""Plant wrong labels among the photos of TrashNet, and print how many of them the report's list of suspects finds.

python benchmarks/label_errors.py --out-dir work_dirs/label_errors

Each seed gives another class to 5 % of the photos, drawn at random. A cross-validation of the linear probe then judges
every photo by a model that has not seen it, as `tools/kfold.py` does, and the list is the report's part "Possibly
mislabelled". The features of the frozen backbone are computed once for all seeds.
"""
import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from torch.utils.data import Dataset

from ftcls.apis import kfold, load_config
from ftcls.apis.report.judging import find_suspects
from ftcls.datasets import CustomDataset
from ftcls.evaluation.predictions import Predictions
from ftcls.registry import DATASETS

CONFIG = Path(__file__).resolve().parent.parent / 'configs' / 'tutorial' / 'efficientnet_lite0_probe_trashnet.py'
SHOWN = 24  # in a report
COLUMNS = [
    'out-of-fold accuracy, %', 'listed', f'planted in the first {SHOWN}', 'recall in the first 5 %, %', 'in 10 %, %',
    'in the list, %'
]


@DATASETS.register_module()
class PlantedLabels(Dataset):
    """Images in class folders, of which some get the label of another class.

    Args:
        share: The share of images with a wrong label.
        label_seed: Seed of the draw.
        **settings: Of :class:`.CustomDataset`, which keeps the true labels.
    """

    def __init__(self, share: float = 0.05, label_seed: int = 0, **settings: Any) -> None:
        self.dataset = CustomDataset(**settings)
        self.labels, rng = self.dataset.get_gt_labels(), np.random.default_rng(label_seed)
        count, classes = round(share * len(self.labels)), len(self.dataset.CLASSES)
        planted = rng.choice(len(self.labels), count, replace=False)
        self.labels[planted] = (self.labels[planted] + rng.integers(1, classes, count)) % classes

    @property
    def metainfo(self) -> dict:
        """What is known about the data."""
        return self.dataset.metainfo

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, idx: int) -> dict:
        """Return sample ``idx`` with its label, which may be wrong."""
        sample = self.dataset[idx]
        sample['data_samples'].set_gt_label(int(self.labels[idx]))
        return sample

    def get_data_info(self, idx: int) -> dict:
        """Return what is known of sample ``idx``, with its label, which may be wrong."""
        return {**self.dataset.get_data_info(idx), 'gt_label': int(self.labels[idx])}


def planted_config(cfg: Config, seed: int, args: argparse.Namespace) -> Config:
    """Return the config with all photos and planted labels as its training set, which the folds divide."""
    for split in ('train', 'val'):
        dataset = dict(cfg[f'{split}_dataloader'].dataset, type='PlantedLabels', share=args.share, label_seed=seed)
        cfg[f'{split}_dataloader'].dataset = {k: v for k, v in dataset.items() if k not in ('split', 'val_fraction')}
    cfg.speed = 'off'  # comparing speeds takes longer than a training on features
    cfg.feature_cache = dict(folder=str(args.out_dir / 'features'))
    cfg.train_cfg.val_interval = cfg.default_hooks.checkpoint.interval = cfg.train_cfg.max_epochs
    return cfg


def judge(seed: int, args: argparse.Namespace) -> list[float]:
    """Cross-validate with the planted labels of a seed, and return a row of the table."""
    folder = args.out_dir / f'seed{seed}'
    cfg = planted_config(load_config(CONFIG, args.cfg_options), seed, args)
    kfold(cfg, args.folds, folder, seed=seed, log=lambda line: None)
    files = sorted(folder.glob('fold*/predictions/out_of_fold.npz'))
    found = Predictions.joined([Predictions.load(file) for file in files])
    truth = np.array([found.classes.index(Path(path).parent.name) for path in found.paths])
    is_planted = truth != found.labels
    hits = is_planted[find_suspects(found)]
    firsts = (round(0.05 * len(truth)), round(0.1 * len(truth)), len(hits))
    recalls = [100 * hits[:first].sum() / is_planted.sum() for first in firsts]
    cells = [100 * (found.predicted == truth).mean(), len(hits), hits[:SHOWN].sum(), *recalls]
    return list(map(float, cells))


def row(name: str, cells: Sequence[str]) -> str:
    """Return a row of the table, in Markdown."""
    return '| ' + ' | '.join([name, *cells]) + ' |'


def main() -> None:
    """Measure each seed and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2, 3, 4])
    parser.add_argument('--share', type=float, default=0.05, help='of wrong labels (default: 0.05)')
    parser.add_argument('--folds', type=int, default=5)
    parser.add_argument('--out-dir', type=Path, default=Path('work_dirs/label_errors'))
    parser.add_argument('--cfg-options', nargs='+', default=[])
    parser.add_argument(
        '--quick', action='store_true', help='two folds of one seed with few photos, to see that all works')
    args = parser.parse_args()
    if args.quick:
        args.seeds, args.folds = [0], 2
        few = [f'{split}_dataloader.dataset.shots_per_class=10' for split in ('train', 'val')]
        args.cfg_options += [*few, 'train_cfg.max_epochs=3', 'param_scheduler.T_max=3']
    rows = {str(seed): judge(seed, args) for seed in args.seeds}
    print('\n' + row('seed', COLUMNS))
    print(row('---', ['---:'] * len(COLUMNS)))
    for seed, cells in rows.items():
        print(row(seed, [f'{cell:.1f}' for cell in cells]))
    if len(rows) > 1:
        columns = zip(*rows.values())
        print(row('mean', [f'{statistics.fmean(column):.1f} ± {statistics.stdev(column):.1f}' for column in columns]))


if __name__ == '__main__':
    main()
