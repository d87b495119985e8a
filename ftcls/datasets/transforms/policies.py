"""Transforms that choose at random among others: RandomChoice, RandomApply, RandAugment and AutoAugment."""
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import MinLen

from ftcls.registry import TRANSFORMS
from ftcls.utils import ConfigError
from ftcls.utils.arguments import own_arguments
from ftcls.utils.tree import as_list
from ftcls.utils.types import NonNegativeFloat, PositiveFloat, PositiveInt, Probability
from .base import BaseTransform, brief_repr, changed_arguments

__all__ = ['AutoAugment', 'RandAugment', 'RandomApply', 'RandomChoice']

_LEVEL = ('magnitude_level', 'magnitude_std', 'total_level')
_TORCHVISIONS = ('num_ops', 'magnitude', 'num_magnitude_bins', 'interpolation', 'fill')
_Choices = Annotated[Sequence[dict | Sequence[dict]], MinLen(1)]


@TRANSFORMS.register_module()
class RandomChoice(BaseTransform):
    """Apply one of several transforms, or lists of transforms.

    - reads, changes, adds, removes: what the chosen transforms do

    Args:
        transforms: The transforms, each a config or a list of configs.
        prob: Probability of each, of sum 1; None for equal ones.

    Example:
        >>> import numpy as np
        >>> choice = RandomChoice([dict(type='Invert', prob=1.), dict(type='Solarize', thr=0, prob=1.)])
        >>> int(choice(dict(img=np.zeros((1, 1, 3), np.uint8)))['img'][0, 0, 0])
        255
    """

    _draws = 1  #: How many are chosen.

    def __init__(self, transforms: _Choices, prob: Sequence[Probability] | None = None) -> None:
        if prob is not None and (len(prob) != len(transforms) or abs(sum(prob) - 1) > 1e-6):
            raise ConfigError(f'RandomChoice: {prob=}: give one for each of the {len(transforms)} transforms, of sum 1')
        self.transforms = [[TRANSFORMS.build(step) for step in as_list(steps)] for steps in transforms]
        self.prob = self._weights = prob

    def transform(self, results: dict) -> dict | None:
        """Apply the chosen ones."""
        count = len(self.transforms)
        chosen = np.random.choice(count, self._draws, p=self._weights) if count > 1 else [0] * self._draws
        for number in chosen:
            for step in self.transforms[number]:
                results = step(results)
        return results


@TRANSFORMS.register_module()
class RandomApply(RandomChoice):
    """Apply transforms with some probability, all or none.

    - reads, changes, adds, removes: what the transforms do

    Args:
        transforms: The transforms, a config or a list of configs.
        prob: Probability.
    """

    def __init__(self, transforms: dict | Sequence[dict], prob: Probability = 0.5) -> None:
        super().__init__([transforms, []], (prob, 1 - prob))
        self.prob = prob


class _Policies(RandomChoice):
    """Base: mmpretrain's transform of this name, or torchvision's, by the arguments that are given."""

    def _build(self, needed: Sequence[str], torchvisions: Sequence[str]) -> None:
        """Build what is chosen from.

        Args:
            needed: mmpretrain's arguments that must be given,
            torchvisions: and torchvision's, of which none may be given with these.
        """
        given = changed_arguments(self)
        if given.keys() <= {*torchvisions}:
            super().__init__([dict(type=f'torchvision/{type(self).__name__}', **given)])
            return
        if not {*needed} <= given.keys() or given.keys() & {*torchvisions}:
            raise ConfigError(f"{brief_repr(self)}: give mmpretrain's arguments, of which {', '.join(needed)} are "
                              f"needed, or only torchvision's: {', '.join(torchvisions)}")
        policies = self.policies
        if isinstance(policies, str):
            policies = json.loads(Path(__file__).with_suffix('.json').read_text('utf-8'))[policies]
        self._unused = {*(self.hparams or ())} - {'pad_val', 'interpolation'}  # which every list of policies gets
        super().__init__([[self._merged(step) for step in as_list(steps)] for steps in policies])
        if self._unused:
            raise ConfigError(f'hparams: none of the policies takes {", ".join(sorted(self._unused))}')

    def _merged(self, policy: dict) -> dict:
        """Return the config of a policy: with the ``hparams`` that it takes and lacks, and the level of all."""
        step = TRANSFORMS.get(policy.get('type'))
        known = own_arguments(step) if callable(step) else ()  # building it says what is wrong
        self._unused -= {*known}
        merged = {key: value for key, value in (self.hparams or {}).items() if key in known} | policy
        if 'magnitude_range' in policy:
            merged.update({key: value for key, value in vars(self).items() if key in _LEVEL})
        return merged

    def __repr__(self) -> str:
        return brief_repr(self) if self.policies else repr(self.transforms[0][0])


