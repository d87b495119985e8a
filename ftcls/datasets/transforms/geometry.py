"""Flips and padding."""
from collections.abc import Sequence

import numpy as np

from ftcls.registry import TRANSFORMS
from ftcls.utils import ConfigError
from .base import BaseTransform, choice_of, pair, probability, with_image
from .image_ops import PADDING_MODES, pad

__all__ = ['Pad', 'RandomFlip']

_AXES = {'horizontal': (1, ), 'vertical': (0, ), 'diagonal': (0, 1)}


@TRANSFORMS.register_module()
class RandomFlip(BaseTransform):
    """Flip with some probability.

    - reads: ``img``, ``gt_mask`` (if there)
    - changes: ``img``, ``gt_mask``
    - adds: ``flip`` (bool), ``flip_direction`` ('horizontal', 'vertical', 'diagonal' or None), ``img_shape``
    - removes: nothing

    Args:
        prob: Probability of a flip, shared evenly by the directions; or a list, one a direction, of sum at most 1.
        direction: 'horizontal' (left and right change places), 'vertical', 'diagonal' (both), or a list of these.
    """

    def __init__(self, prob: float | Sequence[float] = 0.5, direction: str | Sequence[str] = 'horizontal') -> None:
        directions = [direction] if isinstance(direction, str) else list(direction)
        for name in directions:
            choice_of(name, tuple(_AXES), 'direction')
        if isinstance(prob, Sequence) and not isinstance(prob, str):
            probs = [probability(p) for p in prob]
        else:
            probs = [probability(prob) / len(directions)] * len(directions)
        if len(probs) != len(directions) or sum(probs) > 1 + 1e-9:
            raise ConfigError(f'RandomFlip(prob={prob!r}, direction={direction!r}): expected one probability for all '
                              'directions, or one for each, of sum at most 1')
        self.prob = prob
        self.direction = direction
        self._directions = directions
        self._limits = np.cumsum(probs)

    def transform(self, results: dict) -> dict:
        """Flip the sample, or not."""
        chosen = int(np.searchsorted(self._limits, np.random.rand(), side='right'))
        direction = self._directions[chosen] if chosen < len(self._directions) else None
        results.update(flip=direction is not None, flip_direction=direction)
        mask = results.get('gt_mask')
        if direction is None:
            return with_image(results, results['img'])
        axes = _AXES[direction]
        img = np.ascontiguousarray(np.flip(results['img'], axes))
        return with_image(results, img, None if mask is None else np.ascontiguousarray(np.flip(mask, axes)))


@TRANSFORMS.register_module()
class Pad(BaseTransform):
    """Pad on the right and at the bottom.

    - reads: ``img``, ``gt_mask`` (if there)
    - changes: ``img``, ``img_shape``, ``gt_mask``
    - adds: ``pad_shape`` (H, W)
    - removes: nothing

    Args:
        size: Size to reach, (w, h); a larger picture is left as it is.
        size_divisor: Reach multiples of this instead.
        pad_to_square: Reach a square of the longer side first.
        pad_val: What 'constant' fills with: a number for the image (the mask gets 255: ignored), or
            ``dict(img=…, seg=…)``.
        padding_mode: 'constant', 'edge', 'reflect' or 'symmetric'.
    """

    def __init__(self,
                 size: int | Sequence[int] | None = None,
                 size_divisor: int | None = None,
                 pad_to_square: bool = False,
                 pad_val: float | Sequence[float] | dict = 0,
                 padding_mode: str = 'constant') -> None:
        if size is not None and size_divisor is not None or size is size_divisor is None and not pad_to_square:
            raise ConfigError(
                f'Pad(size={size!r}, size_divisor={size_divisor!r}, pad_to_square={pad_to_square!r}): give '
                'size, or size_divisor, or pad_to_square=True')
        self.size = None if size is None else pair(size, 'size')
        self.size_divisor = None if size_divisor is None else pair(size_divisor, 'size_divisor')[0]
        self.pad_to_square = pad_to_square
        self.pad_val = dict(pad_val) if isinstance(pad_val, dict) else {'img': pad_val}
        unknown = set(self.pad_val) - {'img', 'seg'}
        if unknown:
            raise ConfigError(f'pad_val has the keys {sorted(self.pad_val)}; allowed: img, seg')
        self.padding_mode = choice_of(padding_mode, PADDING_MODES, 'padding_mode')

    def transform(self, results: dict) -> dict:
        """Pad the sample."""
        height, width = results['img'].shape[:2]
        new_height, new_width = height, width
        if self.pad_to_square:
            new_height = new_width = max(height, width)
        if self.size is not None:
            new_height, new_width = max(new_height, self.size[1]), max(new_width, self.size[0])
        if self.size_divisor is not None:
            new_height, new_width = (-(-n // self.size_divisor) * self.size_divisor for n in (new_height, new_width))
        borders = (0, 0, new_width - width, new_height - height)
        img = pad(results['img'], borders, self.pad_val.get('img', 0), self.padding_mode)
        mask = results.get('gt_mask')
        if mask is not None:
            mask = pad(mask, borders, self.pad_val.get('seg', 255), self.padding_mode)
        results['pad_shape'] = img.shape[:2]
        return with_image(results, img, mask)
