"""The curves of one run, and of several runs compared, as PNG files.

The colours are Okabe and Ito's, which colour-blind readers can tell apart, without yellow and black, which are too
faint on white or on a dark ground. All else follows matplotlib's settings, also those of a file in MATPLOTLIBRC.
"""
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ftcls.utils import ConfigError, DataError, did_you_mean
from ftcls.utils.checkpoint.folder import whole
from ftcls.utils.fonts import drawable
from ftcls.utils.names import is_percentage, score_digits
from .records import Record, Series, learning_rates, metric_directions, metric_names, series, steps_per_epoch

if TYPE_CHECKING:  # matplotlib takes half a second to import, which a run that draws nothing does not wait for
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ['draw_compare', 'draw_curves', 'plot_compare', 'plot_curves']

_COLORS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#808080')
_DASHES = ('-', '--', '-.', ':')


def plot_curves(records: Sequence[Record], out: str | os.PathLike, title: str | None = None) -> Path:
    """Draw the losses, the validation metrics and the learning rates of one run.

    Args:
        records: The run's records, see :func:`.records.read_records`.
        out: The PNG file to write; its folder is made where it is absent.
        title: Stands above the panels.

    Returns:
        The path of the file.

    Raises:
        DataError: If there is no record with a value to draw.
    """
    figure, axes = _panels(3, title)
    draw_curves(axes, records)
    return _save(figure, out)


def draw_curves(panels: Sequence['Axes'], records: Sequence[Record]) -> None:
    """Draw the losses, the validation metrics and the learning rates of one run, each on one of three panels.

    Raises:
        DataError: If there is no record with a value to draw.
    """
    lines = dict(train=series(records, 'train', 'loss'), val=series(records, 'val', 'loss'))
    metrics = {name: series(records, 'val', name) for name in metric_names(records)}
    if not any(lines.values()) and not metrics:
        raise DataError('there is nothing to draw: no record holds a loss or a validation metric')
    per_epoch = steps_per_epoch(records)
    left, middle, right = panels
    _draw_losses(left, lines, per_epoch)
    _draw_metrics(middle, metrics, per_epoch, metric_directions(records))
    _draw_rates(right, learning_rates(records), per_epoch)
    for axes in panels:
        _finish_steps(axes, per_epoch is not None)


def plot_compare(runs: Mapping[str, Sequence[Sequence[Record]]],
                 out: str | os.PathLike,
                 metric: str | None = None,
                 title: str | None = None,
                 over: str = 'seeds') -> Path:
    """Draw several arms of a comparison, each the mean over its seeds in a band of one standard deviation.

    Args:
        runs: For each arm's name the records of its runs, one list a seed.
        out: The PNG file to write; its folder is made where it is absent.
        metric: The validation metric on the right; the first one that the records hold where it is None.
        title: Stands above the panels.
        over: What the runs of an arm differ in, for the caption.

    Returns:
        The path of the file.

    Raises:
        DataError: If no run holds a loss or a metric.
        ConfigError: If no run holds ``metric``.
    """
    figure, axes = _panels(2, title)
    draw_compare(axes, runs, metric)
    counts = '–'.join(map(str, sorted({len(seeds) for seeds in runs.values()})))
    caption = f'mean ± standard deviation over {counts} {over}'
    if counts == '1':
        caption = f'one {over.rstrip("s")}'
    figure.supxlabel(caption, fontsize=9, color='0.5')
    return _save(figure, out)


