"""Fine-tuning on embedded data: pretrain on digits, adapt to inverted digits, compare with training from scratch.

Real data (scikit-learn's 1,797 scanned digits), no network, one CPU, under two minutes.
"""
import argparse
import contextlib
import io
import shutil
import time

from ftcls import apis

PRETRAIN, FINETUNE = (f'ftcls::tutorial/lenet5_{name}_digits.py' for name in ('pretrain', 'finetune'))


def main() -> None:
    """Pretrain, run the three arms, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seeds', type=int, default=3, help='runs per arm')
    parser.add_argument('--epochs', type=int, help='epochs of every arm; default: those of the config')
    args = parser.parse_args()
    start = time.monotonic()
    print(f'1. pretrain LeNet-5 on 717 scans, light ink on dark ({PRETRAIN})')
    with contextlib.redirect_stdout(io.StringIO()):
        apis.train(apis.load_config(PRETRAIN), apis.TrainOptions(work_dir='work_dirs/lenet5_pretrain_digits'))
    print(f'2. adapt it to dark ink on light, 3 labelled scans per class ({FINETUNE}),\n'
          '   and compare with training from scratch and a linear probe on its frozen features')
    shutil.rmtree('work_dirs/demo', ignore_errors=True)  # `compare` does not repeat finished runs
    result = apis.compare(
        apis.load_config(FINETUNE), ('scratch', 'probe', 'finetune'),
        range(args.seeds),
        'work_dirs/demo',
        epochs=args.epochs,
        log=lambda line: print(f'   {line}', flush=True))
    print(f'\n{result.table()}\n\n'
          'wrote work_dirs/demo/compare.png        the curves of the three arms\n'
          '      work_dirs/demo/results.json       every number\n'
          '      work_dirs/demo/<arm>/seed<k>/     log, preflight.txt, metrics.jsonl, curves.png, checkpoints\n'
          f'{time.monotonic() - start:.0f} seconds')


if __name__ == '__main__':
    apis.run_tool(main)
