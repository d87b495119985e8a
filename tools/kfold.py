"""Cross-validate a config: for each fold, train on the others and predict the images of the fold.

A finished fold is not trained again: the same command resumes after a kill. `--shard` and `--gather` spread the folds
over machines as in compare. The exit code is 1 if a fold failed.
"""
import argparse

from ftcls import apis


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='path of the config')
    parser.add_argument('--folds', type=int, default=5, metavar='K', help='number of folds (default: 5)')
    parser.add_argument('--seed', type=int, default=0, help='seed of the folds and of the runs (default: 0)')
    parser.add_argument('--pool', action='store_true', help='divide the validation set into folds too')
    parser.add_argument('--metric', help='the score; default: the first that the evaluator of the config measures')
    parser.add_argument('--out-dir', default='work_dirs/kfold', help='folder for runs, table, figure and predictions')
    parser.add_argument(
        '--shard', metavar='I/N', default='0/1', help='train the folds I, I + N, … only (counted from 0)')
    parser.add_argument('--gather', action='store_true', help='train nothing; report the finished folds')
    apis.add_config_options(parser)
    parser.add_argument('--launcher', choices=apis.LAUNCHERS, default='none', help='who started the processes')
    args = parser.parse_args()
    try:
        index, count = (int(part) for part in args.shard.split('/'))
    except ValueError:
        parser.error('--shard must be of the form I/N, for example 0/5')
    args.shard = index, count
    return args


def main() -> int:
    """Run all folds and print the table."""
    args = parse_args()
    workers = apis.Workers(args.launcher, args.shard, args.gather)
    result = apis.kfold(
        apis.load_config(args.config, args.cfg_options),
        args.folds,
        args.out_dir,
        seed=args.seed,
        pool=args.pool,
        metric=args.metric,
        workers=workers)
    if workers.is_reporter:
        print(f'\n{result.table()}\n')
        print(f'wrote {args.out_dir}/out_of_fold.csv, kfold.png, results.json, table.txt, and the folder of each fold')
    return int(bool(result.failures))


if __name__ == '__main__':
    apis.run_tool(main)
