"""The same as resnet18_finetune_hotdog.py from random weights: all layers learn at a rate of 0.1.

python tools/train.py configs/tutorial/resnet18_scratch_hotdog.py

Not measured here: the images were not available.
"""
_base_ = ['./resnet18_finetune_hotdog.py']

model = dict(backbone=dict(init_cfg=None))
optim_wrapper = dict(optimizer=dict(lr=0.1), paramwise_cfg=None)
