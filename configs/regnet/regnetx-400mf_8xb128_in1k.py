"""RegNetX-400MF on ImageNet from scratch, 8 GPUs x 128 images.

bash tools/dist_train.sh configs/regnet/regnetx-400mf_8xb128_in1k.py 8
"""
_base_ = [
    '../_base_/models/regnet/regnetx_400mf.py',
    '../_base_/datasets/imagenet_bs32.py',
    '../_base_/schedules/imagenet_bs256.py',
    '../_base_/default_runtime.py',
]

train_dataloader = dict(batch_size=128)
val_dataloader = dict(batch_size=128)
test_dataloader = dict(batch_size=128)

# a rate of 0.8 for a batch of 1024, weight decay 5e-5, warm-up of 5 epochs and a cosine (arXiv:2003.13678)
optim_wrapper = dict(optimizer=dict(lr=0.8, weight_decay=5e-5, nesterov=True))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=True, begin=0, end=5),
    dict(type='CosineAnnealingLR', T_max=95, by_epoch=True, begin=5, end=100),
]

# 1024 = 8 GPUs x 128 images
auto_scale_lr = dict(base_batch_size=1024)
