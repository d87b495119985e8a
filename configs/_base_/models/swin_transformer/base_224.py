"""Swin-Base for ImageNet at 224 pixels: 1000 classes."""
_base_ = './tiny_224.py'
model = dict(backbone=dict(arch='base', drop_path_rate=0.5), head=dict(in_channels=1024))
