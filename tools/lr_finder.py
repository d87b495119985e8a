"""Plot the training loss over the learning rate, and suggest a rate (range test, Smith 2017)."""
import argparse

from ftcls import apis


def main() -> None:
    """Read the config, run the test, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='path of the config file')
    parser.add_argument('--min', type=float, default=1e-6, help='rate of the first step (default: 1e-6)')
    parser.add_argument('--max', type=float, default=1., help='rate of the last step (default: 1)')
    parser.add_argument('--steps', type=int, default=100, help='steps of the optimizer (default: 100)')
    parser.add_argument('--out', default='lr_finder.png', help='the PNG file to write')
    parser.add_argument('--amp', action='store_true', help='half precision, as in train')
    parser.add_argument('--batch-policy', choices=apis.BATCH_POLICIES, help='as in train')
    parser.add_argument('--seed', type=int, help='seed of all random numbers, as in train')
    apis.add_config_options(parser)
    args = parser.parse_args()
    apis.check_writable(out=args.out)
    result = apis.find_lr(
        apis.load_config(args.config, args.cfg_options),
        args.out,
        lowest=args.min,
        highest=args.max,
        steps=args.steps,
        options=apis.TrainOptions(amp=args.amp, batch_policy=args.batch_policy, seed=args.seed))
    print('\n'.join(result.describe()))
    print(f'wrote {args.out}')


if __name__ == '__main__':
    apis.run_tool(main)
