"""Resizing of samples."""
from abc import abstractmethod
from typing import Literal

from ftcls.registry import TRANSFORMS
from ftcls.utils import ConfigError
from ftcls.utils.types import PositiveFloat, PositiveInt, Size
from .base import BaseTransform, as_pair
from .image_ops import Backend, Plan, check_interpolation, resize_sample

__all__ = ['Resize', 'ResizeEdge', 'ResizingStep']


class ResizingStep(BaseTransform):
    """A step that resizes the image, or a part of it; what it needs of the image is known before that is decoded."""

    interpolation: str
    backend: str

    @abstractmethod
    def target(self, shape: tuple[int, int]) -> tuple[tuple[int, int], dict]:
        """Return the size (H, W) of the result for an image of ``shape`` (H, W), and the keys to add to the sample."""

    def box(self, shape: tuple[int, int]) -> tuple[int, int, int, int]:
        """Return the part to take of an image of ``shape`` (H, W): top, left, height and width."""
        return 0, 0, *shape

    def plan(self, shape: tuple[int, int]) -> Plan:
        """Return what is made of an image of ``shape`` (H, W)."""
        return Plan(shape, self.box(shape), *self.target(shape))

    def most_reduction(self, shape: tuple[int, int]) -> int:
        """Return how much smaller, by a factor, an image of ``shape`` (H, W) may be decoded at most."""
        return Plan(shape, (0, 0, *shape), self.target(shape)[0]).most_reduction()

    def transform(self, results: dict) -> dict:
        """Crop and resize the sample, as planned by the step that loaded it."""
        plan = results.pop('plan', None) or self.plan(results['img'].shape[:2])
        results.update(plan.notes)
        return resize_sample(results, plan, self.interpolation, self.backend)


@TRANSFORMS.register_module()
class Resize(ResizingStep):
    """Resize to a given size, or by a given factor.

    - reads: ``img``, ``gt_mask`` (if there)
    - changes: ``img``, ``img_shape``, ``gt_mask``
    - adds: ``scale`` (w, h), ``scale_factor`` (w, h), ``keep_ratio``
    - removes: nothing

    Args:
        scale: Size of the result, (w, h), or one int for both.
        scale_factor: Factor instead, for both or (w, h).
        keep_ratio: Keep the aspect ratio: the longer side is at most the larger of ``scale``, the shorter side at
            most the smaller.
        backend: 'pillow' antialiases when it shrinks, 'cv2' does not.
        interpolation: 'nearest', 'bilinear', 'bicubic', 'lanczos'; 'area' with cv2; 'box', 'hamming' with pillow.

    Example:
        >>> import numpy as np
        >>> Resize(scale=(8, 4))(dict(img=np.zeros((2, 2, 3), np.uint8)))['img_shape']
        (4, 8)
    """

    def __init__(self,
                 scale: Size | None = None,
                 scale_factor: PositiveFloat | tuple[PositiveFloat, PositiveFloat] | None = None,
                 keep_ratio: bool = False,
                 backend: Backend = 'cv2',
                 interpolation: str = 'bilinear') -> None:
        if (scale is None) == (scale_factor is None):
            raise ConfigError(f'Resize: {scale=}, {scale_factor=}: give exactly one of the two')
        check_interpolation(backend, interpolation)
        self.scale, self.scale_factor = scale and as_pair(scale), scale_factor and as_pair(scale_factor)
        self.keep_ratio, self.backend, self.interpolation = keep_ratio, backend, interpolation

    def target(self, shape: tuple[int, int]) -> tuple[tuple[int, int], dict]:
        """See :class:`ResizingStep`."""
        height, width = shape
        scale = self.scale or (int(width * self.scale_factor[0] + 0.5), int(height * self.scale_factor[1] + 0.5))
        new_width, new_height = scale = (max(scale[0], 1), max(scale[1], 1))
        if self.keep_ratio:
            factor = min(max(scale) / max(height, width), min(scale) / min(height, width))
            new_width, new_height = max(int(width * factor + 0.5), 1), max(int(height * factor + 0.5), 1)
        notes = dict(scale=scale, scale_factor=(new_width / width, new_height / height), keep_ratio=self.keep_ratio)
        return (new_height, new_width), notes


@TRANSFORMS.register_module()
class ResizeEdge(ResizingStep):
    """Resize one edge to a given length and keep the aspect ratio.

    - reads: ``img``, ``gt_mask`` (if there)
    - changes: ``img``, ``img_shape``, ``gt_mask``
    - adds: ``scale`` (w, h), ``scale_factor`` (w, h)
    - removes: nothing

    Args:
        scale: Length of the edge in pixels. The other one is rounded down, as torchvision does.
        edge: Which edge.
        backend: See :class:`Resize`.
        interpolation: See :class:`Resize`.
    """

    def __init__(self,
                 scale: PositiveInt,
                 edge: Literal['short', 'long', 'width', 'height'] = 'short',
                 backend: Backend = 'cv2',
                 interpolation: str = 'bilinear') -> None:
        check_interpolation(backend, interpolation)
        self.scale, self.edge, self.backend, self.interpolation = scale, edge, backend, interpolation

    def target(self, shape: tuple[int, int]) -> tuple[tuple[int, int], dict]:
        """See :class:`ResizingStep`."""
        height, width = shape
        by_width = {'short': width < height, 'long': width > height, 'width': True, 'height': False}[self.edge]
        if by_width:
            new_width, new_height = self.scale, max(int(self.scale * height / width), 1)
        else:
            new_width, new_height = max(int(self.scale * width / height), 1), self.scale
        notes = dict(scale=(new_width, new_height), scale_factor=(new_width / width, new_height / height))
        return (new_height, new_width), notes
