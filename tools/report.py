"""Write what a run has learned as one HTML file; several runs are put side by side.

It says what to think of the score, and shows the curves, the classes, the most confident mistakes, the calibration,
labels that look wrong, images that are there twice, and how to run it again. `tools/train.py` and `tools/test.py` write
it at their end, unless the config says `report = False`.
"""
import argparse

from ftcls import apis


def main() -> None:
    """Write the report and print the verdicts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        'work_dirs', nargs='+', metavar='WORK_DIR', help='folders of runs, or of a comparison, k-fold or search')
    parser.add_argument('--out', help='the HTML file; default: report.html in the first folder')
    parser.add_argument('--checkpoint', help='file to report on; default: the best of each run, else its last')
    parser.add_argument(
        '--compared',
        metavar='OUT_DIR',
        help='folder that tools/compare.py or tools/kfold.py has filled from the same data, to be taken into account')
    args = parser.parse_args()
    apis.check_writable(out=args.out)
    path, runs = apis.write_report(args.work_dirs, args.out, checkpoint=args.checkpoint, compared=args.compared)
    for run in runs:
        print('\n  '.join([f'{run.name}:', *run.verdict]))
        for note in run.notes:
            print(f'  left out: {note}')
    print(f'wrote {path}')


if __name__ == '__main__':
    apis.run_tool(main)
