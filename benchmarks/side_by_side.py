"""Measure sides alternately, each run in a process of its own, and print or write a table of medians and ratios.

A script gives `main` one function per side, which returns numbers with their unit in the name. The function, not the
script, imports ftcls or a peer, since peers have a Python of their own (`--peers PYTHON`):

    def ours(args): ...  # returns {'images/s': 301.5}

    if __name__ == '__main__':
        main('loading', {'ours': ours, 'mmpretrain': mmpretrain}, argparse.ArgumentParser(description=__doc__))

Called with `--side ours`, the script measures this side once and prints its numbers as JSON in the last line. Called
without, it calls itself for each side in turn, `--rounds` times, and prints the table. Sides whose name begins with
'ours', and those that `main` is given as `own`, run in this Python. `--write` puts the table into docs/performance.md,
between `<!-- bench:loading -->` and `<!-- /bench:loading -->`. `--quick` is for tests: one round of a tiny measurement.
"""
import argparse
import datetime
import json
import os
import platform
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / 'docs' / 'performance.md'
PACKAGES = ('torch', 'torchvision', 'opencv-python', 'opencv-python-headless', 'simplejpeg', 'timm', 'mmengine',
            'mmpretrain', 'fastai', 'kornia')
FLAGS = ('amx_bf16', 'avx512_bf16', 'avx512f', 'avx2')
_VERSIONS = """import importlib.metadata, platform, sys
have = {d.name: d.version for d in importlib.metadata.distributions()}
print(', '.join(['Python ' + platform.python_version()] + [f'{n} {have[n]}' for n in sys.argv[1:] if n in have]))"""
Result = dict[str, Any]


def main(name: str,
         sides: Mapping[str, Callable[[argparse.Namespace], Result]],
         parser: argparse.ArgumentParser | None = None,
         own: Collection[str] = (),
         rounds: int = 5) -> None:
    """Measure one side, or all and print their table; see the module. A side reads its round from `BENCH_ROUND`.

    Raises:
        SystemExit: With 1, if a side failed.
    """
    parser = parser or argparse.ArgumentParser()
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument('--side', choices=list(sides), help='measure only this side, and print JSON')
    parser.add_argument('--peers', metavar='PYTHON', help="the Python of the peers' environment")
    parser.add_argument('--rounds', type=int, default=rounds)
    parser.add_argument('--quick', action='store_true', help='one tiny round, to see that all works')
    parser.add_argument('--write', action='store_true', help='put the table into docs/performance.md')
    args = parser.parse_args()
    if args.side:
        print(json.dumps(sides[args.side](args)))
        return
    if args.quick and args.write:
        parser.error('--write: the numbers of --quick are no measurement')
    where = machine()
    local = [side for side in sides if side.startswith('ours') or side in own]
    left_out = [side for side in sides if side not in local and not args.peers]
    commands = {
        side: [sys.executable if side in local else args.peers, *sys.argv, '--side', side]
        for side in sides if side not in left_out
    }
    results = alternate(commands, 1 if args.quick else args.rounds)
    text = table(results)
    if left_out:
        text += f'\n\nLeft out, since --peers PYTHON is not given: {", ".join(left_out)}.'
    print(text)
    failed = [side for side, runs in results.items() if _error(runs)]
    if args.write and len(failed) < len(results):  # else the table that is there stays
        write_block(name, text, peers=args.peers, where=where)
    if failed:
        sys.exit(1)


def alternate(commands: Mapping[str, list[str]], rounds: int = 5) -> dict[str, list[Result]]:
    """Run the command of each side in turn, ``rounds`` times, and read the JSON dict of its last line.

    A side that fails is not run again; its last entry is ``{'error': the last line of its errors}``. Each result is
    printed at once, so that a long comparison that is broken off is not lost.
    """
    results: dict[str, list[Result]] = {side: [] for side in commands}
    for number in range(rounds):
        for side, command in commands.items():
            if not _error(results[side]):
                print(f'round {number + 1} of {rounds}: {side}', file=sys.stderr, flush=True)
                results[side].append(_measured(command, number))
                print(f'  {json.dumps(results[side][-1])}', file=sys.stderr, flush=True)
    return results


