"""The registry of models, and its ``build``, under the names that they have in MMClassification."""
from ftcls.registry import MODELS as BACKBONES
from ftcls.registry import MODELS as CLASSIFIERS
from ftcls.registry import MODELS as HEADS
from ftcls.registry import MODELS as LOSSES
from ftcls.registry import MODELS as NECKS
from ftcls.registry import build_model as build_backbone
from ftcls.registry import build_model as build_classifier
from ftcls.registry import build_model as build_head
from ftcls.registry import build_model as build_loss
from ftcls.registry import build_model as build_neck

__all__ = [
    'BACKBONES', 'CLASSIFIERS', 'HEADS', 'LOSSES', 'NECKS', 'build_backbone', 'build_classifier', 'build_head',
    'build_loss', 'build_neck'
]
