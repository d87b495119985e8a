"""List every parameter of a config's model: shape, state, learning rate, weight decay, where its value comes from.

It loads the weights and builds the optimizer; it needs no data.
"""
import argparse

from ftcls import apis


def main() -> None:
    """Read the config and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='path of the config file')
    apis.add_config_options(parser)
    args = parser.parse_args()
    print(apis.describe_parameters(apis.load_config(args.config, args.cfg_options)))


if __name__ == '__main__':
    apis.run_tool(main)