def _measured(command: list[str], number: int) -> Result:
    """Run a command; return the dict that it prints last, or its error."""
    environment = dict(os.environ, BENCH_ROUND=str(number))
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    if done.returncode == 0 and lines:
        try:
            return dict(json.loads(lines[-1]))
        except ValueError:
            return dict(error=f'the last line is no JSON dict: {lines[-1]}')
    errors = done.stderr.strip().splitlines() or lines or ['']
    return dict(error=f'exit code {done.returncode}: {errors[-1]}')


def _error(runs: list[Result]) -> str | None:
    return next((run['error'] for run in runs if 'error' in run), None)


def table(results: Mapping[str, list[Result]], base: str = 'ours') -> str:
    """Return a markdown table: per number and side the median, the spread (min–max) and the ratio ``base`` / side.

    Values that are not numbers, for example what was chosen, are shown as the last run gave them.
    """
    rows = [f'| | side | median | spread | {base} / side |', '| --- | --- | ---: | ---: | ---: |']
    whole = {side: runs for side, runs in results.items() if runs and not _error(runs)}
    for key in dict.fromkeys(key for runs in whole.values() for run in runs for key in run):
        middle: dict[str, float] = {}
        for side in sorted(whole, key=lambda side: side != base):  # the base first, since the others refer to it
            values = [run[key] for run in whole[side] if run.get(key) is not None]
            if not values:
                continue
            if not all(isinstance(value, (int, float)) for value in values):
                rows.append(f'| {key} | {side} | {values[-1]} | | |')
                continue
            middle[side] = statistics.median(values)
            compared = base in middle and side != base and middle[side]
            ratio = f'{middle[base] / middle[side]:.2f}' if compared else ''
            spread = f'{_short(min(values))}–{_short(max(values))}'
            rows.append(f'| {key} | {side} | {_short(middle[side])} | {spread} | {ratio} |')
    rows += [f'| failed | {side} | {_error(runs)} | | |' for side, runs in results.items() if side not in whole]
    return '\n'.join(rows)


def _short(value: float) -> str:
    """Return a number with three digits, or all of its whole part."""
    return f'{value:,.0f}' if abs(value) >= 100 else f'{value:.3g}'


def machine() -> str:
    """Return the processor, its cores and flags, the load, and the GPU."""
    path = Path('/proc/cpuinfo')
    info = path.read_text() if path.exists() else ''
    model = re.search(r'model name\s*: (.*)', info)
    flags = [flag for flag in FLAGS if re.search(rf'\b{flag}\b', info)]
    try:
        command = ['nvidia-smi', '--query-gpu=name', '--format=csv,noheader']
        gpu = ', '.join(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split('\n')[:-1])
    except (OSError, subprocess.CalledProcessError):
        gpu = 'no GPU'
    name = model.group(1) if model else platform.machine()
    return f'{name}, {os.cpu_count()} cores ({", ".join(flags)}), load {os.getloadavg()[0]:.1f} at the start; {gpu}'


def versions(python: str) -> str:
    """Return the versions of Python and of the packages that count in an environment."""
    command = [python, '-c', _VERSIONS, *PACKAGES]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def write_block(name: str, text: str, peers: str | None = None, where: str | None = None, page: Path = PAGE) -> None:
    """Replace the block of a page by the text, with machine, command, date and versions.

    Raises:
        SystemExit: If the page has no block of this name.
    """
    before = page.read_text(encoding='utf-8')
    begin, end = f'<!-- bench:{name} -->\n', f'<!-- /bench:{name} -->'
    if begin not in before or end not in before:
        sys.exit(f'{page}: add the lines {begin.strip()} and {end}; the table goes between them.')
    words = ['PYTHON' if word == peers else word for word in sys.argv[1:]]
    git = subprocess.run(['git', 'rev-parse', '--short', 'HEAD'], cwd=ROOT, capture_output=True, text=True, check=False)
    lines = [
        f'`{" ".join(["python", "benchmarks/" + Path(sys.argv[0]).name, *words])}`, {datetime.date.today()}, commit '
        f'{git.stdout.strip() or "unknown"}.', f'{where or machine()}. Ours: {versions(sys.executable)}.'
    ]
    if peers:
        lines.append(f'Peers: {versions(peers)}.')
    head, tail = before.split(begin)[0], before.split(end)[1]
    block = '\n'.join(['', text, '', *lines, ''])
    page.write_text(f'{head}{begin}{block}{end}{tail}', encoding='utf-8')
