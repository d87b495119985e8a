"""Necks: between backbone and head, mostly pooling."""
from .pooling import GeneralizedMeanPooling, GlobalAveragePooling

__all__ = ['GeneralizedMeanPooling', 'GlobalAveragePooling']
