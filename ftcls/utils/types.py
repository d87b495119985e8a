"""Types that carry their bounds: the registries check them where they build, so that no class does so by hand.

    def __init__(self, num_classes: PositiveInt, dropout: Probability = 0.) -> None: ...
"""
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Interval

__all__ = [
    'Fraction', 'NonNegativeFloat', 'NonNegativeInt', 'PositiveFloat', 'PositiveInt', 'Probability', 'Reduction', 'Size'
]

PositiveInt = Annotated[int, Ge(1)]
NonNegativeInt = Annotated[int, Ge(0)]
PositiveFloat = Annotated[float, Gt(0)]
NonNegativeFloat = Annotated[float, Ge(0)]
Probability = Annotated[float, Interval(ge=0, le=1)]  # from 0 to 1, both included
Fraction = Annotated[float, Interval(gt=0, lt=1)]  # between 0 and 1, both excluded
Size = PositiveInt | tuple[PositiveInt, PositiveInt]  # one length for both sides, or two, in pixels
Reduction = Literal['none', 'mean', 'sum']  # what a loss does with its values, one for each sample
