"""Classifiers: backbone, neck and head together."""
from .image import BaseClassifier, ImageClassifier

__all__ = ['BaseClassifier', 'ImageClassifier']
