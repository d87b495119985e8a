"""The loss over the learning rate."""
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from .curves import _COLORS, _DASHES, _figure, _finish, _save

__all__ = ['plot_range_test']


def plot_range_test(rates: Sequence[float],
                    losses: Sequence[float],
                    smoothed: Sequence[float],
                    marks: Mapping[str, float],
                    out: str | os.PathLike,
                    title: str | None = None) -> Path:
    """Draw the losses of a learning rate range test over the rates, on a logarithmic axis.

    Args:
        rates: The learning rates, growing.
        losses: The training loss at each.
        smoothed: The same, smoothed.
        marks: Name to a rate, drawn as a vertical line.
        out: The PNG file to write; its folder is made where it is absent.
        title: Stands above the panel.

    Returns:
        The path of the file.
    """
    figure = _figure(7, 4.4, title)
    axes = figure.subplots()
    axes.plot(rates, losses, '.', color=_COLORS[0], alpha=0.35, markersize=5, label='loss of a batch')
    axes.plot(rates, smoothed, color=_COLORS[0], linewidth=2, label='smoothed')
    for i, (name, rate) in enumerate(marks.items(), start=1):
        axes.axvline(rate, color=_COLORS[i], linestyle=_DASHES[i % len(_DASHES)], label=f'{name}: {rate:.2g}')
    low, high = min(smoothed), max(smoothed[:max(1, len(smoothed) // 2)])
    axes.set_ylim(low - 0.15 * (high - low or 1), high + 0.6 * (high - low or 1))  # the last losses would flatten them
    axes.set(xscale='log', xlabel='learning rate', ylabel='training loss', title='Learning rate range test')
    _finish(axes)
    return _save(figure, out)
