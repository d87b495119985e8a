"""LeNet-5 on MNIST from scratch, complete in one file, without `_base_`.

python tools/train.py configs/lenet/lenet5_mnist.py
"""
default_scope = 'ftcls'

model = dict(
    type='ImageClassifier',
    backbone=dict(type='LeNet5', num_classes=10),
    neck=None,
    head=dict(type='ClsHead', loss=dict(type='CrossEntropyLoss', loss_weight=1.0)))

# the mean and standard deviation of MNIST's training pixels
data_preprocessor = dict(mean=[33.46], std=[78.87], num_classes=10)

# MNIST has 28 x 28 pixels, LeNet-5 takes 32 x 32
pipeline = [dict(type='Resize', scale=32), dict(type='PackInputs')]
common = dict(type='MNIST', data_root='data/mnist/', pipeline=pipeline)

train_dataloader = dict(
    batch_size=128,
    num_workers=2,
    dataset=dict(split='train', **common),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    persistent_workers=True)
val_dataloader = dict(
    batch_size=128,
    num_workers=2,
    dataset=dict(split='test', **common),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    persistent_workers=True)
test_dataloader = val_dataloader

val_evaluator = dict(type='Accuracy', topk=(1, ))
test_evaluator = val_evaluator

optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=0.0001))
param_scheduler = dict(type='MultiStepLR', by_epoch=True, milestones=[15], gamma=0.1)

train_cfg = dict(by_epoch=True, max_epochs=5, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=128)

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=150),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=2, save_best='auto'),
    sampler_seed=dict(type='DistSamplerSeedHook'))
