"""Segmentors: backbone, decoder and pixel head together."""
from .image import ImageSegmentor

__all__ = ['ImageSegmentor']
