"""The page of a report: one HTML file that needs nothing else."""
import base64
import io
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import astuple, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from ftcls.evaluation.predictions import Predictions
from ftcls.utils import DataError
from ftcls.utils.tree import NOT_SET, differences, grouped, walk
from ftcls.visualization import overlay_mask
from ftcls.visualization.curves import draw_compare, draw_curves
from ftcls.visualization.records import metric_names
from ftcls.visualization.reliability import draw_reliability
from ftcls.visualization.svg import svg_panels
from .contents import Calibration, RunContents, Segment
from .templates import render_template

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ['render']


class Cell(NamedTuple):
    """The images of one class that were taken for one class.

    Attributes:
        rows: Of the predictions, the least score of the true class first.
        share: Part of the images of the true class, 0 to 1.
        right: Whether the prediction is the true class.
    """
    truth: int
    prediction: int
    rows: list[int]
    share: float
    right: bool


class Pictures(dict):
    """The images of the page by their ``data:`` address, so that each is written once."""

    def add(self, image: np.ndarray, longest: int) -> dict[str, Any]:
        """Keep an image, (H, W, 3 or 4) uint8, reduced to ``longest`` pixels; return its id and size."""
        picture, data = Image.fromarray(image), io.BytesIO()
        picture.thumbnail((longest, longest))
        picture.save(data, 'WEBP', quality=75)
        address = 'data:image/webp;base64,' + base64.b64encode(data.getvalue()).decode()
        return self.setdefault(address, dict(id=f'image-{len(self)}', width=picture.width, height=picture.height))


def render(runs: Sequence[RunContents]) -> str:
    """Return the page of one run, or of several side by side, as HTML; a path that is not UTF-8 is written escaped."""
    tools = dict(draw_curves=draw_curves, draw_compare=draw_compare, draw_calibration=_draw_calibration, svgs=_svgs)
    tools |= dict(photo=_photo, heat=_heat, errors=_errors, overlay_mask=overlay_mask, pictures=Pictures())
    tools |= dict(cells=_cells, config_table=_config_table, metric_names=metric_names, zip=zip)
    counts = Counter(run.name for run in runs)
    runs = [run if counts[run.name] == 1 else replace(run, name=run.work_dir) for run in runs]
    page = render_template('report.html', runs=runs, **tools)
    return page.encode('utf-8', 'backslashreplace').decode()


def _cells(predictions: Predictions) -> list[Cell]:
    """Return which class is predicted as which: the confusions, most frequent first, then what is right."""
    labels, scores = predictions.labels, predictions.scores
    known = np.flatnonzero(labels >= 0)
    support = np.bincount(labels[known])
    if scores.shape[1]:
        known = known[np.argsort(scores[known, labels[known]], kind='stable')]
    groups = grouped(((int(labels[row]), int(predictions.predicted[row])), row) for row in known.tolist())
    cells = [Cell(*pair, rows, len(rows) / support[pair[0]], pair[0] == pair[1]) for pair, rows in groups.items()]
    return sorted(cells, key=lambda cell: (cell.right, -len(cell.rows), -cell.share))


def _svgs(draw: Callable, count: int, prefix: str, **content: Any) -> list[str]:
    """Return the figures of a function that draws on panels; none where it has nothing to draw."""
    with suppress(DataError):
        return svg_panels(partial(draw, **content), count, prefix)
    return []


def _draw_calibration(panels: Sequence['Axes'], calibration: Calibration) -> None:
    """Draw the reliability before and after temperature scaling on two panels."""
    for axes, title, bins in zip(panels, ('before', 'after'), calibration.bins):
        draw_reliability(axes, title, *astuple(bins))


def _photo(path: str) -> np.ndarray | None:
    """Return an image file as people see it, (H, W, 3) uint8, perhaps smaller; None if there is no such file."""
    with suppress(Exception), Image.open(path) as image:  # a damaged file can lead to any error
        image.draft('RGB', (448, 448))
        if image.mode in ('RGB', 'L', 'P'):
            return np.asarray(ImageOps.exif_transpose(image).convert('RGB'))
    return None


def _config_table(runs: Sequence[RunContents]) -> dict[str, list]:
    """Return the value of each run for each config key in which a run differs from the first one."""
    paths = dict.fromkeys(path for run in runs for path, *_ in differences(runs[0].config, run.config))
    nodes = [dict(walk(run.config)) for run in runs]
    return {path: [node.get(path, NOT_SET) for node in nodes] for path in paths if path != 'work_dir'}


def _heat(cam: np.ndarray) -> np.ndarray:
    """Return a class activation, (H, W) 0 to 1, as colours to lay over its image: (H, W, 4) uint8."""
    from matplotlib import colormaps
    return colormaps['inferno'](cam, alpha=0.5, bytes=True)


def _errors(segment: Segment) -> np.ndarray:
    """Return as a mask, for :func:`overlay_mask`, where a prediction is foreground alone (1), and the truth (255)."""
    return np.select([segment.truth == 255, segment.mask > segment.truth, segment.mask < segment.truth], [0, 1, 255])
