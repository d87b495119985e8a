"""Reliability figures: how often a model is right, by how sure it is."""
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .curves import _COLORS, _finish, _panels, _save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ['draw_reliability', 'plot_reliability']

Bins = tuple[Sequence[int], Sequence[float], Sequence[float]]  # of each bin: predictions, mean confidence, accuracy


def plot_reliability(panels: Mapping[str, Bins], out: str | os.PathLike, title: str | None = None) -> Path:
    """Draw a reliability diagram per panel: accuracy against confidence, the gap to the diagonal, the share of
    predictions.

    Args:
        panels: Title of each panel to its bins: counts, confidences, accuracies, one each per bin.
        out: The PNG file to write; its folder is made where it is absent.
        title: Stands above the panels.

    Returns:
        The path of the file.
    """
    figure, axes = _panels(len(panels), title)
    for one, (name, bins) in zip(axes, panels.items()):
        draw_reliability(one, name, *bins)
    return _save(figure, out)


def draw_reliability(axes: 'Axes', title: str, count: Sequence[int], confidence: Sequence[float],
                     accuracy: Sequence[float]) -> None:
    """Draw one reliability diagram from its bins: predictions, mean confidence and accuracy of each."""
    width, total = 1 / len(count), sum(count)
    filled = [i for i, n in enumerate(count) if n]
    middles = [(i + 0.5) * width for i in filled]
    axes.bar(
        middles, [count[i] / total for i in filled], width, color='0.5', alpha=0.35, label='share of the predictions')
    heights = [accuracy[i] for i in filled]
    axes.bar(middles, heights, width * 0.9, fill=False, edgecolor=_COLORS[0], linewidth=1.2, label='accuracy')
    said = [confidence[i] for i in filled]
    axes.vlines(said, said, heights, color=_COLORS[1], linewidth=2, label='gap')  # from what was said to what came true
    axes.plot([0, 1], [0, 1], color='0.5', linestyle='--', linewidth=1)
    axes.set(title=title, xlabel='confidence', ylabel='accuracy', xlim=(0, 1), ylim=(0, 1.02), aspect='equal')
    _finish(axes)
    axes.legend(loc='upper center', bbox_to_anchor=(0.5, -0.14), ncol=3, fontsize=9, frameon=False)  # beside the bars
