"""Choose the learning rates of the demo's arms on the validation part of the digits, never on its test set.

python tools/train.py configs/tutorial/lenet5_pretrain_digits.py
python benchmarks/digits_rates.py

Prints the mean validation accuracy per arm and rate, over three seeds that the demo does not use.
"""
import argparse
import tempfile
from pathlib import Path

from ftcls.apis import compare, load_config

CONFIG = Path(__file__).resolve().parent.parent / 'configs' / 'tutorial' / 'lenet5_finetune_digits.py'


def main() -> None:
    """Train every arm at every rate and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rates', type=float, nargs='+', default=[0.0003, 0.001, 0.003, 0.01])
    parser.add_argument('--arms', nargs='+', default=['scratch', 'probe', 'finetune'])
    parser.add_argument('--seeds', type=int, nargs='+', default=[100, 101, 102])
    parser.add_argument('--quick', action='store_true', help='one epoch of one run, to see that all works')
    args = parser.parse_args()
    if args.quick:
        args.rates, args.arms, args.seeds = [0.001], ['scratch'], [100]
    print('rate      ' + ''.join(f'{arm:>12}' for arm in args.arms))
    for rate in args.rates:
        cfg = load_config(CONFIG)
        # without a test set, `compare` measures on `val`
        cfg.test_dataloader = cfg.test_cfg = cfg.test_evaluator = None
        cfg.arms = {arm: {**cfg.arms.get(arm, {}), 'optim_wrapper.optimizer.lr': rate} for arm in args.arms}
        with tempfile.TemporaryDirectory() as folder:
            rows = compare(
                cfg, args.arms, args.seeds, folder, epochs=1 if args.quick else None, log=lambda line: None).summary()
        print(f'{rate:<10g}' + ''.join(f'{row["mean"]:12.2f}' for row in rows), flush=True)


if __name__ == '__main__':
    main()
