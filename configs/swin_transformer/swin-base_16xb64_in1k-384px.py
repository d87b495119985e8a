"""Swin-Base on ImageNet at 384 pixels, 16 GPUs x 64 images.

bash tools/dist_train.sh configs/swin_transformer/swin-base_16xb64_in1k-384px.py 16

Weights for 224 pixels and windows of 7 load too (`load_from`); their tables of relative positions are interpolated.
"""
_base_ = [
    '../_base_/models/swin_transformer/base_384.py',
    '../_base_/datasets/imagenet_bs64_swin_384.py',
    '../_base_/schedules/imagenet_bs1024_adamw_swin.py',
    '../_base_/default_runtime.py',
]

optim_wrapper = dict(clip_grad=dict(max_norm=5.0))
