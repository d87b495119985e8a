"""Swin-Base for ImageNet at 384 pixels, windows of 12 patches. For evaluation, see large_224.py."""
_base_ = './large_384.py'
model = dict(backbone=dict(arch='base'), head=dict(in_channels=1024))
