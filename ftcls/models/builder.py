"""The registry of models, and its ``build``, under the names that they have in MMClassification."""
from ftcls.registry import MODELS
from ftcls.registry import MODELS as BACKBONES
from ftcls.registry import MODELS as CLASSIFIERS
from ftcls.registry import MODELS as HEADS
from ftcls.registry import MODELS as LOSSES
from ftcls.registry import MODELS as NECKS

__all__ = [
    'BACKBONES', 'CLASSIFIERS', 'HEADS', 'LOSSES', 'NECKS', 'build_backbone', 'build_classifier', 'build_head',
    'build_loss', 'build_neck'
]

build_backbone = MODELS.build
build_classifier = MODELS.build
build_head = MODELS.build
build_loss = MODELS.build
build_neck = MODELS.build
