"""Draw images of a dataset as the network gets them: after all transforms, with their labels or masks.

An image with a mask is drawn twice, the second time with its foreground tinted; ignored pixels are tinted blue.
"""
import argparse

from ftcls import apis


def main() -> None:
    """Read the config and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='path of the config file')
    parser.add_argument('--split', choices=('train', 'val', 'test'), default='train', help='default: train')
    parser.add_argument('--number', type=int, default=12, metavar='N', help='how many samples (default: 12)')
    parser.add_argument('--out', default='browse.png', metavar='FILE', help='the PNG file (default: browse.png)')
    parser.add_argument('--seed', type=int, default=0, help='seed of the random transforms (default: 0)')
    apis.add_config_options(parser)
    args = parser.parse_args()
    apis.check_writable(out=args.out)
    cfg = apis.load_config(args.config, args.cfg_options)
    _, lines = apis.browse_dataset(cfg, args.split, args.number, args.out, args.seed)
    print('\n'.join(lines))


if __name__ == '__main__':
    apis.run_tool(main)
