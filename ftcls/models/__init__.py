"""Models: classifiers and what they are put together from."""
from . import weight_init
from .backbones import *  # noqa: F401, F403
from .batch_augments import RandomBatchAugment
from .classifiers import *  # noqa: F401, F403
from .data_preprocessor import ClsDataPreprocessor
from .heads import *  # noqa: F401, F403
from .losses import *  # noqa: F401, F403
from .necks import *  # noqa: F401, F403
from .tta import AverageClsScoreTTA

from . import backbones, classifiers, heads, losses, necks  # isort: skip

__all__ = [
    'AverageClsScoreTTA', 'ClsDataPreprocessor', 'RandomBatchAugment', 'weight_init', *backbones.__all__, *classifiers.__all__,
    *heads.__all__, *losses.__all__, *necks.__all__
]
