"""The figure of a hyper-parameter search: what came out, and what mattered."""
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ftcls.utils.fonts import drawable
from .curves import _COLORS, _figure, _finish, _save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ['plot_search']

_MOST_PARAMETERS = 3  # those that matter most have a panel of their own
_LONGEST = 30  # characters of a line of a label


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
    shown = list(importance or trials[0]['values'])[:_MOST_PARAMETERS]
    figure = _figure(9.2, 7., title)
    above, below = figure.subfigures(2)
    history, *rest = above.subplots(1, 1 + bool(importance), squeeze=False)[0]
    scored = [trial for trial in trials if trial['score'] is not None]
    _draw_history(history, scored, metric, lower)
    for axes in rest:
        labels, shares = map(_label, importance), importance.values()
        axes.barh(range(len(shares)), shares, tick_label=list(labels), color=_COLORS[0])
        axes.set(title='What mattered', xlabel='share of the variance of the score', xlim=(0, 1))
        axes.tick_params('y', labelsize=8)
        axes.invert_yaxis()
    finished = [trial for trial in scored if not trial['pruned']]
    panels = below.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    panels[0].set_ylabel(drawable(metric))
    for axes, name in zip(panels, shown):
        values, scores = zip(*[(trial['values'].get(name), trial['score']) for trial in finished])
        _draw_parameter(axes, values, scores, name in log_scaled)
        axes.set_xlabel(_label(name))
    return _save(figure, out)


def _label(key: str) -> str:
    """Return a config key in two lines, of several that get the same value the first."""
    first, _, last = key.partition('&')[0].strip().rpartition('.')
    return f'{_clip(first)}.\n{_clip(last)}'


def _clip(text: str) -> str:
    """Return the end of a long text."""
    text = drawable(text)
    return text if len(text) <= _LONGEST else f'…{text[1 - _LONGEST:]}'


def _draw_history(axes: 'Axes', trials: Sequence[Mapping[str, Any]], metric: str, lower: bool) -> None:
    for pruned, color, label in ((False, _COLORS[0], 'finished'), (True, _COLORS[4], 'pruned')):
        if some := [trial for trial in trials if trial['pruned'] == pruned]:
            axes.plot([t['number'] for t in some], [t['score'] for t in some], 'o', color=color, label=label)
    if finished := [trial for trial in trials if not trial['pruned']]:
        best = (np.minimum if lower else np.maximum).accumulate([t['score'] for t in finished])
        axes.step([t['number'] for t in finished], best, where='post', color=_COLORS[1], label='best so far')
    axes.set(title='Score of each trial', xlabel='trial', ylabel=drawable(metric), ymargin=0.25)
    axes.xaxis.get_major_locator().set_params(integer=True)
    _finish(axes)


def _draw_parameter(axes: 'Axes', values: Sequence[Any], scores: Sequence[float], log_scaled: bool) -> None:
    if any(isinstance(value, str) for value in values):
        choices = sorted(map(str, {*values}), key=lambda text: (len(text), text))  # which is the order of numbers
        values = [choices.index(str(value)) for value in values]
        axes.set_xticks(range(len(choices)), map(_clip, choices), rotation=20, ha='right')
    axes.plot(values, scores, 'o', color=_COLORS[0], alpha=0.7)
    if log_scaled:
        axes.set_xscale('log')
        axes.xaxis.set_major_formatter('{x:g}')
        axes.xaxis.get_major_locator().set_params(subs=(1, 3))
        axes.xaxis.set_minor_formatter('')
