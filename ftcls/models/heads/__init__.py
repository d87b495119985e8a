"""Heads: features in, losses or predictions out."""
from .cls_head import ClsHead, LinearClsHead
from .multi_label_head import MultiLabelClsHead, MultiLabelLinearClsHead
from .pixel_head import PixelHead
from .stacked_head import StackedLinearClsHead
from .vision_transformer_head import VisionTransformerClsHead, ViTClsHead

__all__ = [
    'ClsHead', 'LinearClsHead', 'MultiLabelClsHead', 'MultiLabelLinearClsHead', 'PixelHead', 'StackedLinearClsHead',
    'ViTClsHead', 'VisionTransformerClsHead'
]
