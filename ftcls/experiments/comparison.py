"""What several arms came to over several seeds: the statistics of their difference, as a table, as JSON, as curves."""
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from scipy import stats

from ftcls.visualization import plot_compare, read_records

__all__ = ['Comparison', 'RunResult', 'never_trained']


@dataclass(frozen=True)
class RunResult:
    """What one arm came to with one seed: the test metrics, else the last validation's; lists are one value a class."""
    arm: str
    seed: int
    work_dir: str
    metrics: dict[str, float | list[float]]


@dataclass(frozen=True)
class Comparison:
    """All runs of a comparison.

    Attributes:
        metric: The score.
        split: The data that it was measured on.
        results: The runs that are finished.
        arms: The arms in their order, the first is the reference; () for those of ``results``.
        failures: What went wrong, by run (``'probe, seed 2'``).
        unfinished: Runs of which there is no result and no failure either.
        notes: What else is to be known of an arm, one line each.
    """
    metric: str
    split: str
    results: list[RunResult]
    arms: tuple[str, ...] = ()
    failures: Mapping[str, str] = field(default_factory=dict)
    unfinished: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def arm_names(self) -> tuple[str, ...]:
        """The arms in their order."""
        return self.arms or tuple(dict.fromkeys(r.arm for r in self.results))

    def scores(self, arm: str) -> dict[int, float]:
        """Return the scores of one arm by seed."""
        return {r.seed: r.metrics[self.metric] for r in self.results if r.arm == arm}

    def summary(self) -> list[dict[str, Any]]:
        """Return, an arm: mean, standard deviation over seeds, and the difference to the first arm with its 95 % interval.

        The interval is Student's t over the differences of runs of one seed, which share data and order; a seed that one
        of the two arms lacks counts for neither.
        """
        first, rows = self.scores(self.arm_names[0]), []
        for arm in self.arm_names:
            scores = self.scores(arm)
            values = list(scores.values())
            differences = [scores[seed] - first[seed] for seed in scores if seed in first]
            is_first = arm == self.arm_names[0]
            rows.append(
                dict(
                    arm=arm,
                    runs=len(scores),
                    mean=statistics.fmean(values) if values else None,
                    std=statistics.stdev(values) if len(values) > 1 else None,
                    difference=statistics.fmean(differences) if differences else None,
                    interval=None if is_first else _t_interval(differences)))
        return rows

    def table(self) -> str:
        """Draw the summary as plain text, then what failed and what is not finished."""
        rows = self.summary()
        table = Table(box=None, pad_edge=False, header_style='bold')
        for title in ('arm', f'{self.split} {self.metric}', 'spread', 'runs', f'against {rows[0]["arm"]}',
                      '95 % interval'):
            table.add_column(title, justify='left' if title == 'arm' else 'right')
        for row in rows:
            mean = '-' if row['mean'] is None else f'{row["mean"]:.2f}'
            spread = '-' if row['std'] is None else f'± {row["std"]:.2f}'
            interval = '-' if row['interval'] is None else '{:+.2f} to {:+.2f}'.format(*row['interval'])
            against = '-' if row is rows[0] or row['difference'] is None else f'{row["difference"]:+.2f}'
            table.add_row(row['arm'], mean, spread, str(row['runs']), against, interval)
        console = Console(width=120, color_system=None, force_terminal=False)
        with console.capture() as capture:
            console.print(table)
        lines = [line.rstrip() for line in capture.get().splitlines()]
        lines += [f'NOTE  {note}' for note in self.notes]
        lines += [f'FAILED  {run}: {why}' for run, why in self.failures.items()]
        if self.unfinished:
            lines.append(f'not finished: {"; ".join(self.unfinished)}')
        return '\n'.join(lines)

    def write(self, out_dir: Path) -> None:
        """Write ``table.txt``, ``results.json`` and ``compare.png`` into a folder."""
        (out_dir / 'table.txt').write_text(self.table() + '\n', encoding='utf-8')
        content = dict(
            metric=self.metric,
            split=self.split,
            summary=self.summary(),
            runs=[asdict(r) for r in self.results],
            failures=dict(self.failures),
            unfinished=list(self.unfinished),
            notes=list(self.notes))
        (out_dir / 'results.json').write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')
        records: dict[str, list] = {arm: [] for arm in self.arm_names}
        for result in self.results:
            records[result.arm].append(read_records(Path(result.work_dir) / 'metrics.jsonl'))
        plot_compare({arm: runs for arm, runs in records.items() if runs}, out_dir / 'compare.png')


def never_trained(results: Sequence[RunResult]) -> tuple[str, ...]:
    """Return what an arm's unfreezing was to add and did not come to, as its preflight says, one line each."""
    found = []
    for result in results:
        preflight = Path(result.work_dir, 'preflight.txt')
        lines = preflight.read_text(encoding='utf-8').splitlines() if preflight.is_file() else []
        found += [f'{result.arm}: {line.strip()}' for line in lines if 'unfreezing:' in line and 'NEVER' in line]
    return tuple(dict.fromkeys(found))


def _t_interval(differences: Sequence[float]) -> tuple[float, float] | None:
    if len(differences) < 2:
        return None
    half = stats.t.ppf(0.975, len(differences) - 1) * statistics.stdev(differences) / math.sqrt(len(differences))
    mean = statistics.fmean(differences)
    return mean - half, mean + half
