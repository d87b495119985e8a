"""Compare ways to train: the same data, budget and seeds for each arm, one table and one figure.

A finished run is not repeated: the same command resumes after a kill. To spread the runs over the tasks of a Slurm
array, give each task `--shard $SLURM_ARRAY_TASK_ID/N`; at the end, the same command with `--gather` prints the table.
Under torchrun, `--launcher pytorch` lets all processes work on each run. The exit code is 1 if a run failed.
"""
import argparse
from pathlib import Path

from ftcls import apis


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='path of the fine-tuning config')
    parser.add_argument(
        '--arms',
        default='scratch,probe,finetune',
        help='comma-separated, the reference first: scratch, probe, finetune, lpft, names in the config\'s `arms`, '
        'config files, folders of config files')
    parser.add_argument('--seeds', type=int, default=3, help='runs per arm, with seeds 0, 1, …')
    parser.add_argument(
        '--budget', type=int, metavar='EPOCHS', help='epochs of every arm; default: those of the config')
    parser.add_argument(
        '--shots',
        metavar='K,…',
        type=lambda text: [int(k) for k in text.split(',')],
        help='train on K labelled samples per class, drawn anew by each seed; one comparison per K')
    parser.add_argument('--metric', help='the score; default: the first that the evaluator of the config measures')
    parser.add_argument('--out-dir', default='work_dirs/compare', help='folder for runs, table, figure and numbers')
    parser.add_argument(
        '--shard',
        metavar='I/N',
        default='0/1',
        help='execute the runs I, I + N, … only (counted from 0), and report nothing')
    parser.add_argument('--gather', action='store_true', help='execute no run; report the finished ones')
    apis.add_config_options(parser)
    parser.add_argument('--launcher', choices=apis.LAUNCHERS, default='none', help='who started the processes')
    args = parser.parse_args()
    try:
        args.shard = tuple(int(part) for part in args.shard.split('/'))
        _, _ = args.shard
    except ValueError:
        parser.error('--shard must be of the form I/N, for example 0/8')
    if args.seeds < 1:
        parser.error(f'--seeds {args.seeds}: must be at least 1')
    return args


def main() -> int:
    """Execute all runs and print the table."""
    args = parse_args()
    cfg = apis.load_config(args.config, args.cfg_options)
    arms = apis.read_arms(args.arms, args.cfg_options)
    workers = apis.Workers(args.launcher, args.shard, args.gather)
    failed = False
    for shots in args.shots or [None]:
        few = [apis.few_shots(one, shots) if shots and not isinstance(one, str) else one for one in (cfg, *arms)]
        out_dir = Path(args.out_dir, f'shots{shots}' if shots else '')
        result = apis.compare(
            few[0], few[1:], range(args.seeds), out_dir, epochs=args.budget, metric=args.metric, workers=workers)
        failed |= bool(result.failures)
        if workers.is_reporter:
            title = f'{shots} labelled samples per class\n' if shots else ''
            print(f'\n{title}{result.table()}\n')
            print(f'wrote {out_dir}/compare.png, results.json, table.txt, and the folder of each run')
    return int(failed)


if __name__ == '__main__':
    apis.run_tool(main)
