"""The reports of a comparison, a cross-validation and a search: a table, a figure, the numbers as JSON."""
import csv
import json
import math
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ftcls.utils.table import render_table

__all__ = ['Comparison', 'CrossValidation', 'RunResult', 'Search', 'format_value']


@dataclass(frozen=True)
class RunResult:
    """The metrics of one arm with one seed, on the test or validation set; lists have one value per class."""
    arm: str
    seed: int
    work_dir: str
    metrics: dict[str, float | list[float]]


@dataclass(frozen=True)
class Comparison:
    """The finished runs of a comparison, by the score ``metric`` on ``split``.

    Attributes:
        arms: The arms in their order, the first is the reference; () for those of ``results``.
        failures: What went wrong, by run (``'probe, seed 2'``).
        unfinished: Runs without a result and without a failure.
    """
    metric: str
    split: str
    results: list[RunResult]
    arms: tuple[str, ...] = ()
    failures: Mapping[str, str] = field(default_factory=dict)
    unfinished: Sequence[str] = ()

    @property
    def arm_names(self) -> tuple[str, ...]:
        """The arms in their order."""
        return self.arms or tuple(dict.fromkeys(r.arm for r in self.results))

    @property
    def notes(self) -> list[str]:
        """What the runs' preflights print about parts that their unfreezing never trains, one line each."""
        notes: dict[str, None] = {}
        for result in self.results:
            with suppress(FileNotFoundError):
                text = Path(result.work_dir, 'preflight.txt').read_text(encoding='utf-8')
                notes |= {f'{result.arm}: {line}': None for line in re.findall(r'unfreezing:.*NEVER.*', text)}
        return list(notes)

    def scores(self, arm: str) -> dict[int, float]:
        """Return the scores of one arm by seed."""
        return {r.seed: r.metrics[self.metric] for r in self.results if r.arm == arm}

    def summary(self) -> list[dict[str, Any]]:
        """Return for each arm: mean, standard deviation over seeds, difference to the first arm, its 95 % interval.

        The interval is Student's t over the differences of runs of one seed, which share data and order. A seed that
        one of the two arms lacks counts for neither.
        """
        first, rows = self.scores(self.arm_names[0]), []
        for arm in self.arm_names:
            scores = self.scores(arm)
            mean, std = _mean_and_std(scores.values())
            differences = [scores[seed] - first[seed] for seed in scores if seed in first]
            row = dict(arm=arm, runs=len(scores), mean=mean, std=std, difference=_mean_and_std(differences)[0])
            rows.append(dict(row, interval=_t_interval(differences)))
        rows[0]['interval'] = None
        return rows

    def table(self) -> str:
        """Return the summary as plain text, then notes, failures and what is not finished."""
        titles = (f'{self.split} {self.metric}', 'spread', 'runs', f'against {self.arm_names[0]}', '95 % interval')
        rows = []
        for row in self.summary():
            mean, spread = _format('{:.2f}', row['mean']), _format('± {:.2f}', row['std'])
            interval = _format('{:+.2f} to {:+.2f}', *row['interval'] or [None])
            rows.append([row['arm'], mean, spread, row['runs'], _format('{:+.2f}', row['difference']), interval])
        rows[0][4] = None  # the reference against itself
        lines = [render_table({'arm': 'left', **dict.fromkeys(titles, 'right')}, rows)]
        lines += [f'NOTE  {note}' for note in self.notes]
        return '\n'.join([*lines, *_describe_missing(self.failures, self.unfinished)])

    def write(self, out_dir: Path) -> None:
        """Write ``table.txt``, ``results.json`` and ``compare.png`` into a folder."""
        content = asdict(self)
        content.update(runs=content.pop('results'), summary=self.summary(), notes=self.notes)
        _write(out_dir, self.table(), content)
        folders = {arm: [r.work_dir for r in self.results if r.arm == arm] for arm in self.arm_names}
        _draw_arms(folders, out_dir / 'compare.png')


@dataclass(frozen=True)
class CrossValidation:
    """The finished ones of a number of folds, by the score ``metric``.

    Attributes:
        metrics: All metrics of each finished fold, by the fold's number.
        rows: The rows of ``out_of_fold.csv``: the predictions of these folds for their own images.
        failures: What went wrong, by fold (``'fold 2'``).
        unfinished: Folds without a result and without a failure.
    """
    metric: str
    folds: int
    metrics: dict[int, dict[str, Any]]
    rows: list[dict[str, str]]
    failures: Mapping[str, str] = field(default_factory=dict)
    unfinished: Sequence[str] = ()

    @property
    def scores(self) -> dict[int, float]:
        """The scores of the finished folds, by the fold's number."""
        return {fold: metrics[self.metric] for fold, metrics in self.metrics.items()}

    @property
    def mean(self) -> float | None:
        """Mean of the folds' scores."""
        return _mean_and_std(self.scores.values())[0]

    @property
    def std(self) -> float | None:
        """Standard deviation of the folds' scores, None for a single one."""
        return _mean_and_std(self.scores.values())[1]

    def table(self) -> str:
        """Return the scores as plain text: one line per fold, mean and standard deviation, what is missing."""
        sizes = Counter(int(row['fold']) for row in self.rows)
        rows = [(fold, f'{score:.2f}', sizes[fold]) for fold, score in self.scores.items()]
        rows.append(('mean', f'{self.mean:.2f}', _format('± {:.2f}', self.std)))
        table = render_table({'fold': 'left', self.metric: 'right', 'images': 'right'}, rows)
        lines = [f'{table} (standard deviation over {len(self.scores)} folds)']
        if known := [row for row in self.rows if row['label'] and row['predicted']]:
            right = sum(row['label'] == row['predicted'] for row in known)
            lines.append(f'out of fold: {right} of {len(known)} right ({100 * right / len(known):.2f} %)')
        return '\n'.join([*lines, *_describe_missing(self.failures, self.unfinished)])

    def write(self, out_dir: Path) -> None:
        """Write ``table.txt``, ``results.json``, ``out_of_fold.csv`` and ``kfold.png`` beside the folds' work dirs."""
        content = dict(asdict(self), scores=self.scores, mean=self.mean, std=self.std)
        del content['rows']
        _write(out_dir, self.table(), content)
        with (out_dir / 'out_of_fold.csv').open('w', newline='', encoding='utf-8') as file:
            writer = csv.DictWriter(file, list(dict.fromkeys(name for row in self.rows for name in row)), restval='')
            writer.writeheader()
            writer.writerows(self.rows)
        folders = [out_dir / f'fold{fold}' for fold in self.metrics]
        _draw_arms({f'{len(folders)} folds': folders}, out_dir / 'kfold.png', self.metric, 'folds')


