"""Merge the adapter of a run into the weights beneath it: write a checkpoint for the same config without `adapter`."""
import argparse

from ftcls import apis


def main() -> None:
    """Merge, and print the path."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('source', metavar='WORK_DIR|CHECKPOINT', help='the run (its best checkpoint), or a checkpoint')
    parser.add_argument('--out', metavar='FILE', help='the file to write; default: merged_<name> beside the checkpoint')
    args = parser.parse_args()
    apis.check_writable(out=args.out)
    print(apis.merge_adapter(args.source, args.out))


if __name__ == '__main__':
    apis.run_tool(main)
