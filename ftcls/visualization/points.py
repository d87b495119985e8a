"""Points in the plane, in groups."""
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ftcls.utils.fonts import drawable
from .curves import _COLORS, _panels, _save

__all__ = ['plot_points']

_MARKERS = 'o^sxD+v'


def plot_points(groups: Mapping[str, np.ndarray], out: str | os.PathLike, title: str | None = None) -> Path:
    """Draw points, (N, 2) of each group, in a colour for each group.

    Args:
        groups: Name of each group to its points.
        out: The file to write, such as .png; its folder is made where it is absent.
        title: Stands above the figure.

    Returns:
        The path of the file.
    """
    figure, (axes, ) = _panels(1, title)
    figure.set_size_inches(8, 6)
    for index, (name, points) in enumerate(groups.items()):
        marker, color = _MARKERS[index // len(_COLORS) % len(_MARKERS)], _COLORS[index % len(_COLORS)]
        axes.scatter(*points[:, :2].T, s=14, label=drawable(name), color=color, marker=marker)
    axes.set(xticks=[], yticks=[])
    figure.legend(loc='outside right upper', fontsize=9)
    return _save(figure, out)
