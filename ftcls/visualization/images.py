"""Masks drawn over images, and many images in one."""
import math
import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ftcls.utils.fonts import drawable
from .curves import _figure, _save

__all__ = ['overlay_mask', 'plot_images']

_FOREGROUND = np.array([213, 94, 0])  # Okabe and Ito's vermilion, RGB
_UNKNOWN = np.array([86, 180, 233])  # their sky blue, for pixels that are left out
_STRENGTH = 0.5


def overlay_mask(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Tint an image where its mask is foreground, and in another colour where it is not known.

    The foreground has a full line around it, so that it is seen on ground of its own colour as well.

    Args:
        image: (H, W, 3), (H, W, 1) or (H, W) uint8, RGB or grey.
        mask: (H, W) uint8: 0 background, 1 foreground, 255 not known.

    Returns:
        (H, W, 3) uint8, RGB.
    """
    if image.size == mask.size:
        image = np.repeat(image.reshape(*mask.shape, 1), 3, axis=2)
    out = image.astype(np.float32)
    for value, color in ((1, _FOREGROUND), (255, _UNKNOWN)):
        out[mask == value] = (1 - _STRENGTH) * out[mask == value] + _STRENGTH * color
    drawing = np.rint(out).astype(np.uint8)
    edges, _ = cv2.findContours((mask == 1).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(np.ascontiguousarray(drawing), edges, -1, _FOREGROUND.tolist(), 1)


def plot_images(images: Sequence[np.ndarray],
                titles: Sequence[str],
                out: str | os.PathLike,
                title: str | None = None) -> Path:
    """Draw images in a grid, each with its title; no display is needed.

    Args:
        images: Images (H, W, 3) uint8, RGB, of any sizes.
        titles: One per image.
        out: The PNG file to write; its folder is made where it is absent.
        title: Stands above all.

    Returns:
        The path of the file.
    """
    aspect = max(image.shape[1] / image.shape[0] for image in images)
    columns = min(len(images), math.ceil(math.sqrt(len(images) * 4 / 3 / aspect)))  # the whole about as wide as 4:3
    rows = math.ceil(len(images) / columns)
    figure = _figure(2.4 * aspect * columns, 2.7 * rows + 0.4 * bool(title), title)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels:
        axes.axis('off')
    for axes, image, name in zip(panels, images, titles):
        interpolation = 'nearest' if max(image.shape[:2]) < 300 else 'antialiased'  # whole pixels of small images
        axes.imshow(image, interpolation=interpolation)
        axes.set_title(drawable(name), fontsize=8)
    return _save(figure, out)
