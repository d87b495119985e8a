"""ResNet-152 on ImageNet from scratch, 8 GPUs x 32 images.

bash tools/dist_train.sh configs/resnet/resnet152_8xb32_in1k.py 8
"""
_base_ = [
    '../_base_/models/resnet152.py',
    '../_base_/datasets/imagenet_bs32.py',
    '../_base_/schedules/imagenet_bs256.py',
    '../_base_/default_runtime.py',
]
