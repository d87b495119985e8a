"""Several views of one picture, for test-time augmentation."""
import copy
import itertools
from collections.abc import Callable, Sequence
from typing import ClassVar

from mmengine.dataset import Compose

from ftcls.registry import TRANSFORMS
from ftcls.utils import ConfigError
from .base import BaseTransform

__all__ = ['TestTimeAug']


@TRANSFORMS.register_module()
class TestTimeAug(BaseTransform):
    """Make several views of a sample: one for each combination of the alternatives at each step.

    - reads: what the first steps read
    - adds: each key that the views have, as a list with the value of each view
    - removes: all other keys

    Args:
        transforms: A list of steps; each step is a list of alternatives, which are transforms' configs or None for nothing.

    Raises:
        ConfigError: If that is not a list of lists, a step has no alternative, or chance decides what one does.

    Example:
        >>> views = TestTimeAug([[dict(type='RandomFlip', prob=1.), dict(type='RandomFlip', prob=0.)],
        ...                      [dict(type='PackInputs')]])
        >>> import numpy as np
        >>> len(views(dict(img=np.zeros((4, 4, 3), np.uint8)))['inputs'])
        2
    """

    __test__ = False  # no class of tests, whatever pytest takes from the name
    REQUIRED_KEYS: ClassVar[tuple[str, ...]] = ()

    def __init__(self, transforms: Sequence[Sequence[dict | None]]) -> None:
        if not transforms or not all(isinstance(step, list | tuple) and step for step in transforms):
            raise ConfigError(
                f'TestTimeAug(transforms={transforms!r}): expected a list of steps, each a list of at least one '
                'alternative, such as [[dict(type=\'RandomFlip\', prob=1.), None], [dict(type=\'PackInputs\')]]')
        built = [[None if one is None else TRANSFORMS.build(one) for one in step] for step in transforms]
        for one in itertools.chain(*built):
            _check_certain(one)
        self.views = [Compose([one for one in steps if one is not None]) for steps in itertools.product(*built)]

    def transform(self, results: dict) -> dict:
        """Return the views, each made from a copy of the sample."""
        views = [view(copy.deepcopy(results)) for view in self.views]
        return {key: [view[key] for view in views] for key in views[0]}


def _check_certain(step: Callable | None) -> None:
    """Refuse a transform that is applied with a probability: the score would hang on the throw of the dice."""
    for part in (step, getattr(step, 't', None)):  # `t`: what a TorchvisionTransform runs
        for key in ('prob', 'p'):
            prob = getattr(part, key, None)
            probs = prob if isinstance(prob, list | tuple) else [prob]
            directions = getattr(part, 'direction', None)
            drawn = prob == 1 and isinstance(directions, list | tuple) and len(directions) > 1
            if drawn or any(isinstance(one, int | float) and 0 < one < 1 for one in probs):
                what = f'direction={directions!r}' if drawn else f'{key}={prob!r}'
                raise ConfigError(
                    f'TestTimeAug: {type(part).__name__} with {what}: a view left to chance gives another score each time; '
                    f'give each view as an alternative of its own, with {key}=0. or {key}=1.')
