"""ResNet-50 with a 3 x 3 stem on CIFAR-10 from scratch, 8 GPUs x 16 images.

bash tools/dist_train.sh configs/resnet/resnet50_8xb16_cifar10.py 8
"""
_base_ = [
    '../_base_/models/resnet50_cifar.py',
    '../_base_/datasets/cifar10_bs16.py',
    '../_base_/schedules/cifar10_bs128.py',
    '../_base_/default_runtime.py',
]
