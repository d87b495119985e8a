"""SE-ResNet-50 on ImageNet from scratch, 8 GPUs x 32 images.

bash tools/dist_train.sh configs/seresnet/seresnet50_8xb32_in1k.py 8
"""
_base_ = [
    '../_base_/models/seresnet50.py',
    '../_base_/datasets/imagenet_bs32.py',
    '../_base_/schedules/imagenet_bs256.py',
    '../_base_/default_runtime.py',
]