@dataclass
class Search:
    """The trials of a search for the best ``metric``; ``lower`` tells that a lower one is better.

    Attributes:
        trials: ``number``, ``folder``, ``state`` ('finished', 'pruned' or 'failed'), ``score``, ``values``, ``error``.
        importance: Parameter to its share of the variance of the scores (fANOVA), the largest first; or empty.
    """
    metric: str
    lower: bool
    trials: list[dict[str, Any]]
    importance: dict[str, float] = field(default_factory=dict)

    @property
    def ranked(self) -> list[dict[str, Any]]:
        """The finished trials, the best first."""
        finished = [trial for trial in self.trials if trial['state'] == 'finished']
        return sorted(finished, key=lambda trial: trial['score'], reverse=not self.lower)

    def table(self, most: int = 10) -> str:
        """Return the best trials and what mattered, as text."""
        states = Counter(trial['state'] for trial in self.trials)
        count = ', '.join(f'{states[state]} {state}' for state in ('finished', 'pruned', 'failed') if states[state])
        names = list(dict.fromkeys(name for trial in self.trials for name in trial['values']))
        rows = []
        for trial in self.ranked[:most]:
            values = [format_value(trial['values'].get(name)) for name in names]
            rows.append((trial['number'], format_value(trial['score']), *values))
        columns = {'trial': 'right', f'val {self.metric}': 'right', **dict.fromkeys(names, 'left')}
        lines = [f'{len(self.trials)} trials: {count}', render_table(columns, rows, width=200)]
        if self.importance:
            lines += ['', 'what mattered (share of the variance of the score, fANOVA):']
            lines += [f'  {share:4.0%}  {name}' for name, share in self.importance.items()]
        failures = {f'trial {trial["number"]}': trial['error'] for trial in self.trials if trial['state'] == 'failed'}
        return '\n'.join([*lines, *_describe_missing(failures)])

    def write(self, out_dir: Path, log_scaled: Sequence[str]) -> None:
        """Write ``table.txt``, ``results.json`` and ``search.png``, with logarithmic axes for some parameters."""
        _write(out_dir, self.table(), asdict(self))
        from ftcls.visualization import plot_search
        trials = [dict(trial, pruned=trial['state'] == 'pruned') for trial in self.trials]
        plot_search(trials, self.importance, log_scaled, self.metric, self.lower, out_dir / 'search.png')


def format_value(value: Any) -> str:
    """Return a value as text, a fraction with four digits."""
    return f'{value:.4g}' if isinstance(value, float) else str(value)


def _format(form: str, *values: float | None) -> str | None:
    return None if None in values else form.format(*values)


def _describe_missing(failures: Mapping[str, str], unfinished: Sequence[str] = ()) -> Iterator[str]:
    yield from (f'FAILED  {run}: {why}' for run, why in failures.items())
    if unfinished:
        yield f'not finished: {"; ".join(unfinished)}'


def _write(out_dir: Path, table: str, content: Mapping[str, Any]) -> None:
    (out_dir / 'table.txt').write_text(table + '\n', encoding='utf-8')
    (out_dir / 'results.json').write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')


def _draw_arms(folders: Mapping[str, Sequence], out: Path, metric: str | None = None, over: str = 'seeds') -> None:
    from ftcls.visualization import plot_compare, read_records
    arms = {arm: [read_records(Path(folder, 'metrics.jsonl')) for folder in some] for arm, some in folders.items()}
    if not any(metric in record for runs in arms.values() for run in runs for record in run):
        metric = None
    plot_compare({arm: runs for arm, runs in arms.items() if runs}, out, metric, over=over)


def _mean_and_std(values: Iterable[float]) -> tuple[float | None, float | None]:
    """Return the mean and the sample's standard deviation, None where there are too few values."""
    values = list(values)
    mean = statistics.fmean(values) if values else None
    std = statistics.stdev(values) if len(values) > 1 else None
    return mean, std


def _t_interval(differences: Sequence[float]) -> tuple[float, float] | None:
    mean, std = _mean_and_std(differences)
    if std is None:
        return None
    from scipy import stats
    half = stats.t.ppf(0.975, len(differences) - 1) * std / math.sqrt(len(differences))
    return mean - half, mean + half
