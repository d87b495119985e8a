"""ConvNeXt-XLarge for ImageNet: 1000 classes."""
_base_ = './convnext-tiny.py'
model = dict(backbone=dict(arch='xlarge', drop_path_rate=0.5), head=dict(in_channels=2048))
