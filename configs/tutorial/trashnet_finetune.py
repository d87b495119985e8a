"""Fine-tune ImageNet's EfficientNet-lite0 to TrashNet, 6 classes of waste, on a CPU.

    data/trashnet/
    ├── cardboard/*.jpg
    ├── glass/*.jpg
    └── ...
    data/tf_efficientnet_lite0-57934424.safetensors     from https://huggingface.co/timm/tf_efficientnet_lite0.in1k

python tools/train.py configs/tutorial/trashnet_finetune.py

About 9 minutes of CPU time on one core. Trained on three quarters of 714 photos (`val_fraction=0.25`), it had 89.89 %
and 88.76 % of the other 178 right with two seeds, 95 % intervals 84.58 to 93.51 and 83.28 to 92.61; nothing was chosen
on these. As it stands it trains on nine tenths.
"""
_base_ = ['../_base_/models/efficientnet_lite0.py', '../_base_/default_runtime.py']

model = dict(
    # batches of few photos give worse statistics than those of its pretraining
    norm_policy='eval',
    # the stem and the first two of five stages: better on few photos, and faster
    backbone=dict(frozen_stages=2),
    head=dict(num_classes=6, loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1)))
data_preprocessor = dict(num_classes=6)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=224, crop_ratio_range=(0.35, 1.0), backend='pillow', interpolation='bicubic'),
    # waste has no upper side
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='RandomFlip', prob=0.5, direction='vertical'),
    dict(type='TrivialAugmentWide'),
    dict(type='PackInputs'),
]
# The whole photo, larger than in training: random crops show things larger than they are (Touvron et al. 2019,
# arXiv:1906.06423).
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=288, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='PackInputs'),
]
# the photos that are held out are drawn by name; nothing is chosen on them
dataset = dict(type='CustomDataset', data_root='data/trashnet', val_fraction=0.1, split_seed=0)
train_dataloader = dict(
    batch_size=16,
    num_workers='auto',
    persistent_workers=True,
    dataset=dict(**dataset, split='train', pipeline=train_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'))
val_dataloader = dict(
    batch_size=16,
    num_workers='auto',
    persistent_workers=True,
    dataset=dict(**dataset, split='val', pipeline=test_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'))
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=(1, ))
test_evaluator = val_evaluator

optim_wrapper = dict(optimizer=dict(type='AdamW', lr=0.0005, weight_decay=0.05))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=True, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=1, T_max=29, convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=30, val_interval=5)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=16)
# the last weights are the result
default_hooks = dict(checkpoint=dict(save_best=None))
