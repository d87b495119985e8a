"""Classifiers: backbone, neck and head together."""
from .base import BaseClassifier
from .image import ImageClassifier

__all__ = ['BaseClassifier', 'ImageClassifier']
