"""Resizing of samples."""
from collections.abc import Sequence

from ftcls.registry import TRANSFORMS
from ftcls.utils import ConfigError
from .base import BaseTransform, choice_of, pair, with_image
from .image_ops import check_interpolation, resize, resize_mask

__all__ = ['Resize', 'ResizeEdge', 'resize_sample']


def resize_sample(results: dict, size: tuple[int, int], interpolation: str, backend: str) -> dict:
    """Resize the image to ``size`` (H, W), and the mask with it by the nearest pixel."""
    mask = results.get('gt_mask')
    img = resize(results['img'], size, interpolation, backend)
    return with_image(results, img, None if mask is None else resize_mask(mask, size))


@TRANSFORMS.register_module()
class Resize(BaseTransform):
    """Resize to a given size, or by a given factor.

    - reads: ``img``, ``gt_mask`` (if there)
    - changes: ``img``, ``img_shape``, ``gt_mask``
    - adds: ``scale`` (w, h), ``scale_factor`` (w, h), ``keep_ratio``
    - removes: nothing

    Args:
        scale: Size to reach, (w, h), or one int for both.
        scale_factor: Factor instead, for both or (w, h).
        keep_ratio: Keep the shape of the picture: the longer side is at most the larger of ``scale``, the shorter side at
            most the smaller.
        backend: 'cv2', or 'pillow', which antialiases when it shrinks.
        interpolation: 'nearest', 'bilinear', 'bicubic', 'lanczos'; 'area' with cv2; 'box', 'hamming' with pillow.

    Example:
        >>> import numpy as np
        >>> Resize(scale=(8, 4))(dict(img=np.zeros((2, 2, 3), np.uint8)))['img_shape']
        (4, 8)
    """

    def __init__(self,
                 scale: int | Sequence[int] | None = None,
                 scale_factor: float | Sequence[float] | None = None,
                 keep_ratio: bool = False,
                 backend: str = 'cv2',
                 interpolation: str = 'bilinear') -> None:
        if (scale is None) == (scale_factor is None):
            raise ConfigError(f'Resize(scale={scale!r}, scale_factor={scale_factor!r}): give exactly one of the two')
        check_interpolation(backend, interpolation)
        self.scale = None if scale is None else pair(scale, 'scale')
        self.scale_factor = None if scale_factor is None else self._factors(scale_factor)
        self.keep_ratio = keep_ratio
        self.backend = backend
        self.interpolation = interpolation

    @staticmethod
    def _factors(value: float | Sequence[float]) -> tuple[float, float]:
        factors = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value, value)
        if len(factors) != 2 or not all(isinstance(f, (int, float)) and f > 0 for f in factors):
            raise ConfigError(f'scale_factor={value!r}: expected a positive number, or two of them (w, h)')
        return float(factors[0]), float(factors[1])

    def transform(self, results: dict) -> dict:
        """Resize the sample."""
        height, width = results['img'].shape[:2]
        if self.scale is None:
            scale = (int(width * self.scale_factor[0] + 0.5), int(height * self.scale_factor[1] + 0.5))
        else:
            scale = self.scale
        new_width, new_height = scale = (max(scale[0], 1), max(scale[1], 1))
        if self.keep_ratio:
            factor = min(max(scale) / max(height, width), min(scale) / min(height, width))
            new_width, new_height = max(int(width * factor + 0.5), 1), max(int(height * factor + 0.5), 1)
        results.update(scale=scale, scale_factor=(new_width / width, new_height / height), keep_ratio=self.keep_ratio)
        return resize_sample(results, (new_height, new_width), self.interpolation, self.backend)


@TRANSFORMS.register_module()
class ResizeEdge(BaseTransform):
    """Resize so that one edge gets a given length and the shape of the picture is kept.

    - reads: ``img``, ``gt_mask`` (if there)
    - changes: ``img``, ``img_shape``, ``gt_mask``
    - adds: ``scale`` (w, h), ``scale_factor`` (w, h)
    - removes: nothing

    Args:
        scale: Length of the edge in pixels. The other one is rounded down, as torchvision does.
        edge: 'short', 'long', 'width' or 'height'.
        backend: 'cv2', or 'pillow', which antialiases when it shrinks.
        interpolation: As of :class:`Resize`.
    """

    def __init__(self, scale: int, edge: str = 'short', backend: str = 'cv2', interpolation: str = 'bilinear') -> None:
        if not isinstance(scale, int):
            raise ConfigError(f'ResizeEdge(scale={scale!r}): expected one int, the length of the edge')
        check_interpolation(backend, interpolation)
        self.scale = pair(scale, 'scale')[0]
        self.edge = choice_of(edge, ('short', 'long', 'width', 'height'), 'edge')
        self.backend = backend
        self.interpolation = interpolation

    def transform(self, results: dict) -> dict:
        """Resize the sample."""
        height, width = results['img'].shape[:2]
        by_width = {'short': width < height, 'long': width > height, 'width': True, 'height': False}[self.edge]
        if by_width:
            new_width, new_height = self.scale, max(int(self.scale * height / width), 1)
        else:
            new_width, new_height = max(int(self.scale * width / height), 1), self.scale
        results.update(scale=(new_width, new_height), scale_factor=(new_width / width, new_height / height))
        return resize_sample(results, (new_height, new_width), self.interpolation, self.backend)
