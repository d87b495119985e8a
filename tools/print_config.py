"""Print a config as it is after its bases and overrides are merged."""
import argparse

from ftcls import apis


def main() -> None:
    """Read, check and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='path of the config file')
    apis.add_config_options(parser)
    args = parser.parse_args()
    cfg = apis.load_config(args.config, args.cfg_options)
    apis.validate_config(cfg)
    print(cfg.pretty_text)


if __name__ == '__main__':
    apis.run_tool(main)
