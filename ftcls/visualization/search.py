"""The figure of a hyper-parameter search: what came out, and what mattered."""
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .curves import _COLORS, _finish, _panels, _save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ['plot_search']

_MOST_PARAMETERS = 3  # those that matter most have a panel of their own


def plot_search(trials: Sequence[Mapping[str, Any]],
                importance: Mapping[str, float],
                log_scaled: Sequence[str],
                metric: str,
                lower: bool,
                out: str | os.PathLike,
                title: str | None = None) -> Path:
    """Draw the scores of the trials in their order, the importance of the parameters, and the score against the first
    of them.

    Args:
        trials: ``number``, ``score`` (None where there is none), ``pruned``, ``values`` (parameter to value) of each.
        importance: Parameter to its share of the variance of the scores, the largest first.
        log_scaled: The parameters that are drawn on a logarithmic axis.
        metric: Name of the score.
        lower: A lower score is better.
        out: The PNG file to write.
        title: Stands above the panels.

    Returns:
        The path of the file.
    """
    shown = list(importance)[:_MOST_PARAMETERS]
    figure, axes = _panels(2 + len(shown), title)
    scored = [trial for trial in trials if trial['score'] is not None]
    _draw_history(axes[0], scored, metric, lower)
    axes[1].set(title='What mattered', xlabel='share of the variance of the score', xlim=(0, 1))
    axes[1].barh([*map(_short, importance)][::-1], [*importance.values()][::-1], color=_COLORS[0])
    for one, name in zip(axes[2:], shown):
        _draw_parameter(one, scored, name, metric, name in log_scaled)
    return _save(figure, out)


def _short(name: str) -> str:
    """Return the last two parts of a config key."""
    return '.'.join(name.split(' & ')[0].split('&')[0].split('.')[-2:])


def _draw_history(axes: 'Axes', trials: Sequence[Mapping[str, Any]], metric: str, lower: bool) -> None:
    for pruned, color, label in ((False, _COLORS[0], 'finished'), (True, _COLORS[4], 'pruned')):
        if some := [trial for trial in trials if trial['pruned'] == pruned]:
            axes.plot([t['number'] for t in some], [t['score'] for t in some], 'o', color=color, label=label)
    if finished := [trial for trial in trials if not trial['pruned']]:
        best_of = np.minimum if lower else np.maximum
        best = best_of.accumulate([t['score'] for t in finished])
        axes.step([t['number'] for t in finished], best, where='post', color=_COLORS[1], label='best so far')
    axes.set(title='Score of each trial', xlabel='trial', ylabel=metric)
    _finish(axes)


def _draw_parameter(axes: 'Axes', trials: Sequence[Mapping[str, Any]], name: str, metric: str,
                    log_scaled: bool) -> None:
    finished = [trial for trial in trials if not trial['pruned'] and name in trial['values']]
    axes.plot([t['values'][name] for t in finished], [t['score'] for t in finished], 'o', color=_COLORS[0])
    if log_scaled:
        axes.set_xscale('log')
    axes.set(title=_short(name), xlabel=_short(name), ylabel=metric)
