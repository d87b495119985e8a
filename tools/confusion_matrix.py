"""Draw how often each class of the test set is taken for which, and print how many images are right."""
import argparse
from pathlib import Path

from ftcls import apis


def parse_args() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file, name of a config, or folder of a run')
    parser.add_argument(
        'ckpt_or_result',
        nargs='?',
        help='checkpoint, or .pkl that tools/test.py --out wrote; default: best checkpoint of the run, else its last')
    parser.add_argument('--out', metavar='FILE', help='write the matrix to a .pkl (a tensor), .json or .yaml file')
    parser.add_argument('--show', action='store_true', help='open a window; without a display, this is said')
    parser.add_argument(
        '--show-path', metavar='FILE', help='the figure; default: confusion_matrix.png if no --out and --show is given')
    parser.add_argument('--include-values', action='store_true', help='write the numbers of images into the figure')
    parser.add_argument('--cmap', default='viridis', help='colour map of matplotlib (default: viridis)')
    apis.add_config_options(parser)
    args = parser.parse_args()
    if args.out and not args.out.endswith(('.pkl', '.json', '.yaml')):
        parser.error(f'--out {args.out}: must end in .pkl, .json or .yaml')
    if args.show_path and not args.show_path.endswith(('.png', '.jpg', '.svg', '.pdf')):
        parser.error(f'--show-path {args.show_path}: must end in .png, .jpg, .svg or .pdf')
    if not (args.out or args.show):
        args.show_path = args.show_path or 'confusion_matrix.png'
    return parser, args


def main() -> None:
    """Predict or read, count, draw."""
    parser, args = parse_args()
    apis.check_writable(out=args.out, show_path=args.show_path)
    import matplotlib
    import mmengine
    if args.cmap not in matplotlib.colormaps:
        parser.error(f'--cmap {args.cmap}: must be a colour map of matplotlib, such as viridis, magma or Blues')
    if args.show_path:
        Path(args.show_path).parent.mkdir(parents=True, exist_ok=True)
    cfg, result = apis.resolve_model(args.config, args.ckpt_or_result or True, args.cfg_options)
    found = apis.read_results(cfg, result)
    matrix = apis.ConfusionMatrix.calculate(found.predicted, found.labels, len(found.classes))
    apis.ConfusionMatrix.plot(matrix, args.include_values, args.cmap, found.classes, show=args.show, out=args.show_path)
    if args.out:
        mmengine.dump(matrix if args.out.endswith('.pkl') else matrix.tolist(), args.out)
    print(f'{int(matrix.diagonal().sum()):,} of {int(matrix.sum()):,} images are right ({result})')
    for path in filter(None, (args.out, args.show_path)):
        print(f'wrote {path}')


if __name__ == '__main__':
    apis.run_tool(main)
