"""Which class is taken for which."""
import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ftcls.registry import METRICS
from ftcls.utils.fonts import drawable
from ftcls.utils.log import warn
from ftcls.utils.types import PositiveInt
from .predictions import SingleLabelBase, as_classes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ['ConfusionMatrix']

_WINDOWLESS = {'agg', 'cairo', 'pdf', 'pgf', 'ps', 'svg', 'template'}  # backends that cannot open a window


@METRICS.register_module()
class ConfusionMatrix(SingleLabelBase):
    """Counts how often class i (row) was taken for class j (column).

    Args:
        num_classes: Number of classes; needed only where the model predicts classes without scores.
        prefix: Goes before the result's name; 'confusion_matrix' where it is None.

    Results: ``confusion_matrix/result``, a tensor (C, C) int64.

    Example:
        >>> ConfusionMatrix.calculate([0, 1, 1], [0, 1, 0], num_classes=2)
        tensor([[1, 1],
                [0, 1]])
    """
    default_prefix = 'confusion_matrix'

    def __init__(self,
                 num_classes: PositiveInt | None = None,
                 collect_device: str = 'cpu',
                 prefix: str | None = None) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.num_classes = num_classes

    def compute_metrics(self, results: Sequence[Mapping]) -> dict[str, torch.Tensor]:
        """Count over the collected entries of all processes.

        Raises:
            ConfigError: If ``num_classes`` is missing though the model gave no scores.
        """
        return dict(result=self.calculate(*self.stack(results), num_classes=self.num_classes))

    @staticmethod
    def calculate(pred: Any, target: Any, num_classes: int | None = None) -> torch.Tensor:
        """Count how often each class was taken for each.

        Args:
            pred: Scores (N, C), or predicted classes (N, ).
            target: True classes (N, ).
            num_classes: C; needed for predicted classes only.

        Returns:
            Shape (C, C), int64. Rows are true classes, columns are predicted classes.

        Raises:
            ValueError: If ``pred`` and ``target`` differ in length.
            ConfigError: If ``num_classes`` is missing for predicted classes.
            DataError: If a class is outside of [0, C).
        """
        _, label, target, num_classes = as_classes(pred, target, num_classes, 'ConfusionMatrix')
        return torch.bincount(target * num_classes + label, minlength=num_classes**2).reshape(num_classes, num_classes)

    @staticmethod
    def plot(confusion_matrix: torch.Tensor | np.ndarray,
             include_values: bool = False,
             cmap: str = 'viridis',
             classes: Sequence[str] | None = None,
             colorbar: bool = True,
             show: bool = True,
             out: str | os.PathLike | None = None) -> 'Figure':
        """Draw a confusion matrix.

        Args:
            confusion_matrix: (C, C), as :meth:`calculate` returns it.
            include_values: Write the counts into the cells.
            cmap: Name of a colour map of matplotlib.
            classes: Names of the classes; their indices where it is None.
            colorbar: Draw the scale of the colours.
            show: Open a window, where there is a display; without one, the log says so.
            out: Also write the figure to this file.

        Returns:
            The figure.

        Raises:
            ValueError: If the matrix is not square, or ``classes`` are not as many as its rows.
        """
        matrix = np.asarray(confusion_matrix)
        size = len(matrix)
        names = [drawable(str(name)) for name in (range(size) if classes is None else classes)]
        if matrix.shape != (size, size) or len(names) != size:
            raise ValueError(f'a square matrix and a name per row are needed, got {matrix.shape}, {len(names)} names')
        from sklearn.metrics import ConfusionMatrixDisplay
        side = min(max(4., 0.35 * size + 2), 14.)
        figure, window = _figure((side + 1, side), show)
        axes = figure.add_subplot()
        text, colors = dict(fontsize=min(10., 25 * side / size)), dict(norm='asinh' if size > 30 else 'linear')
        display = ConfusionMatrixDisplay(matrix, display_labels=names)
        options = dict(cmap=cmap, colorbar=colorbar, values_format='', text_kw=text, im_kw=colors)
        display.plot(include_values=include_values, ax=axes, **options)
        axes.set(xlabel='predicted class', ylabel='true class')
        shown = slice(0, size, math.ceil(size / 30))  # as many names as can be read
        axes.set_xticks(range(size)[shown], names[shown], rotation=45, ha='right', rotation_mode='anchor')
        axes.set_yticks(range(size)[shown], names[shown])
        if out is not None:
            figure.savefig(out, dpi=120)
        if window is not None:
            window.show()
        return figure


def _figure(size: tuple[float, float], show: bool) -> tuple['Figure', Any]:
    """Make a figure of ``size`` inches; in pyplot, which is returned too, only where a window can be shown."""
    if show:
        from matplotlib import pyplot  # keeps global state and looks for a display
        if pyplot.get_backend().lower() not in _WINDOWLESS:
            return pyplot.figure(figsize=size, layout='constrained'), pyplot
        warn('there is no display for a window; write the figure into a file')
    from matplotlib.figure import Figure
    return Figure(figsize=size, layout='constrained'), None
