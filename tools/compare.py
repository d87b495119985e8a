"""Compare ways to train: the same data, budget and seeds for each arm, one table and one figure."""
import argparse

from ftcls.apis import LAUNCHERS, compare, load_config, run_tool


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='path of the fine-tuning config')
    parser.add_argument(
        '--arms',
        default='scratch,probe,finetune',
        help='comma-separated: scratch, probe, finetune, or names of the config\'s `arms`; the first is the reference')
    parser.add_argument('--seeds', type=int, default=3, help='runs an arm, with seeds 0, 1, …')
    parser.add_argument(
        '--budget', type=int, metavar='EPOCHS', help='epochs of every arm; default: as the config has it')
    parser.add_argument('--metric', help='the score; default: the first that the config\'s evaluator measures')
    parser.add_argument('--out-dir', default='work_dirs/compare', help='where runs, table, figure and numbers go')
    parser.add_argument(
        '--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='override parts of the config')
    parser.add_argument('--launcher', choices=LAUNCHERS, default='none', help='who started the processes')
    return parser.parse_args()


def main() -> None:
    """Run all arms and print the table."""
    args = parse_args()
    result = compare(
        load_config(args.config, args.cfg_options),
        args.arms.split(','),
        range(args.seeds),
        args.out_dir,
        epochs=args.budget,
        metric=args.metric,
        launcher=args.launcher)
    print(
        f'\n{result.table()}\n\nwrote {args.out_dir}/compare.png, results.json, table.txt, and each run\'s own folder')


if __name__ == '__main__':
    run_tool(main)
