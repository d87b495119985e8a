"""Draw the surest right and the surest wrong predictions for the test set, into the folders success and fail.

mmpretrain 1.2 draws the least sure ones of both.
"""
import argparse
import json
from pathlib import Path

from ftcls import apis


def main() -> None:
    """Predict or read, and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file, name of a config, or folder of a run')
    parser.add_argument(
        'result',
        nargs='?',
        help='.pkl that tools/test.py --out wrote, or checkpoint; default: best checkpoint of the run, else its last')
    parser.add_argument('--out-dir', required=True, metavar='DIR', help='for the two folders')
    parser.add_argument('--topk', type=int, default=20, metavar='K', help='images in each folder (default: 20)')
    parser.add_argument('--rescale-factor', '-r', type=float, help='enlarge the images by this factor')
    apis.add_config_options(parser)
    args = parser.parse_args()
    apis.check_writable(out_dir=args.out_dir)
    cfg, result = apis.resolve_model(args.config, args.result or True, args.cfg_options)
    results = apis.draw_results(cfg, result, args.out_dir, args.topk, args.rescale_factor)
    for name, rows in results.items():
        path = Path(args.out_dir, f'{name}.json')
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(rows[:args.topk], indent=2, ensure_ascii=False), encoding='utf-8')
        print(f'{name}: {len(rows):,} images; the {min(len(rows), args.topk)} surest are in {path.with_suffix("")}')


if __name__ == '__main__':
    apis.run_tool(main)
