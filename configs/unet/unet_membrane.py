"""A small U-Net on electron microscopy of cell membranes, sized for a CPU: 20 images to train, 4 to validate.

    data/membrane/
    ├── images/*.png         512x512, grey
    └── masks/*_mask.png     0 for membrane

python tools/train.py configs/unet/unet_membrane.py
python tools/compare.py configs/unet/unet_membrane.py --arms bf16,float32 --budget 30 --seeds 3

Data elsewhere: `--cfg-options train_dataloader.dataset.data_root=...`, and the same for `val_dataloader` and
`test_dataloader`.

6 minutes on one thread of a busy CPU, in bfloat16 (21 images/s; float32 11): Dice 82.6 % on the 4 images, one seed. It
was 78.1 % after 30 of the 300 epochs. Width, epochs and augmentation were compared on images 19 to 22, trained on 16
others. More results are in docs/segmentation.md.
"""
_base_ = ['../_base_/models/unet.py', '../_base_/default_runtime.py']

# 16, 32, 64, 128 and 256 channels, a quarter of the paper's; twice as many learned less in the same time
model = dict(
    backbone=dict(in_channels=1, base_channels=16),
    # cross entropy for each pixel, Dice for the membrane as a whole, which is the rarer class
    head=dict(loss=[dict(type='BCEWithLogitsLoss'), dict(type='DiceLoss')]))
# statistics of the 24 images
data_preprocessor = dict(type='ClsDataPreprocessor', mean=[125.15], std=[43.56])

train_pipeline = [
    dict(type='LoadImageFromFile', color_type='grayscale'),
    dict(type='LoadAnnotations'),
    # a cell with its neighbours; a seventh of the image
    dict(type='RandomCrop', crop_size=192),
    # tissue has no up: flips and a quarter turn give all eight positions
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='RandomFlip', prob=0.5, direction='vertical'),
    dict(type='RandomApply', transforms=dict(type='torchvision/RandomRotation', degrees=(90, 90)), prob=0.5),
    # slices are not equally dark
    dict(type='ColorJitter', brightness=0.2, contrast=0.2),
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

optim_wrapper = dict(optimizer=dict(type='Adam', lr=0.003))
# 300 epochs of 5 steps; one crop per image and epoch
train_cfg = dict(by_epoch=True, max_epochs=300, val_interval=30)
param_scheduler = [
    # Adam's first steps are its least certain
    dict(type='LinearLR', start_factor=0.1, by_epoch=True, end=6, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=6, end=300, T_max=294, convert_to_iter_based=True),
]
val_cfg = dict()
test_cfg = dict()
# the best checkpoint has the highest Dice
default_hooks = dict(checkpoint=dict(interval=30))

# for `tools/compare.py`
arms = dict(
    bce_dice={},
    bce={'model.head.loss': [dict(type='BCEWithLogitsLoss')]},
    dice={'model.head.loss': [dict(type='DiceLoss')]},
    focal={'model.head.loss': [dict(type='FocalLoss')]},
    # the foreground is the rarer class: alpha above a half
    focal75={'model.head.loss': [dict(type='FocalLoss', alpha=0.75)]},
    iou={'model.head.loss': [dict(type='IoULoss')]},
    tversky={'model.head.loss': [dict(type='TverskyLoss')]},
    # `speed` chooses by itself; these do not
    float32={'speed': dict(channels_last=True, amp=False)},
    bf16={'speed': dict(channels_last=True, amp=True)})