@TRANSFORMS.register_module()
class RandAugment(_Policies):
    """Apply some of a list of augmentations, drawn with replacement, all of one strength.

    From Cubuk et al., `RandAugment <https://arxiv.org/abs/1909.13719>`_, 2019. With mmpretrain's arguments it is
    mmpretrain's; with torchvision's or none it is ``torchvision/RandAugment``, which takes no masks.

    - reads: ``img`` (uint8), ``channel_order`` ('bgr' if absent), ``gt_mask`` (if there)
    - changes: ``img``, ``gt_mask``
    - adds: ``img_shape``
    - removes: nothing

    Args:
        policies: Configs of augmentations, or the name of a list of these.
        num_policies: How many are drawn.
        magnitude_level, magnitude_std, total_level: Of all policies with ``magnitude_range``, see
            :class:`.BaseAugTransform`.
        hparams: Values for arguments that a policy takes and does not give, by name.
        num_ops, magnitude, num_magnitude_bins, interpolation, fill: torchvision's, instead of all others.

    Raises:
        ConfigError: If arguments of both are given, or ``policies``, ``num_policies`` or ``magnitude_level`` is
            missing.

    Example:
        >>> import numpy as np
        >>> augment = RandAugment('timm_increasing', num_policies=2, magnitude_level=9, magnitude_std=0.5)
        >>> augment(dict(img=np.zeros((24, 32, 3), np.uint8)))['img'].shape
        (24, 32, 3)
    """

    def __init__(self,
                 policies: Literal['timm_increasing', 'simple_increasing'] | _Choices | None = None,
                 num_policies: PositiveInt | None = None,
                 magnitude_level: NonNegativeFloat | None = None,
                 magnitude_std: float | Literal['inf'] = 0.,
                 total_level: PositiveFloat = 10,
                 hparams: dict | None = None,
                 num_ops: int | None = None,
                 magnitude: int | None = None,
                 num_magnitude_bins: int | None = None,
                 interpolation: Any = None,
                 fill: Any = None) -> None:
        self.policies, self.num_policies, self.hparams = policies, num_policies, hparams
        self.magnitude_level, self.magnitude_std, self.total_level = magnitude_level, magnitude_std, total_level
        self.num_ops, self.magnitude, self.num_magnitude_bins = num_ops, magnitude, num_magnitude_bins
        self.interpolation, self.fill = interpolation, fill
        self._draws = num_policies or 1
        self._build(('policies', 'num_policies', 'magnitude_level'), _TORCHVISIONS)


@TRANSFORMS.register_module()
class AutoAugment(_Policies):
    """Apply one of a list of short sequences of augmentations, which were found by search.

    From Cubuk et al., `AutoAugment <https://arxiv.org/abs/1805.09501>`_, 2019. With mmpretrain's arguments it is
    mmpretrain's; with torchvision's or none it is ``torchvision/AutoAugment``, which takes no masks.

    - reads: ``img`` (uint8), ``channel_order`` ('bgr' if absent), ``gt_mask`` (if there)
    - changes: ``img``, ``gt_mask``
    - adds: ``img_shape``
    - removes: nothing

    Args:
        policies: Lists of configs of augmentations, or 'imagenet'.
        hparams: See :class:`RandAugment`. (mmpretrain 1.2.0 takes and ignores them.)
        policy, interpolation, fill: torchvision's, instead of the two above.

    Raises:
        ConfigError: If arguments of both are given, or ``hparams`` without ``policies``.
    """

    def __init__(self,
                 policies: Literal['imagenet'] | _Choices | None = None,
                 hparams: dict | None = None,
                 policy: str | None = None,
                 interpolation: Any = None,
                 fill: Any = None) -> None:
        self.policies, self.hparams = policies, hparams
        self.policy, self.interpolation, self.fill = policy, interpolation, fill
        self._build(('policies', ), ('policy', 'interpolation', 'fill'))
