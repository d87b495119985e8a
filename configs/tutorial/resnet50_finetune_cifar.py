"""Fine-tune an ImageNet ResNet-50 to CIFAR-10: the example that the tutorial (docs/tutorial.md) walks through.

One GPU or CPU:  python tools/train.py configs/tutorial/resnet50_finetune_cifar.py
Eight GPUs:      bash tools/dist_train.sh configs/tutorial/resnet50_finetune_cifar.py 8

Both take optimizer steps over 128 images: 8 GPUs x 16, or 1 x 16 accumulated 8 times.
"""
_base_ = [
    '../_base_/models/resnet50.py',
    '../_base_/datasets/cifar10_bs16.py',
    '../_base_/schedules/cifar10_bs128.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        # the stem and the first two stages keep their ImageNet weights
        frozen_stages=2,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.openmmlab.com/mmclassification/v0/resnet/'
            'resnet50_8xb32_in1k_20210831-ea4938fc.pth',
            # the file has `backbone.*` and `head.*`; only the backbone is loaded
            prefix='backbone')),
    # CIFAR-10 has ten classes, ImageNet a thousand
    head=dict(num_classes=10))

# The weights were trained on pixels normalised with ImageNet's statistics, and frozen layers cannot adapt to others.
# The base config has CIFAR-10's statistics, which would shift and scale their inputs.
data_preprocessor = dict(
    num_classes=10,
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    # the weights expect RGB; CIFAR-10 is RGB already and is not changed
    to_rgb=True)

train_pipeline = [
    dict(type='RandomCrop', crop_size=32, padding=4),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    # ImageNet's input size: at 32 pixels the last stage would have a map of 1 x 1
    dict(type='Resize', scale=224),
    dict(type='PackClsInputs'),
]
test_pipeline = [
    dict(type='Resize', scale=224),
    dict(type='PackClsInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

# a tenth of the rate for training from scratch
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=0.0001))
param_scheduler = dict(type='MultiStepLR', by_epoch=True, milestones=[15], gamma=0.1)
