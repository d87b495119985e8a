"""Swin-Small for ImageNet at 224 pixels: 1000 classes."""
_base_ = './tiny_224.py'
model = dict(backbone=dict(arch='small', drop_path_rate=0.3))
