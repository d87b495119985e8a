"""Search for values of config keys that give the best validation score: Optuna's trials, or Ray's on many machines.

Each trial is an ordinary run in its own work dir. The same command resumes after a kill. Several processes with the
same --out-dir share the trials. The space is given as items, or as a file with `space = {'key': 'distribution', ...}`:

    optim_wrapper.optimizer.lr=loguniform(1e-4,1e-1)     a number, on a logarithmic scale
    model.head.loss.label_smooth_val=uniform(0,0.2)      a number
    model.backbone.frozen_stages=int(-1,3)               a whole number, both ends included
    optim_wrapper.optimizer.type=choice(SGD,AdamW)       one of several values, written as in a config
"""
import argparse

from ftcls import apis


def main() -> None:
    """Search and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='path of the config file')
    parser.add_argument('--space', nargs='+', required=True, metavar='KEY=DISTRIBUTION', help='or a .py or .json file')
    parser.add_argument('--trials', type=int, default=20, help='in all, including finished ones (default: 20)')
    parser.add_argument('--out-dir', default='work_dirs/tune', help='folder for runs, table, figure, numbers, best.py')
    parser.add_argument('--metric', help='the validation metric to optimize; default: the first of the evaluator')
    parser.add_argument('--seed', type=int, default=0, help='seed of the search and of every run')
    parser.add_argument('--prune', action='store_true', help='stop a trial that is worse than the median of the others')
    parser.add_argument('--storage', help='address of Optuna\'s storage, for workers on several machines')
    parser.add_argument('--backend', choices=('optuna', 'ray'), default='optuna', help='who distributes the trials')
    apis.add_config_options(parser)
    args = parser.parse_args()
    cfg = apis.load_config(args.config, args.cfg_options)
    options = apis.SearchOptions(args.trials, args.out_dir, args.metric, args.seed, args.prune, args.storage)
    search_with = apis.tune_on_ray if args.backend == 'ray' else apis.tune
    search = search_with(cfg, apis.read_space(args.space), options)
    print(f'\n{search.table()}\n')
    print(f'wrote {args.out_dir}/search.png, table.txt, results.json, and best.py, the config of the best trial')


if __name__ == '__main__':
    apis.run_tool(main)
