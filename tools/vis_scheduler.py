"""Draw a config's learning rates, and momentum if it is scheduled, in each iteration, without training."""
import argparse

from ftcls import apis


def main() -> None:
    """Read the config, run its schedulers, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='path of the config file')
    parser.add_argument('--out', default='schedule.png', help='the PNG file to write')
    length = parser.add_mutually_exclusive_group()
    length.add_argument('--dataset-size', type=int, help='samples of the training set; default: read it')
    length.add_argument('--iters-per-epoch', type=int, help='iterations of an epoch, instead of a number of samples')
    parser.add_argument('--gpus', type=int, default=1, help='number of processes (default: 1)')
    apis.add_config_options(parser)
    args = parser.parse_args()
    apis.check_writable(out=args.out)
    schedule = apis.draw_schedule(
        apis.load_config(args.config, args.cfg_options), args.out,
        apis.EpochLength(args.iters_per_epoch, args.dataset_size, args.gpus))
    print('\n'.join(schedule.describe()))
    print(f'wrote {args.out}')


if __name__ == '__main__':
    apis.run_tool(main)
