"""The course of learning rates and momentum over a run that has not been made."""
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ftcls.utils.names import enumerate_names
from ftcls.utils.tree import grouped
from .curves import _draw_rates, _finish_steps, _panels, _save

__all__ = ['plot_schedule']

_MOST_POINTS = 4000  # more points than an image has columns
# Texts beside an upright line, below the upper edge of the panel.
_UPRIGHT = dict(xycoords=('data', 'axes fraction'), xytext=(-2, -3), textcoords='offset points', rotation=90)
_UPRIGHT |= dict(ha='right', va='top', fontsize=7, color='0.5')


def plot_schedule(lr: Mapping[str, Sequence[float]],
                  momentum: Mapping[str, Sequence[float]],
                  iters_per_epoch: int,
                  out: str | os.PathLike,
                  title: str | None = None,
                  begins: Mapping[str, int] | None = None,
                  joins: Mapping[int, str] | None = None) -> Path:
    """Draw the learning rate of each group of an optimizer in each iteration, and its momentum where there is any.

    Args:
        lr: Name of a group to its learning rates, one per iteration.
        momentum: The same of its momentum; empty for none.
        iters_per_epoch: Iterations of an epoch, for the axis.
        out: The PNG file to write; its folder is made where it is absent.
        title: Stands above the panels.
        begins: Name of a group to the iterations before it is trained; it is drawn from then on, and the legend says
            when.
        joins: Iterations to what is trained from then on besides, marked by upright lines.

    Returns:
        The path of the file.
    """
    panels = [('Learning rate', lr)]
    if momentum:
        panels.append(('Momentum', momentum))
    figure, axes = _panels(len(panels), title)
    for one, (name, courses) in zip(axes, panels):
        _draw_rates(one, _points(courses, begins or {}, iters_per_epoch), iters_per_epoch)
        for at, text in (joins or {}).items():
            one.axvline(at / iters_per_epoch, color='0.5', linewidth=0.8, linestyle=':')
            box = dict(facecolor=one.get_facecolor(), edgecolor='none', pad=0.5, alpha=0.8)
            one.annotate(f'+ {text}', (at / iters_per_epoch, 1), bbox=box, **_UPRIGHT)
        one.set(title=name, ylabel=name.lower())
        _finish_steps(one, by_epoch=True)
        if courses is momentum:  # its differences are small
            one.autoscale(axis='y')
    return _save(figure, out)


def _points(courses: Mapping[str, Sequence[float]], begins: Mapping[str, int],
            iters_per_epoch: int) -> dict[str, list[tuple[int, float]]]:
    """Return the points to draw: equal groups as one line, long courses thinned out, from when a group is trained."""
    alike = grouped(((begins.get(name, 0), tuple(values)), name) for name, values in courses.items())
    drawn = {}
    for (begin, values), names in alike.items():
        label = enumerate_names(names, most=3)
        every = max(1, len(values) // _MOST_POINTS)
        if begin >= len(values):  # the last value holds to the end of the last iteration
            drawn[f'{label} (never trained)'] = []
            continue
        if begin:
            label += f' (trained from epoch {begin / iters_per_epoch + 1:.3g})'
        drawn[label] = [(i, values[i]) for i in range(begin, len(values), every)] + [(len(values), values[-1])]
    return drawn
