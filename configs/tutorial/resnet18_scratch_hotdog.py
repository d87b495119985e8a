"""The twin of resnet18_finetune_hotdog.py that starts from nothing: all layers alike, at a rate of 0.1.

python tools/train.py configs/tutorial/resnet18_scratch_hotdog.py

Not measured here: the pictures are not at hand.
"""
_base_ = ['./resnet18_finetune_hotdog.py']

model = dict(backbone=dict(init_cfg=None))
optim_wrapper = dict(optimizer=dict(lr=0.1), paramwise_cfg=None)
