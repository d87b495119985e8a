"""What a hyper-parameter search came to: the table, the figure, the numbers, the best config."""
import json
import textwrap
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config
from rich.console import Console
from rich.table import Table

from ftcls.utils import ConfigError
from ftcls.visualization import plot_search
from .search_space import Dimension, with_values

__all__ = ['Search', 'distributions', 'finish_search', 'shown_values']

_FEWEST = 8  # fewer trials tell nothing of what mattered


@dataclass
class Search:
    """What a search came to.

    Attributes:
        metric: The score.
        lower: A lower score is better.
        trials: ``number``, ``folder``, ``state`` ('finished', 'pruned', 'failed'), ``score``, ``values``, ``error`` of each.
        importance: Parameter to its share of the variance of the scores (fANOVA), the largest first; empty for few trials.
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
        states = [trial['state'] for trial in self.trials]
        count = ', '.join(f'{states.count(s)} {s}' for s in ('finished', 'pruned', 'failed') if s in states)
        table = Table(box=None, pad_edge=False)
        names = list(dict.fromkeys(name for trial in self.trials for name in trial['values']))
        for column in ('trial', f'val {self.metric}', *names):
            table.add_column(column, justify='left' if column in names else 'right', overflow='fold')
        for trial in self.ranked[:most]:
            table.add_row(
                str(trial['number']), f'{trial["score"]:.4g}', *(_shown(trial['values'].get(name)) for name in names))
        console = Console(width=200, no_color=True)
        with console.capture() as capture:
            console.print(table)
        lines = [f'{len(states)} trials: {count}', *(line.rstrip() for line in capture.get().splitlines())]
        if self.importance:
            lines += ['', 'what mattered (share of the variance of the score, fANOVA):']
            lines += [f'  {share:4.0%}  {name}' for name, share in self.importance.items()]
        lines += [f'trial {t["number"]} FAILED: {t["error"]}' for t in self.trials if t['state'] == 'failed']
        return '\n'.join(lines)


def shown_values(values: Mapping[str, Any]) -> str:
    """Return what was drawn as ``'lr=0.01, type=SGD'``, by the last parts of the keys."""
    return ', '.join(f'{key.split(".")[-1]}={_shown(value)}' for key, value in values.items())


def _shown(value: Any) -> str:
    return f'{value:.4g}' if isinstance(value, float) else str(value)


def finish_search(cfg: Config, space: Sequence[Dimension], trials: list[dict[str, Any]], out_dir: Path, metric: str,
                  lower: bool) -> Search:  # yapf: disable
    """Write table, figure, numbers and the best config into ``out_dir``, and return what was found.

    Args:
        cfg: The config that was searched around.
        space: The search space.
        trials: As of :class:`Search`.
        out_dir: Where these go.
        metric: The score.
        lower: A lower score is better.

    Raises:
        ConfigError: If no trial came to an end.
    """
    search = Search(metric, lower, trials)
    if not search.ranked:
        errors = '\n'.join(f'  trial {t["number"]}: {t["error"]}' for t in trials if t['state'] == 'failed')
        raise ConfigError(f'no trial came to an end:\n{errors}')
    search.importance = _importance(space, search.ranked)
    (out_dir / 'table.txt').write_text(search.table() + '\n', encoding='utf-8')
    content = dict(metric=metric, trials=trials, importance=search.importance)
    (out_dir / 'results.json').write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')
    plot_search([dict(t, pruned=t['state'] == 'pruned') for t in trials], search.importance,
                [d.key for d in space if d.kind == 'loguniform'], metric, lower, out_dir / 'search.png')  # yapf: disable
    _write_best(cfg, search.ranked[0], space, search, out_dir / 'best.py')
    return search


def distributions(space: Sequence[Dimension]) -> dict[str, Any]:
    """Return Optuna's distributions."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
    return {
        d.key: CategoricalDistribution(d.choices) if d.kind == 'choice' else
        IntDistribution(d.low, d.high) if d.kind == 'int' else
        FloatDistribution(d.low, d.high, log=d.kind == 'loguniform') for d in space
    }  # yapf: disable


def _importance(space: Sequence[Dimension], finished: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return what share of the variance of the scores each parameter explains; nothing where that cannot be told."""
    if len(space) < 2 or len(finished) < _FEWEST:
        return {}
    with suppress(ImportError, ValueError, RuntimeError):  # no Optuna, too few trials, scores that are all the same
        import optuna
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study()
        for trial in finished:
            study.add_trial(
                optuna.trial.create_trial(
                    params=trial['values'], distributions=distributions(space), value=trial['score']))
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))
    return {}


def _write_best(cfg: Config, best: Mapping[str, Any], space: Sequence[Dimension], search: Search, path: Path) -> None:
    chosen = with_values(cfg, best['values'], space)
    chosen.pop('arms', None)
    values = '\n'.join(f'{key} = {_shown(value)}' for key, value in best['values'].items())
    text = (
        f'"""Trial {best["number"]} of {len(search.trials)}, the best: val {search.metric} {best["score"]:.4g}.\n\n'
        f'{textwrap.indent(values, "    ")}\n\nThe best of many scores on the same pictures flatters; measure it on others: '
        f'python tools/test.py\n"""\n')
    path.write_text(text + chosen.pretty_text, encoding='utf-8')
