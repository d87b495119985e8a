"""ConvNeXt-Tiny on ImageNet from scratch, 32 GPUs x 128 images; the evaluated weights are averaged over the steps.

bash tools/dist_train.sh configs/convnext/convnext-tiny_32xb128_in1k.py 32
"""
_base_ = [
    '../_base_/models/convnext/convnext-tiny.py',
    '../_base_/datasets/imagenet_bs64_swin_224.py',
    '../_base_/schedules/imagenet_bs1024_adamw_swin.py',
    '../_base_/default_runtime.py',
]

train_dataloader = dict(batch_size=128)

optim_wrapper = dict(optimizer=dict(lr=4e-3))

custom_hooks = [dict(type='EMAHook', momentum=1e-4, priority='ABOVE_NORMAL')]

# 4096 = 32 GPUs x 128 images
auto_scale_lr = dict(base_batch_size=4096)
