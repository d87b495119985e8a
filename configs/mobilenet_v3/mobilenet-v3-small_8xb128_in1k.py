"""MobileNetV3-small on ImageNet from scratch, 8 GPUs x 128 images.

bash tools/dist_train.sh configs/mobilenet_v3/mobilenet-v3-small_8xb128_in1k.py 8
"""
_base_ = [
    '../_base_/models/mobilenet_v3/mobilenet_v3_small_imagenet.py',
    '../_base_/datasets/imagenet_bs32.py',
    '../_base_/schedules/imagenet_bs256.py',
    '../_base_/default_runtime.py',
]

train_dataloader = dict(batch_size=128)
val_dataloader = dict(batch_size=128)
test_dataloader = dict(batch_size=128)

# RMSprop as torchvision trained its weights
optim_wrapper = dict(
    optimizer=dict(
        _delete_=True,
        type='RMSprop',
        lr=0.064,
        alpha=0.9,
        momentum=0.9,
        eps=0.0316,
        weight_decay=1e-5,
    ))
param_scheduler = dict(_delete_=True, type='StepLR', by_epoch=True, step_size=2, gamma=0.973)
train_cfg = dict(max_epochs=600)

# 1024 = 8 GPUs x 128 images
auto_scale_lr = dict(base_batch_size=1024)
