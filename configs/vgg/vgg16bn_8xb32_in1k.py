"""VGG-16 with BatchNorm on ImageNet from scratch, 8 GPUs x 32 images.

bash tools/dist_train.sh configs/vgg/vgg16bn_8xb32_in1k.py 8
"""
_base_ = [
    '../_base_/models/vgg16bn.py',
    '../_base_/datasets/imagenet_bs32.py',
    '../_base_/schedules/imagenet_bs256.py',
    '../_base_/default_runtime.py',
]

# without residual connections it needs a smaller rate
optim_wrapper = dict(optimizer=dict(lr=0.01))
