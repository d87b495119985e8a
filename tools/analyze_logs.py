"""Draw curves of several runs, or print how long their iterations took.

LOG is a work dir, a metrics.jsonl, a scalars.json of MMEngine or mmpretrain, or a .log.json of MMClassification 0.x.
"""
import argparse
import re
import statistics

from ftcls import apis

_FORMATS = '.png', '.jpg', '.svg', '.pdf'
_STYLES = 'white', 'dark', 'whitegrid', 'darkgrid', 'ticks'


def _size(text: str) -> tuple[float, float]:
    """Read WIDTH*HEIGHT."""
    if not re.fullmatch(r'\d+\*\d+', text):
        raise argparse.ArgumentTypeError(f'{text}: must be WIDTH*HEIGHT in inches, such as 12*7')
    return tuple(map(float, text.split('*')))


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tasks = parser.add_subparsers(dest='task', required=True)
    curves = tasks.add_parser('plot_curve', help='draw a panel for each key, with a line for each log')
    times = tasks.add_parser('cal_train_time', help='print the seconds per iteration')
    for task in (curves, times):
        task.add_argument('json_logs', nargs='+', metavar='LOG', help='work dir or file')
    curves.add_argument(
        '--keys',
        nargs='+',
        default=['loss'],
        help='what is drawn, such as loss, lr, accuracy/top1; of training where training and validation have it')
    curves.add_argument('--title', help='stands above the figure')
    curves.add_argument('--legend', nargs='+', help='a name for each log and key: all keys of the first log, and so on')
    curves.add_argument('--style', choices=_STYLES, help='style of seaborn; it need not be installed')
    curves.add_argument('--out', default='curves.png', help='default: curves.png; no window is opened')
    curves.add_argument('--window-size', type=_size, metavar='W*H', help='in inches; default: by the number of keys')
    times.add_argument('--include-outliers', action='store_true', help='with the first record of each epoch')
    args = parser.parse_args()
    if args.task == 'plot_curve' and not args.out.endswith(_FORMATS):
        parser.error(f'--out {args.out}: must end in one of {", ".join(_FORMATS)}')
    if args.task == 'plot_curve' and args.legend and len(args.legend) != len(args.json_logs) * len(args.keys):
        parser.error(f'--legend: {len(args.legend)} given; {len(args.json_logs)} logs x {len(args.keys)} keys need '
                     f'{len(args.json_logs) * len(args.keys)}')
    return args


def main() -> None:
    """Read the logs, then draw or print."""
    args = parse_args()
    runs = {path: apis.read_log(path) for path in args.json_logs}
    if args.task == 'plot_curve':
        apis.check_writable(out=args.out)
        import matplotlib.style
        matplotlib.style.use([f'seaborn-v0_8-{args.style}'] if args.style else [])
        path = apis.plot_logs(runs, args.keys, args.out, legend=args.legend, title=args.title, size=args.window_size)
        print(f'wrote {path}')
        return
    for path, records in runs.items():
        times = apis.iteration_times(records, args.include_outliers)
        print(f'{path}')
        for name, choose in dict(slowest=max, fastest=min).items():
            epoch = choose(times, key=times.get)
            print(f'  {name} epoch {epoch}: {times[epoch]:.4f} s per iteration')
        print(f'  standard deviation over epochs: {statistics.pstdev(times.values()):.4f} s')
        print(f'  mean: {statistics.fmean(times.values()):.4f} s per iteration')


if __name__ == '__main__':
    apis.run_tool(main)
