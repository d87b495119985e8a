"""Transforms of whole batches on the device, for ``data_preprocessor.batch_transforms``; each image has its own draw.

Names, arguments and defaults are those of the transforms of single samples, whose subclasses these are. Draws come from
NumPy's global generator. What resizes is antialiased as torchvision does it, whatever ``backend`` says.
"""
from abc import abstractmethod
from typing import ClassVar

import numpy as np
import torch

from ftcls.registry import BATCH_TRANSFORMS
from ftcls.utils import ConfigError
from . import color, cropping, erasing, geometry, resizing
from .base import BaseTransform, brief_repr
from .image_ops import check_fits

__all__ = ['BatchTransform']

_INTERPOLATIONS = {'nearest': 'nearest-exact', 'bilinear': 'bilinear', 'bicubic': 'bicubic'}


class BatchTransform(BaseTransform):
    """Base: a transform of samples that also works on a batch."""

    is_random: ClassVar[bool] = True  #: Whether it is left out of validation, test and prediction.
    keeps_masks: ClassVar[bool] = False  #: Whether masks still fit the images.
    __repr__ = brief_repr

    @abstractmethod
    def transform_batch(self, images: torch.Tensor, is_bgr: list[bool]) -> torch.Tensor:
        """Return new images (N, C, H, W) uint8; ``is_bgr`` tells of each whether its channels are in BGR order."""

    def outside_training(self) -> 'BatchTransform | None':
        """Return what is done in validation, test and prediction."""
        return None if self.is_random else self


class Resize(BatchTransform, resizing.Resize):
    """:class:`.resizing.Resize` of a batch."""

    is_random = False

    def transform_batch(self, images: torch.Tensor, is_bgr: list[bool]) -> torch.Tensor:
        """See :class:`BatchTransform`."""
        return _resized(images, self)


class ResizeEdge(BatchTransform, resizing.ResizeEdge):
    """:class:`.resizing.ResizeEdge` of a batch."""

    is_random = False
    transform_batch = Resize.transform_batch


class CenterCrop(BatchTransform, cropping.CenterCrop):
    """:class:`.cropping.CenterCrop` of a batch, without padding."""

    is_random = False

    def transform_batch(self, images: torch.Tensor, is_bgr: list[bool]) -> torch.Tensor:
        """See :class:`BatchTransform`."""
        wide, high = self.crop_size
        check_fits(dict(img=images[0, 0], img_path='in batch_transforms'), (high, wide), 'put Resize before it')
        top, left = round((images.shape[2] - high) / 2), round((images.shape[3] - wide) / 2)
        return images[:, :, top:top + high, left:left + wide]


class RandomCrop(BatchTransform, cropping.RandomCrop):
    """:class:`.cropping.RandomCrop` of a batch; outside of training it is left out."""

    def transform_batch(self, images: torch.Tensor, is_bgr: list[bool]) -> torch.Tensor:
        """See :class:`BatchTransform`."""
        from torchvision.transforms.v2 import functional as F

        images = F.pad(images, list(self._borders), self.pad_val, self.padding_mode)
        if self.pad_if_needed:
            above, beside = ((max(0, size - side) + 1) // 2 for side, size in zip(images.shape[-2:], self.crop_size))
            images = F.pad(images, [beside, above, beside, above], self.pad_val, self.padding_mode)
        check_fits(dict(img=images[0, 0], img_path='in batch_transforms'), self.crop_size, 'set pad_if_needed=True')
        high, wide = self.crop_size
        tops = np.random.randint(images.shape[2] - high + 1, size=len(images))
        lefts = np.random.randint(images.shape[3] - wide + 1, size=len(images))
        return torch.stack([x[:, t:t + high, left:left + wide] for x, t, left in zip(images, tops, lefts)])


class RandomResizedCrop(BatchTransform, cropping.RandomResizedCrop):
    """:class:`.cropping.RandomResizedCrop` of a batch; outside of training all of the image is resized to ``scale``."""

    def transform_batch(self, images: torch.Tensor, is_bgr: list[bool]) -> torch.Tensor:
        """See :class:`BatchTransform`."""
        parts = []
        for image in images.split(1):
            top, left, height, width = self.box(tuple(images.shape[2:]))
            parts.append(_resized(image[..., top:top + height, left:left + width], self))
        return torch.cat(parts)

    def outside_training(self) -> BatchTransform:
        """Return a Resize."""
        return Resize(scale=self.scale[::-1], interpolation=self.interpolation)


class RandomFlip(BatchTransform, geometry.RandomFlip):
    """:class:`.geometry.RandomFlip` of a batch; outside of training it is left out."""

    def transform_batch(self, images: torch.Tensor, is_bgr: list[bool]) -> torch.Tensor:
        """See :class:`BatchTransform`."""
        axes = {'horizontal': (3, ), 'vertical': (2, ), 'diagonal': (2, 3)}
        chosen = torch.from_numpy(np.searchsorted(self._limits, np.random.rand(len(images)), side='right'))
        flipped = images
        for number, direction in enumerate(self._directions):
            is_chosen = (chosen == number).to(images.device).view(-1, 1, 1, 1)
            flipped = torch.where(is_chosen, images.flip(axes[direction]), flipped)
        return flipped


class ColorJitter(BatchTransform, color.ColorJitter):
    """:class:`.color.ColorJitter` of a batch; outside of training it is left out."""

    keeps_masks = True

    def transform_batch(self, images: torch.Tensor, is_bgr: list[bool]) -> torch.Tensor:
        """See :class:`BatchTransform`."""
        color.check_colors('ColorJitter', images.shape[1])
        reversed_axes = [[0] if reverse and images.shape[1] == 3 else [] for reverse in is_bgr]
        return torch.stack([self.jitter(x.flip(axes)).flip(axes) for x, axes in zip(images, reversed_axes)])


class RandomErasing(BatchTransform, erasing.RandomErasing):
    """:class:`.erasing.RandomErasing` of a batch; outside of training it is left out."""

    def transform_batch(self, images: torch.Tensor, is_bgr: list[bool]) -> torch.Tensor:
        """See :class:`BatchTransform`."""
        images = images.clone()
        for image in images.permute(0, 2, 3, 1):
            if np.random.rand() < self.erase_prob:
                top, left, height, width = self._rectangle(*image.shape[:2])
                cover = torch.from_numpy(self._fill((height, width, image.shape[2])))
                image[top:top + height, left:left + width] = cover
        return images


def _resized(images: torch.Tensor, step: resizing.ResizingStep) -> torch.Tensor:
    """Return images (N, C, H, W) in the size that a step gives them."""
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as F

    if step.interpolation not in _INTERPOLATIONS:
        raise ConfigError(f'interpolation={step.interpolation!r}: of a batch it must be {", ".join(_INTERPOLATIONS)}')
    size = step.target(tuple(images.shape[2:]))[0]
    images = images.contiguous(memory_format=torch.channels_last)  # the CPU's kernel is three times as fast on it
    return F.resize(images, list(size), InterpolationMode(_INTERPOLATIONS[step.interpolation]), antialias=True)


for _transform in (CenterCrop, ColorJitter, RandomCrop, RandomErasing, RandomFlip, RandomResizedCrop, Resize,
                   ResizeEdge, color.Normalize):
    BATCH_TRANSFORMS.register_module(module=_transform)
