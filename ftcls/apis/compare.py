"""Training several arms of one experiment over several seeds, and reporting what the difference is worth."""
import contextlib
import copy
import functools
import gc
import io
import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from rich.console import Console
from rich.table import Table
from scipy import stats

from ftcls.registry import MODELS
from ftcls.utils import ConfigError, did_you_mean
from ftcls.visualization import plot_compare, read_records
from .config import apply_overrides
from .test import evaluate_runner
from .train import TrainOptions, train

__all__ = ['Comparison', 'RunResult', 'compare', 'standard_arms']


@dataclass(frozen=True)
class RunResult:
    """What one arm came to with one seed: the test metrics, else the last validation's."""
    arm: str
    seed: int
    work_dir: str
    metrics: dict[str, float]


@dataclass(frozen=True)
class Comparison:
    """All runs of a comparison; ``metric`` names the score, ``split`` the data that it was measured on."""
    metric: str
    split: str
    results: list[RunResult]

    def scores(self, arm: str) -> list[float]:
        """Return the scores of one arm, in the order of the seeds."""
        return [r.metrics[self.metric] for r in self.results if r.arm == arm]

    def summary(self) -> list[dict[str, Any]]:
        """Return, an arm: mean, standard deviation over seeds, and the difference to the first arm with its 95 % interval.

        The interval is Student's t over the seed-wise differences (runs of one seed share data and order).
        """
        arms = list(dict.fromkeys(r.arm for r in self.results))
        first, rows = self.scores(arms[0]), []
        for arm in arms:
            scores = self.scores(arm)
            row: dict[str, Any] = dict(
                arm=arm,
                runs=len(scores),
                mean=statistics.fmean(scores),
                std=statistics.stdev(scores) if len(scores) > 1 else None)
            differences = [a - b for a, b in zip(scores, first)]
            row['difference'] = statistics.fmean(differences)
            row['interval'] = _t_interval(differences) if arm != arms[0] else None
            rows.append(row)
        return rows

    def table(self) -> str:
        """Draw the summary as plain text."""
        rows = self.summary()
        table = Table(box=None, pad_edge=False, header_style='bold')
        for title in ('arm', f'{self.split} {self.metric}', 'spread', 'runs', f'against {rows[0]["arm"]}',
                      '95 % interval'):
            table.add_column(title, justify='left' if title == 'arm' else 'right')
        for row in rows:
            spread = '-' if row['std'] is None else f'± {row["std"]:.2f}'
            interval = '-' if row['interval'] is None else '{:+.2f} to {:+.2f}'.format(*row['interval'])
            against = '-' if row['arm'] == rows[0]['arm'] else f'{row["difference"]:+.2f}'
            table.add_row(row['arm'], f'{row["mean"]:.2f}', spread, str(row['runs']), against, interval)
        console = Console(width=120, color_system=None, force_terminal=False)
        with console.capture() as capture:
            console.print(table)
        return '\n'.join(line.rstrip() for line in capture.get().splitlines())


def _t_interval(differences: Sequence[float]) -> tuple[float, float] | None:
    if len(differences) < 2:
        return None
    half = stats.t.ppf(0.975, len(differences) - 1) * statistics.stdev(differences) / math.sqrt(len(differences))
    mean = statistics.fmean(differences)
    return mean - half, mean + half


def standard_arms(cfg: Config) -> dict[str, dict[str, Any]]:
    """Return the overrides that make an arm of a fine-tuning config.

    - ``finetune``: the config as it is.
    - ``scratch``: no pretrained weights, nothing frozen.
    - ``probe``: the whole backbone frozen, so that a linear classifier on its features learns alone.

    The config's own ``arms = dict(scratch={'optim_wrapper.optimizer.lr': 0.1}, …)`` adds to these, or names further ones.
    """
    arms: dict[str, dict[str, Any]] = {
        'scratch': {
            'model.backbone.init_cfg': None,
            'model.backbone.frozen_stages': -1,
            'load_from': None
        },
        'probe': {
            'model.backbone.frozen_stages': _stage_count(cfg)
        },
        'finetune': {},
    }
    for name, overrides in (cfg.get('arms') or {}).items():
        arms[name] = {**arms.get(name, {}), **overrides}
    return arms


