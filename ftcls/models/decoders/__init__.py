"""Decoders: the feature maps of a backbone in, one map near the size of the image out."""
from .unet_decoder import UNetDecoder

__all__ = ['UNetDecoder']
