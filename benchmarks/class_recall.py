"""Print the recall per class of each arm of a comparison: mean and standard deviation over seeds.

python tools/compare.py configs/imbalance/cifar10_longtail.py --arms none,weights,sampler --seeds 3 \
    --out-dir work_dirs/imbalance
python benchmarks/class_recall.py work_dirs/imbalance/results.json
"""
import argparse
import json
import statistics
from pathlib import Path

from ftcls.apis import load_config

_METRIC = 'single-label/recall_classwise'


def main() -> None:
    """Read the file and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        'results', type=Path, help='results.json of a comparison that measures SingleLabelMetric(average=None)')
    runs = json.loads(parser.parse_args().results.read_text(encoding='utf-8'))['runs']
    arms: dict[str, list] = {}
    for run in runs:
        arms.setdefault(run['arm'], []).append(run['metrics'][_METRIC])
    cfg = load_config(str(next(Path(runs[0]['work_dir']).glob('*.py'))))
    shots = cfg.train_dataloader.dataset.get('shots_per_class')
    names = list(shots) if isinstance(shots, dict) else range(len(next(iter(arms.values()))[0]))
    print(f'{"recall of":12}' + ''.join(f'{arm:>16}' for arm in arms))
    for index, name in enumerate(names):
        cells = [_cell([recalls[index] for recalls in seeds]) for seeds in arms.values()]
        print(f'{name:12}' + ''.join(f'{cell:>16}' for cell in cells))
    print(f'{"mean":12}' + ''.join(f'{_cell([statistics.fmean(r) for r in seeds]):>16}' for seeds in arms.values()))


def _cell(values: list[float]) -> str:
    spread = f' ± {statistics.stdev(values):.1f}' if len(values) > 1 else ''
    return f'{statistics.fmean(values):.1f}{spread}'


if __name__ == '__main__':
    main()
