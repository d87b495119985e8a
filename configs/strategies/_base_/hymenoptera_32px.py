"""The base of all strategies: the tutorial's ants and bees at CIFAR's 32 pixels, so that runs are cheap on a CPU."""
_base_ = ['../../tutorial/cifar_resnet20_finetune_hymenoptera.py']

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=32, crop_ratio_range=(0.35, 1.0), backend='pillow'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=36, edge='short', backend='pillow'),
    dict(type='CenterCrop', crop_size=32),
    dict(type='PackInputs'),
]
train_dataloader = dict(num_workers=0, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(num_workers=0, dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(num_workers=0, dataset=dict(pipeline=test_pipeline))
train_cfg = dict(val_interval=5)

# The best of 0.003, 0.01, 0.03 and 0.1 on a held-out quarter of the training photos (benchmarks/choose_rates.py).
optim_wrapper = dict(optimizer=dict(lr=0.03))
arms = dict(scratch={'optim_wrapper.optimizer.lr': 0.05})
