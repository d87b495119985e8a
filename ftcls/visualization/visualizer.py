"""Predictions drawn on the images that they are about."""
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from mmengine.dist import master_only
from mmengine.visualization import Visualizer

from ftcls.registry import VISUALIZERS
from ftcls.structures import DataSample
from ftcls.utils import DataError
from ftcls.utils.fonts import drawable

__all__ = ['UniversalVisualizer']

_BOX = dict(facecolor='black', alpha=0.6, boxstyle='round', edgecolor='none')
_TEXT_STYLE = dict(color='white', bbox=_BOX, verticalalignment='top', horizontalalignment='left')
_READABLE_EDGE = 224  # pixels; a text is not readable on an image with a smaller shorter edge, as CIFAR's


@VISUALIZERS.register_module()
class UniversalVisualizer(Visualizer):
    """Writes the true and the predicted class on an image, and scalars to its backends as any MMEngine visualizer.

    Args: those of ``mmengine.visualization.Visualizer`` (``name``, ``image``, ``vis_backends``, ``save_dir`` …).
    """

    @master_only
    def visualize_cls(self,
                      image: np.ndarray,
                      data_sample: DataSample,
                      classes: Sequence[str] | None = None,
                      draw_gt: bool = True,
                      draw_pred: bool = True,
                      draw_score: bool = True,
                      resize: int | None = None,
                      rescale_factor: float | None = None,
                      text_cfg: Mapping | None = None,
                      show: bool = False,
                      wait_time: float = 0,
                      out_file: str | os.PathLike | None = None,
                      name: str = '',
                      step: int = 0) -> np.ndarray:
        """Draw one image with its classes.

        Args:
            image: (H, W, 3) or (H, W) uint8, RGB.
            data_sample: Its ``gt_label``, ``pred_label`` and ``pred_score`` are drawn, those that it has.
            classes: Names of the classes; those of ``dataset_meta`` where it is None, else the indices alone.
            draw_gt: Write the true class.
            draw_pred: Write the predicted class.
            draw_score: Write the score of the predicted class.
            resize: Length of the shorter edge of the drawing, in pixels. Small images are enlarged in any case, so that
                the text can be read.
            rescale_factor: Factor on both edges, instead of ``resize``.
            text_cfg: Further arguments of matplotlib's ``Axes.text``.
            show: Open a window.
            wait_time: How long the window stays, in seconds; 0 until a key is pressed.
            out_file: Where the drawing is written to, instead of to the visualizer's backends; its folder is made.
            name: Identifies the drawing in the window's title and in the backends.
            step: The step that the backends file it under.

        Returns:
            The drawing, (H', W', 3) uint8, RGB.

        Raises:
            DataError: If ``out_file`` cannot be written.
        """
        classes = classes or (self.dataset_meta or {}).get('classes')
        from matplotlib import rcParams
        image = _resized(image, resize, rescale_factor)
        lines = []
        if draw_gt and 'gt_label' in data_sample:
            lines += _describe('Truth', data_sample.gt_label.tolist(), classes)
        if draw_pred and 'pred_label' in data_sample:
            score = data_sample.pred_score.tolist() if draw_score and 'pred_score' in data_sample else None
            lines += _describe('Prediction', data_sample.pred_label.tolist(), classes, score)
        self.set_image(image)
        if lines:
            scale = min(image.shape[:2]) / 224
            text = drawable('\n'.join(lines))
            style = dict(_TEXT_STYLE, size=7 * max(scale, 1), family=['monospace', *rcParams['font.family']])
            self.ax_save.text(6 * scale, 6 * scale, text, **{**style, **(text_cfg or {})})
        drawing = self.get_image()
        if show:
            self.show(drawing, win_name=name, wait_time=wait_time)
        if out_file is None:
            self.add_image(name, drawing, step=step)
        else:
            _write(drawing, Path(out_file))
        return drawing


def _resized(image: np.ndarray, resize: int | None, rescale_factor: float | None) -> np.ndarray:
    """Return the image as (H', W', 3) in the size that it is drawn in."""
    image = np.ascontiguousarray(image)
    if image.ndim == 2 or image.shape[2] == 1:
        image = np.repeat(image.reshape(*image.shape[:2], 1), 3, axis=2)
    shorter = min(image.shape[:2])
    if resize is not None:
        rescale_factor = resize / shorter
    elif rescale_factor is None:
        rescale_factor = max(1., _READABLE_EDGE / shorter)
    if rescale_factor == 1:
        return image
    size = tuple(max(1, round(edge * rescale_factor)) for edge in (image.shape[1], image.shape[0]))
    interpolation = cv2.INTER_NEAREST if rescale_factor > 1 else cv2.INTER_AREA  # whole pixels when enlarging
    return cv2.resize(image, size, interpolation=interpolation)


def _describe(what: str,
              labels: Sequence[int],
              classes: Sequence[str] | None,
              score: Sequence[float] | None = None) -> list[str]:
    """Return one line per label, as ``Prediction: bees (1), 0.98``; ``Prediction: none`` where there is none."""
    names = {label: f'{name} ({label})' for label, name in enumerate(classes or ())}
    lines = [names.get(label, str(label)) for label in labels]
    if score is not None:
        lines = [f'{line}, {score[label]:.2f}' for line, label in zip(lines, labels)]
    lines = lines or ['none']
    return [f'{what}: {lines[0]}', *(' ' * (len(what) + 2) + line for line in lines[1:])]


def _write(drawing: np.ndarray, path: Path) -> None:
    """Write an RGB image in the format that the file's name ends in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        written, data = cv2.imencode(path.suffix or '.png', drawing[..., ::-1])
    except cv2.error:
        written = False
    if not written:
        raise DataError(f'{path}: OpenCV cannot write images of the type {path.suffix!r}; use .png or .jpg')
    path.write_bytes(data.tobytes())
