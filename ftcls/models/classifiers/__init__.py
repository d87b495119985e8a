"""Classifiers: backbone, neck and head together."""
from .base import BaseClassifier
from .image import ImageClassifier
from .timm import TimmClassifier

__all__ = ['BaseClassifier', 'ImageClassifier', 'TimmClassifier']
