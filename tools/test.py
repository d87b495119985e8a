"""Evaluate a checkpoint on the test set of a config."""
import argparse
import os

from ftcls import apis


def main() -> None:
    """Read the config and test."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file, name of a config, or folder of a run')
    parser.add_argument(
        'checkpoint', nargs='?', help='file, URL or torchvision:// name; default: the best of the run, else its last')
    parser.add_argument('--work-dir', help='folder for the log; default: work_dirs/<config name>')
    parser.add_argument('--out', help='write the metrics to a .json file, or every prediction to a .pkl file')
    parser.add_argument(
        '--tta',
        action='store_true',
        help='average over views: the config\'s tta_pipeline, else the image and its mirror image')
    apis.add_config_options(parser)
    parser.add_argument('--launcher', choices=apis.LAUNCHERS, default='none', help='who started the processes')
    parser.add_argument('--local-rank', '--local_rank', type=int, default=0, help='set by some launchers')
    args = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg, checkpoint = apis.resolve_model(args.config, args.checkpoint or True, args.cfg_options)
    apis.test(cfg, checkpoint, args.out, work_dir=args.work_dir, launcher=args.launcher, tta=args.tta)
    if not args.tta:
        apis.report_run(cfg, args.work_dir, checkpoint)


if __name__ == '__main__':
    apis.run_tool(main)
