"""Fine-tune a model from a config file."""
import argparse
import os

from ftcls import apis


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='path of the config file')
    parser.add_argument('--work-dir', help='folder of the run; default: work_dirs/<config name>')
    parser.add_argument(
        '--load-from',
        metavar='CKPT',
        dest='cfg_options',
        action='append',
        default=[],
        type=lambda path: f'load_from={path!r}',
        help='begin with these weights; the same as --cfg-options load_from=CKPT')
    parser.add_argument('--epochs', type=int, metavar='N', help='train for N epochs, with schedules stretched alike')
    parser.add_argument(
        '--resume',
        nargs='?',
        const=True,
        default=False,
        metavar='CKPT',
        help='continue from this checkpoint, or from the latest of the work dir')
    parser.add_argument('--amp', action='store_true', help='mixed precision (bfloat16, else float16)')
    parser.add_argument('--no-validate', action='store_true', help='do not validate during training')
    parser.add_argument('--auto-scale-lr', action='store_true', help='the same as --batch-policy scale-lr')
    parser.add_argument(
        '--batch-policy',
        choices=apis.BATCH_POLICIES,
        help='what to do if batch size x processes is not auto_scale_lr.base_batch_size; default: accumulate')
    apis.add_config_options(parser)
    parser.add_argument('--launcher', choices=apis.LAUNCHERS, default='none', help='who started the processes')
    parser.add_argument('--local-rank', '--local_rank', type=int, default=0, help='set by some launchers')
    parser.add_argument('--seed', type=int, help='seed of all random numbers')
    parser.add_argument('--dry-run', action='store_true', help='stop after the preflight and one checked step')
    args = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def main() -> None:
    """Read the config and train."""
    args = parse_args()
    cfg = apis.load_config(args.config, args.cfg_options)
    apis.train(
        cfg,
        apis.TrainOptions(
            work_dir=args.work_dir,
            resume=args.resume,
            amp=args.amp,
            validate=not args.no_validate,
            batch_policy='scale-lr' if args.auto_scale_lr else args.batch_policy,
            launcher=args.launcher,
            seed=args.seed,
            dry_run=args.dry_run,
            epochs=args.epochs))
    if not args.dry_run:
        apis.report_run(cfg, args.work_dir)


if __name__ == '__main__':
    apis.run_tool(main)