def draw_compare(panels: Sequence['Axes'],
                 runs: Mapping[str, Sequence[Sequence[Record]]],
                 metric: str | None = None) -> None:
    """Draw the training loss and a validation metric of several arms on two panels, as :func:`plot_compare` does.

    Raises:
        DataError: If no run holds a loss or a metric.
        ConfigError: If no run holds ``metric``.
    """
    all_records = [records for seeds in runs.values() for records in seeds]
    names = list(dict.fromkeys(name for records in all_records for name in metric_names(records)))
    if metric is None:
        metric = (names or ['metric'])[0]
    elif metric not in names:
        raise ConfigError(f'no run holds the validation metric {metric!r}{did_you_mean(metric, names)}')
    by_epoch = bool(all_records) and None not in map(steps_per_epoch, all_records)  # epochs may differ in length
    best = {True: max, False: min}.get(metric_directions(sum(map(list, all_records), [])).get(metric))
    left, right = panels
    for index, (arm, seeds) in enumerate(runs.items()):
        color = _COLORS[index % len(_COLORS)]
        _draw_arm(left, arm, [_scaled(series(records, 'train', 'loss'), records, by_epoch) for records in seeds], color)
        scores = [_scaled(series(records, 'val', metric), records, by_epoch) for records in seeds]
        _draw_arm(right, arm, scores, color, score_digits(metric), best)
    if not left.lines and not right.lines:
        raise DataError('there is nothing to draw: no record holds a loss or a validation metric')
    left.set(title='Training loss', ylabel='loss')
    _log_where_it_spans(left, 20)
    right.set(title=f'Validation {metric}', ylabel=_unit([metric]))
    for axes in (left, right):
        _finish_steps(axes, by_epoch)


def _figure(width: float, height: float, title: str | None) -> 'Figure':
    """Make a figure of a size in inches; pyplot would keep it in memory and look for a display."""
    from matplotlib.figure import Figure
    figure = Figure(figsize=(width, height), layout='constrained')
    figure.get_layout_engine().set(wspace=0.06)
    if title:
        figure.suptitle(drawable(title), fontsize=13)
    return figure


def _panels(count: int, title: str | None) -> tuple['Figure', Sequence['Axes']]:
    """Make a figure with ``count`` panels in a row."""
    figure = _figure(4.6 * count, 4., title)
    return figure, figure.subplots(1, count, squeeze=False)[0]


def _save(figure: 'Figure', out: str | os.PathLike) -> Path:
    """Write the figure beside its place and move it there, so that a reader never meets half a file."""
    out = Path(out)
    with whole(out) as draft:
        figure.savefig(draft, format=out.suffix[1:] or 'png', dpi=120)
    return out


def _xy(points: Series, per_epoch: float | None) -> tuple[list[float], list[float]]:
    """Split points into what goes along x, epochs where their length is known, else steps, and what goes along y."""
    return [step / (per_epoch or 1) for step, _ in points], [value for _, value in points]


def _draw_losses(axes: 'Axes', lines: Mapping[str, Series], per_epoch: float | None) -> None:
    """Draw the training loss, thin and smoothed, and the validation loss."""
    axes.set(title='Loss', ylabel='loss')
    x, y = _xy(lines['train'], per_epoch)
    if len(y) > 60:
        axes.plot(x, y, color=_COLORS[0], alpha=0.3, linewidth=0.8)
        axes.plot(x, _smooth(y), color=_COLORS[0], label='training (smoothed)')
    elif y:
        axes.plot(x, y, color=_COLORS[0], label='training', **_marks(y))
    if lines['val']:
        _draw_scores(axes, 'validation', lines['val'], per_epoch, _COLORS[1], higher_is_better=False)
    _log_where_it_spans(axes, 20)


def _draw_scores(axes: 'Axes', label: str, points: Series, per_epoch: float | None, color: str,
                 higher_is_better: bool | None) -> None:
    """Draw a course of scores, and mark the best one where it is known which is better."""
    x, y = _xy(points, per_epoch)
    if higher_is_better is not None:
        best = {True: max, False: min}[higher_is_better](y)
        label += f' (best {best:.{score_digits(label)}f})'
        edge = axes.get_facecolor()
        axes.plot(x[y.index(best)], best, '*', color=color, markersize=13, markeredgecolor=edge, zorder=5)
    axes.plot(x, y, color=color, label=label, **_marks(y))


def _draw_metrics(axes: 'Axes', metrics: Mapping[str, Series], per_epoch: float | None,
                  higher_is_better: Mapping[str, bool]) -> None:
    """Draw each validation metric, and mark its best value where it is known which is better."""
    axes.set(title='Validation metrics', ylabel=_unit(list(metrics)))
    for index, (name, points) in enumerate(metrics.items()):
        _draw_scores(axes, name, points, per_epoch, _COLORS[index % len(_COLORS)], higher_is_better.get(name))


