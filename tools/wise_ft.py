"""WiSE-FT: write a model between a pretrained and a fine-tuned one, by averaging their weights.

Its weights are (1 - alpha) * pretrained + alpha * fine-tuned. With --config, each model is measured.
"""
import argparse

from ftcls import apis


def main() -> None:
    """Average, write, measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('pretrained', help='start of the fine-tuning: file, URL or torchvision:// name')
    parser.add_argument('finetuned', help='the fine-tuned checkpoint')
    parser.add_argument(
        '--out', required=True, metavar='FILE', help='the file to write; with several alphas, one for each')
    parser.add_argument(
        '--alpha', type=float, nargs='+', default=[0.5], help='shares of the fine-tuned weights, 0 to 1; default: 0.5')
    parser.add_argument('--config', help='measure every result with the evaluator of this config')
    parser.add_argument('--split', choices=('val', 'test'), default='val', help='the data to measure on; default: val')
    parser.add_argument(
        '--same-classes', action='store_true', help='average the classifiers even if no file names its classes')
    apis.add_config_options(parser)
    args = parser.parse_args()
    apis.check_writable(out=args.out)
    cfg = apis.load_config(args.config, args.cfg_options) if args.config else None
    print(
        apis.wise_ft(
            args.pretrained,
            args.finetuned,
            args.alpha,
            args.out,
            cfg=cfg,
            split=args.split,
            same_classes=args.same_classes))


if __name__ == '__main__':
    apis.run_tool(main)
