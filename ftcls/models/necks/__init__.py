"""Necks: between backbone and head, mostly pooling."""
from .gap import GlobalAveragePooling
from .gem import GeneralizedMeanPooling

__all__ = ['GeneralizedMeanPooling', 'GlobalAveragePooling']
