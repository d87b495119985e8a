"""What the data preprocessor does to the pixels of a batch before it normalises them."""
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank

from ftcls.registry import BATCH_TRANSFORMS
from ftcls.utils import ConfigError, DataError

__all__ = ['BatchTransforms']


class BatchTransforms:
    """The transforms of ``data_preprocessor.batch_transforms``, in order, with a draw of its own for each image.

    In training all of them are applied; in validation, test and prediction those that are not random, and Resize in
    place of RandomResizedCrop. The draws follow torch's global generator and differ between processes.

    Args:
        transforms: Configs of ``BATCH_TRANSFORMS``: those of pixels, then maybe Normalize, then maybe Mixup, CutMix or
            ResizeMix.

    Attributes:
        steps: Those of pixels.
        normalize: At most one Normalize; the data preprocessor does it.
        mixing: At most one that mixes images; the data preprocessor does it after normalising.

    Raises:
        ConfigError: If they are in another order.
    """

    def __init__(self, transforms: Sequence[dict]) -> None:
        built = [BATCH_TRANSFORMS.build(config) for config in transforms]
        self.steps = [step for step in built if hasattr(step, 'transform_batch')]
        self.normalize = [step for step in built if type(step).__name__ == 'Normalize']
        self.mixing = [step for step in built if step not in self.steps + self.normalize]
        if built != self.steps + self.normalize[:1] + self.mixing[:1]:
            raise ConfigError('batch_transforms: the order must be transforms of pixels, at most one Normalize, and at '
                              'most one of Mixup, CutMix and ResizeMix; batch_augments draws one of several')

    def __call__(self, images: torch.Tensor | list[torch.Tensor], is_bgr: list[bool],
                 training: bool) -> torch.Tensor | list[torch.Tensor]:
        """Return images (N, C, H, W) uint8, or a list of N images (C, H, W) if they have several sizes.

        Args:
            images: Of the same kind.
            is_bgr: Of each image, whether its channels are in BGR order.
            training: Apply the random transforms.

        Raises:
            DataError: If the images are not uint8, or do not fit a transform.
        """
        if images[0].dtype != torch.uint8:
            kind = images[0].dtype
            raise DataError(f'batch_transforms take uint8, got {kind}; remove Normalize, to_float32 from the pipeline')
        if not training:
            return _apply([step.outside_training() for step in self.steps], images, is_bgr)
        before = np.random.get_state()
        np.random.seed([int(torch.randint(2**31, ())), get_rank()])  # the processes of a run have one seed
        try:
            return _apply(self.steps, images, is_bgr)
        finally:
            np.random.set_state(before)

    def check_masks(self, samples: Sequence) -> None:
        """Raise a ConfigError if samples have masks that would no longer fit their images."""
        moving = [type(step).__name__ for step in self.steps if not step.keeps_masks]
        if moving and any(sample is not None and 'gt_mask' in sample for sample in samples):
            raise ConfigError(f'batch_transforms: {moving[0]} does not change masks; put it into the pipeline')

    def describe(self) -> list[str]:
        """Return lines for the preflight."""
        outside = [step.outside_training() for step in self.steps]
        lines = []
        for name, steps in (('training', self.steps), ('validation, test and prediction', outside)):
            names = ', '.join(repr(step) for step in steps if step is not None)
            lines.append(f'{name}, on batches: {names or "nothing"}')
        return lines if self.steps else []


def _apply(steps: Sequence[Any], images: torch.Tensor | list[torch.Tensor],
           is_bgr: list[bool]) -> torch.Tensor | list[torch.Tensor]:
    for step in filter(None, steps):
        if isinstance(images, torch.Tensor):
            images = step.transform_batch(images, is_bgr)
            continue
        images = [step.transform_batch(x[None], [reverse])[0] for x, reverse in zip(images, is_bgr)]
        if len({x.shape for x in images}) == 1:
            images = torch.stack(images)
    return images