def _draw_rates(axes: 'Axes', rates: Mapping[str, Series], per_epoch: float | None) -> None:
    """Draw one line for each distinct course of a learning rate."""
    axes.set(title='Learning rate', ylabel='learning rate')
    for index, (name, points) in enumerate(rates.items()):
        x, y = _xy(points, per_epoch)
        style = dict(color=_COLORS[index % len(_COLORS)], linestyle=_DASHES[index % len(_DASHES)], linewidth=1.6)
        axes.plot(x, y, label=name, **style)
    if not _log_where_it_spans(axes, 5) and axes.lines:
        axes.set_ylim(bottom=0)


def _scaled(points: Series, records: Sequence[Record], by_epoch: bool) -> list[tuple[float, float]]:
    """Turn the steps of a run's points into epochs, where asked to."""
    return list(zip(*_xy(points, steps_per_epoch(records) if by_epoch else None)))


def _draw_arm(axes: 'Axes',
              arm: str,
              seeds: Sequence[Sequence[tuple[float, float]]],
              color: str,
              digits: int = 0,
              best: Callable | None = None) -> None:
    """Draw the mean of an arm's seeds in a band of one standard deviation; give the last with ``digits`` decimals.

    Of a single seed the ``best`` is given, where it is known which is better.
    Seeds that are not logged at the same steps are interpolated at those of the first, within their common range.
    """
    if not (seeds := [points for points in seeds if points]):
        return
    start, stop = max(points[0][0] for points in seeds), min(points[-1][0] for points in seeds)
    x = np.array([at for at, _ in seeds[0] if start <= at <= stop])
    if not len(x):
        return
    values = np.stack([np.interp(x, *zip(*points)) for points in seeds])
    if values.shape[1] > 60:
        values = np.stack([_smooth(row) for row in values])
    mean, label = values.mean(0), drawable(arm)
    shown = f'{mean[-1]:.{digits}f}'
    if len(seeds) > 1:
        spread = values.std(0, ddof=1)  # of a sample
        axes.fill_between(x, mean - spread, mean + spread, color=color, alpha=0.18, linewidth=0)
        shown += f' ± {spread[-1]:.{digits}f}'
    elif best:
        shown = f'best {best(mean):.{digits}f}'
    if digits:
        label += f' ({shown})'
    axes.plot(x, mean, color=color, label=label, **_marks(mean))


def _smooth(values: Sequence[float]) -> np.ndarray:
    """Average each value with its neighbours, over a fortieth of the series."""
    window = np.ones(2 * max(1, len(values) // 80) + 1)
    return np.convolve(values, window, 'same') / np.convolve(np.ones(len(values)), window, 'same')


def _marks(values: Sequence[float]) -> dict[str, object]:
    """Return how a line is drawn: with a dot at each value where there are few."""
    return dict(linewidth=1.6, marker='o' if len(values) <= 40 else '', markersize=3.5)


def _log_where_it_spans(axes: 'Axes', factor: float) -> bool:
    """Make the y axis logarithmic where all values are positive and span more than ``factor``; tell whether it is."""
    values = np.concatenate([[], *(np.asarray(line.get_ydata(), dtype=float) for line in axes.lines)])
    if not len(values) or values.min() <= 0 or values.max() / values.min() <= factor:
        return False
    axes.set_yscale('log')
    axes.yaxis.set_major_formatter('{x:g}')
    axes.yaxis.set_minor_formatter('')
    return True


def _unit(metrics: Sequence[str]) -> str:
    """Return the label of the axis that the metrics share."""
    name = metrics[0] if len(metrics) == 1 else 'value'
    if metrics and all(map(is_percentage, metrics)):
        name += ' (%)'
    return name


def _finish_steps(axes: 'Axes', by_epoch: bool) -> None:
    """Name the x axis and number it in whole epochs or steps; add grid and legend."""
    from matplotlib.ticker import MaxNLocator
    axes.set_xlabel('epoch' if by_epoch else 'iteration')
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, steps=[1, 2, 5, 10]))
    _finish(axes)


def _finish(axes: 'Axes') -> None:
    """Add grid and legend, or say that there is nothing to show."""
    axes.spines[['top', 'right']].set_visible(False)
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=9)
    else:
        axes.text(0.5, 0.5, 'not recorded', transform=axes.transAxes, ha='center', va='center', color='0.5')
        axes.set_yticks([])
