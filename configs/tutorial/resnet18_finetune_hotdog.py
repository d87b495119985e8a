"""The textbook's fine-tuning experiment: an ImageNet ResNet-18 learns to tell hot dogs from everything else.

    data/hotdog/
    ├── train/
    │   ├── hotdog/*.png
    │   └── not-hotdog/*.png
    └── test/
        ├── hotdog/*.png
        └── not-hotdog/*.png

python tools/train.py configs/tutorial/resnet18_finetune_hotdog.py
python tools/compare.py configs/tutorial/resnet18_finetune_hotdog.py --arms scratch,finetune --seeds 3

The images and the hyperparameters are those of Zhang et al., "Dive into Deep Learning", section on fine-tuning. Not
measured here: images and weights were not available. As in the book, the test images are also the validation images.
"""
_base_ = ['../_base_/models/resnet18.py', '../_base_/default_runtime.py']

model = dict(
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet18')),
    head=dict(num_classes=2, topk=(1, )))

# ImageNet's, with which the weights were trained
data_preprocessor = dict(
    type='ClsDataPreprocessor', num_classes=2, mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)

# backend='pillow' antialiases, as torchvision did when it trained the weights
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=224, backend='pillow'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=256, edge='short', backend='pillow'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    batch_size=128,
    num_workers=4,
    dataset=dict(type='CustomDataset', data_root='data/hotdog', data_prefix='train', pipeline=train_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    persistent_workers=True)
val_dataloader = dict(
    batch_size=128,
    num_workers=4,
    dataset=dict(type='CustomDataset', data_root='data/hotdog', data_prefix='test', pipeline=test_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    persistent_workers=True)
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=(1, ))
test_evaluator = val_evaluator

# the new classifier learns ten times as fast as the pretrained layers
optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.01, weight_decay=0.001),
    paramwise_cfg=dict(custom_keys={'^head': dict(lr_mult=10)}))
train_cfg = dict(by_epoch=True, max_epochs=5, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=128)

# from scratch, all layers learn at one rate, ten times that of fine-tuning: resnet18_scratch_hotdog.py
arms = dict(scratch={'optim_wrapper.optimizer.lr': 0.1, 'optim_wrapper.paramwise_cfg': None})
