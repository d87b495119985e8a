"""Time of the scan before training, for 10,000 images, and its share of a run's start.

    python benchmarks/scan.py data/hymenoptera

The folder's images are copied (not linked, so that each is read) to a temporary folder. "cold" drops the files from
the page cache before reading, which Linux allows for one's own files.
"""
import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path

from ftcls.datasets.headers import is_image, scan_headers
from ftcls.utils.table import render_table


def drop_cache(paths: list[str]) -> None:
    """Ask Linux to forget the content of files."""
    os.sync()
    for path in paths:
        with open(path, 'rb') as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure(paths: list[str], workers: int, cold: bool) -> float:
    """Return the seconds that a scan takes."""
    if cold:
        drop_cache(paths)
    started = time.perf_counter()
    headers = scan_headers(paths, workers)
    seconds = time.perf_counter() - started
    assert not any(header.fault for header in headers)
    return seconds


def main() -> None:
    """Copy the images, scan them and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = os.environ.get('FTCLS_REAL_DATA', '../shared/data')
    parser.add_argument('folder', nargs='?', default=f'{data}/hymenoptera')
    parser.add_argument('--images', type=int, default=10_000)
    parser.add_argument('--start', type=float, help="seconds that a run's start takes without the scan, if known")
    parser.add_argument('--quick', action='store_true', help='a few images, to see that all works')
    args = parser.parse_args()
    if args.quick:
        args.images = 20
    sources = [str(path) for path in sorted(Path(args.folder).rglob('*')) if path.is_file() and is_image(str(path))]
    with tempfile.TemporaryDirectory() as folder:
        paths = [f'{folder}/{number}{Path(sources[number % len(sources)]).suffix}' for number in range(args.images)]
        for number, path in enumerate(paths):
            shutil.copyfile(sources[number % len(sources)], path)
        rows = []
        for workers in (1, 2, 4, 8, 16):
            cold, warm = (min(measure(paths, workers, cold) for _ in range(3)) for cold in (True, False))
            share = f'{warm / (warm + args.start):.1%}' if args.start else ''
            rows.append((str(workers), f'{cold:.2f}', f'{warm:.2f}', share))
    columns = {'threads': 'right', 'cold, s': 'right', 'warm, s': 'right', 'share of the start': 'right'}
    print(f'{args.images:,} images')
    print(render_table(columns, rows))


if __name__ == '__main__':
    main()
