"""Swin-Tiny on ImageNet from scratch, 16 GPUs x 64 images.

bash tools/dist_train.sh configs/swin_transformer/swin-tiny_16xb64_in1k.py 16
"""
_base_ = [
    '../_base_/models/swin_transformer/tiny_224.py',
    '../_base_/datasets/imagenet_bs64_swin_224.py',
    '../_base_/schedules/imagenet_bs1024_adamw_swin.py',
    '../_base_/default_runtime.py',
]

optim_wrapper = dict(clip_grad=dict(max_norm=5.0))
