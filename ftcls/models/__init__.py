"""Models: classifiers, segmentors, and what they are put together from."""
from . import weight_init
from .backbones import *  # noqa: F401,F403
from .batch_augments import CutMix, Mixup, RandomBatchAugment, ResizeMix
from .builder import *  # noqa: F401,F403
from .classifiers import *  # noqa: F401,F403
from .data_preprocessor import ClsDataPreprocessor
from .decoders import *  # noqa: F401,F403
from .heads import *  # noqa: F401,F403
from .losses import *  # noqa: F401,F403
from .necks import *  # noqa: F401,F403
from .segmentors import *  # noqa: F401,F403
from .tta import AverageClsScoreTTA

from . import backbones, builder, classifiers, decoders, heads, losses, necks, segmentors  # isort: skip

__all__ = [
    'AverageClsScoreTTA', 'ClsDataPreprocessor', 'CutMix', 'Mixup', 'RandomBatchAugment', 'ResizeMix', 'weight_init',
    *backbones.__all__, *builder.__all__, *classifiers.__all__, *decoders.__all__, *heads.__all__, *losses.__all__,
    *necks.__all__, *segmentors.__all__
]
