"""Compare ways to train: the same data, budget and seeds for each arm, one table and one figure.

A finished run is not made again: the same command goes on after a kill. To spread the runs over the tasks of a Slurm array,
give each `--shard $SLURM_ARRAY_TASK_ID/N`, and at the end the same command with `--gather` prints the table. Under torchrun,
`--launcher pytorch` lets all processes work on each run. The exit code is 1 if a run failed.
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
        'config files, folders of such')
    parser.add_argument('--seeds', type=int, default=3, help='runs an arm, with seeds 0, 1, …')
    parser.add_argument(
        '--budget', type=int, metavar='EPOCHS', help='epochs of every arm; default: as the config has it')
    parser.add_argument(
        '--shots',
        metavar='K,…',
        type=lambda text: [int(k) for k in text.split(',')],
        help='train on so many labelled samples a class, drawn anew by each seed; one comparison each')
    parser.add_argument('--metric', help='the score; default: the first that the config\'s evaluator measures')
    parser.add_argument('--out-dir', default='work_dirs/compare', help='where runs, table, figure and numbers go')
    parser.add_argument(
        '--shard',
        metavar='I/N',
        default='0/1',
        help='make the runs I, I + N, … only (counted from 0), and report nothing')
    parser.add_argument('--gather', action='store_true', help='make no run; report those that are there')
    parser.add_argument(
        '--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='override parts of the config')
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


def _expanded(arms: str) -> list[str]:
    """Return the arms, with a folder's config files in its place.

    A file that is named itself and lies in a folder too is one arm; an arm that is named twice is refused later.
    """
    names = arms.split(',')
    expanded: list[str] = []
    for name in names:
        is_folder = Path(name).is_dir()
        for path in sorted(map(str, Path(name).glob('*.py'))) if is_folder else [name]:
            if path not in expanded or not is_folder and names.count(name) > 1:
                expanded.append(path)
    return expanded


def main() -> int:
    """Run all arms and print the table."""
    args = parse_args()
    from mmengine.dist import is_main_process  # after the arguments, since it imports torch

    cfg = apis.load_config(args.config, args.cfg_options)
    arms = [apis.load_config(arm, args.cfg_options) if arm.endswith('.py') else arm for arm in _expanded(args.arms)]
    failed = False
    for shots in args.shots or [None]:
        few = [apis.few_shots(one, shots) if shots and not isinstance(one, str) else one for one in (cfg, *arms)]
        out_dir = Path(args.out_dir, f'shots{shots}' if shots else '')
        result = apis.compare(
            few[0],
            few[1:],
            range(args.seeds),
            out_dir,
            epochs=args.budget,
            metric=args.metric,
            workers=apis.Workers(args.launcher, args.shard, args.gather))
        failed |= bool(result.failures)
        if is_main_process() and args.shard == (0, 1):
            title = f'{shots} labelled samples a class\n' if shots else ''
            print(
                f'\n{title}{result.table()}\n\nwrote {out_dir}/compare.png, results.json, table.txt, and each run\'s folder'
            )
    return int(failed)


if __name__ == '__main__':
    apis.run_tool(main)
