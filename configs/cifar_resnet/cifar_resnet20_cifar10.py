"""ResNet-20 for CIFAR-10 (He et al. 2015, arXiv:1512.03385, section 4.2): 270,000 parameters.

python tools/train.py configs/cifar_resnet/cifar_resnet20_cifar10.py
"""
_base_ = [
    '../_base_/models/cifar_resnet20.py',
    '../_base_/datasets/cifar10_bs16.py',
    '../_base_/schedules/cifar10_bs128.py',
    '../_base_/default_runtime.py',
]

# The public checkpoints of this network were trained on pixels normalised with ImageNet's statistics.
data_preprocessor = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
