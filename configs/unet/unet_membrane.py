"""A small U-Net on electron microscopy of cell membranes, sized for a CPU: 20 images to train, 4 to validate.

    data/membrane/
    ├── images/*.png         512x512, grey
    └── masks/*_mask.png     0 for membrane

python tools/train.py configs/unet/unet_membrane.py
python tools/compare.py configs/unet/unet_membrane.py --arms bce,dice,bce_dice,focal,focal75,bf16 --seeds 3

Data elsewhere: `--cfg-options train_dataloader.dataset.data_root=...`, and the same for `val_dataloader` and
`test_dataloader`.

70 seconds per run on one CPU core: mean Dice 70.8 ± 0.7 over the 4 images, 3 seeds. Other losses are in
docs/segmentation.md.
"""
_base_ = ['../_base_/models/unet.py', '../_base_/default_runtime.py']

# 8, 16, 32, 64 and 128 channels, an eighth of the paper's
model = dict(backbone=dict(in_channels=1, base_channels=8))
# statistics of the 24 images
data_preprocessor = dict(type='ClsDataPreprocessor', mean=[125.15], std=[43.56])

train_pipeline = [
    dict(type='LoadImageFromFile', color_type='grayscale'),
    dict(type='LoadAnnotations'),
    dict(type='RandomCrop', crop_size=128),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='RandomFlip', prob=0.5, direction='vertical'),
    dict(type='PackSegInputs'),
]
# whole images
test_pipeline = [
    dict(type='LoadImageFromFile', color_type='grayscale'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
# membrane is 0 in the masks; `split_seed`, not the seed of the run, draws the 4 of 24 images that validate
dataset = dict(
    type='BinarySegDataset',
    data_root='data/membrane',
    mask_name='{stem}_mask.png',
    foreground=0,
    val_fraction=1 / 6,
    split_seed=0)
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(**dataset, split='train', pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=4,
    num_workers=0,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**dataset, split='val', pipeline=test_pipeline))
val_evaluator = [dict(type='DiceMetric'), dict(type='IoUMetric')]
test_dataloader = val_dataloader
test_evaluator = val_evaluator

optim_wrapper = dict(optimizer=dict(type='Adam', lr=0.01))
# 16 epochs of 5 steps; one crop per image and epoch
param_scheduler = dict(type='CosineAnnealingLR', by_epoch=True, T_max=16)
train_cfg = dict(by_epoch=True, max_epochs=16, val_interval=8)
val_cfg = dict()
test_cfg = dict()
# the best checkpoint has the highest Dice
default_hooks = dict(logger=dict(interval=5), checkpoint=dict(interval=16))

# for `tools/compare.py`
arms = dict(
    bce={},
    dice={'model.head.loss.type': 'DiceLoss'},
    bce_dice={'model.head.loss': [dict(type='BCEWithLogitsLoss'), dict(type='DiceLoss')]},
    focal={'model.head.loss.type': 'FocalLoss'},
    # the foreground is the rarer class: alpha above a half
    focal75={'model.head.loss': dict(type='FocalLoss', alpha=0.75)},
    iou={'model.head.loss.type': 'IoULoss'},
    tversky={'model.head.loss.type': 'TverskyLoss'},
    bf16={'optim_wrapper.type': 'AmpOptimWrapper'})
