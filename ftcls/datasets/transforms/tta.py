"""Several views of one image, for test-time augmentation."""
import copy
import itertools
from collections.abc import Callable, Sequence
from typing import ClassVar

from mmengine.dataset import Compose

from ftcls.registry import TRANSFORMS
from ftcls.utils import ConfigError
from ftcls.utils.tree import as_list
from .base import BaseTransform

__all__ = ['TestTimeAug']


@TRANSFORMS.register_module()
class TestTimeAug(BaseTransform):
    """Make several views of a sample: one for each combination of the alternatives at each step.

    - reads: what the first steps read
    - adds: each key that the views have, as a list with the value of each view
    - removes: all other keys

    Args:
        transforms: A list of steps; each step is a list of alternatives, which are transforms' configs or None for
            nothing.

    Raises:
        ConfigError: If that is not a list of lists, a step has no alternative, or one is random.

    Example:
        >>> views = TestTimeAug([[dict(type='RandomFlip', prob=1.), dict(type='RandomFlip', prob=0.)],
        ...                      [dict(type='PackInputs')]])
        >>> import numpy as np
        >>> len(views(dict(img=np.zeros((4, 4, 3), np.uint8)))['inputs'])
        2
    """

    __test__ = False  # not a class of tests, although pytest would take it for one
    REQUIRED_KEYS: ClassVar[tuple[str, ...]] = ()

    def __init__(self, transforms: Sequence[Sequence[dict | None]]) -> None:
        if not transforms or not all(isinstance(step, list | tuple) and step for step in transforms):
            example = "[[dict(type='RandomFlip', prob=1.), None], [dict(type='PackInputs')]]"
            raise ConfigError(f'TestTimeAug: {transforms=} must be a list of steps, each a list, such as {example}')
        built = [[None if one is None else TRANSFORMS.build(one) for one in step] for step in transforms]
        for one in itertools.chain(*built):
            _check_certain(one)
        self.views = [Compose([one for one in steps if one is not None]) for steps in itertools.product(*built)]

    def transform(self, results: dict) -> dict:
        """Return the views, each made from a copy of the sample."""
        views = [view(copy.deepcopy(results)) for view in self.views]
        return {key: [view[key] for view in views] for key in views[0]}


def _check_certain(step: Callable | None) -> None:
    """Refuse a transform that is applied with a probability: the score would differ each time."""
    for part in (step, getattr(step, 't', None)):  # `t`: what a TorchvisionTransform runs
        directions = getattr(part, 'direction', None)
        for key in ('prob', 'p'):
            prob = getattr(part, key, None)
            found = ''
            if any(isinstance(one, int | float) and 0 < one < 1 for one in as_list(prob)):
                found = f'{key}={prob!r}'
            elif prob == 1 and len(as_list(directions)) > 1:
                found = f'direction={directions!r}'
            if found:
                raise ConfigError(f'TestTimeAug: {type(part).__name__} with {found} is random; make each view an '
                                  f'alternative of its own, with {key}=0. or {key}=1.')