def _stage_count(cfg: Config) -> int:
    backbone = copy.deepcopy(cfg.model.backbone)
    backbone['init_cfg'] = None
    return len(MODELS.build(backbone).stages()) - 1


def compare(cfg: Config,
            arms: Sequence[str],
            seeds: Sequence[int],
            out_dir: str | Path,
            *,
            epochs: int | None = None,
            metric: str | None = None,
            launcher: str = 'none',
            say: Callable[[str], None] = functools.partial(print, flush=True)) -> Comparison:
    """Train each arm with each seed on the same data and budget, and write the table, the curves and the numbers.

    Args:
        cfg: The fine-tuning config; it is not changed.
        arms: Names of ``standard_arms`` or of the config's ``arms``; the first is what the others are held against.
        seeds: One run an arm and seed. Datasets that draw few shots (``shots_per_class``) draw them with the run's seed.
        out_dir: Gets ``<arm>/seed<k>/`` of each run, ``compare.png``, ``results.json`` and ``table.txt``.
        epochs: The budget of every arm; None leaves it as the config has it.
        metric: The score; None takes the first metric of the evaluator.
        launcher: As of ``train``.
        say: Gets one line a finished run.

    Raises:
        ConfigError: If an arm is unknown, or a metric is.
    """
    known = standard_arms(cfg)
    for arm in arms:
        if arm not in known:
            raise ConfigError(f'--arms {arm}: unknown{did_you_mean(arm, known)}')
    out_dir = Path(out_dir)
    results, records = [], {arm: [] for arm in arms}
    for seed in seeds:
        for arm in arms:
            work_dir = out_dir / arm / f'seed{seed}'
            run_cfg = _arm_config(cfg, known[arm], seed, epochs, f'{arm}-seed{seed}')
            metrics, split = _run(run_cfg, TrainOptions(work_dir=str(work_dir), seed=seed, launcher=launcher))
            records[arm].append(read_records(work_dir / 'metrics.jsonl'))
            results.append(RunResult(arm, seed, str(work_dir), metrics))
            metric = metric or next(iter(metrics))
            if metric not in metrics:
                raise ConfigError(f'--metric {metric}: not measured{did_you_mean(metric, metrics)}')
            say(f'{arm}, seed {seed}: {split} {metric} {metrics[metric]:.2f}')
    comparison = Comparison(metric, split, results)
    _write(comparison, records, out_dir)
    return comparison


def _run(cfg: Config, options: TrainOptions) -> tuple[dict[str, float], str]:
    """Train and measure one arm, and leave nothing open: dozens of runs in one process would add up."""
    with contextlib.redirect_stdout(io.StringIO()):  # the log of each run is in its work dir
        runner = train(cfg, options)
        result = evaluate_runner(runner)
    for handler in list(runner.logger.handlers):
        runner.logger.removeHandler(handler)
        handler.close()
    del runner
    gc.collect()  # the Runner and its hooks point at one another; their dataloaders' workers live until it is gone
    return result


def _arm_config(cfg: Config, overrides: Mapping[str, Any], seed: int, epochs: int | None, name: str) -> Config:
    run_cfg = copy.deepcopy(cfg)
    run_cfg.pop('arms', None)
    apply_overrides(run_cfg, overrides)
    if epochs is not None:
        run_cfg.train_cfg.max_epochs = epochs
    run_cfg.experiment_name = name
    for split in ('train', 'val', 'test'):
        dataset = (run_cfg.get(f'{split}_dataloader') or {}).get('dataset')
        if isinstance(dataset, Mapping) and dataset.get('shots_per_class'):
            dataset['seed'] = seed
    return run_cfg


def _write(comparison: Comparison, records: dict[str, list], out_dir: Path) -> None:
    (out_dir / 'table.txt').write_text(comparison.table() + '\n', encoding='utf-8')
    content = dict(
        metric=comparison.metric,
        split=comparison.split,
        summary=comparison.summary(),
        runs=[asdict(r) for r in comparison.results])
    (out_dir / 'results.json').write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')
    plot_compare(records, out_dir / 'compare.png')
