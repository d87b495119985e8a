"""Look for images that cannot be read, are there twice or nearly, contradict each other, or are unlike all others."""
import argparse

from ftcls import apis


def main() -> int:
    """Print a table of what is wrong; return 1 if anything is an error."""
    parser = argparse.ArgumentParser(description=__doc__, epilog='The exit code is 1 if the table has an ERROR.')
    parser.add_argument('target', help='path of a config file, or a folder of images as new_config takes it')
    parser.add_argument('--names', type=int, default=3, help='how many names per finding (default: 3)')
    apis.add_config_options(parser)
    args = parser.parse_args()
    checked = apis.check_data(args.target, args.cfg_options)
    print(checked.describe(args.names))
    return int(checked.has_errors)


if __name__ == '__main__':
    apis.run_tool(main)
