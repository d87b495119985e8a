"""U-Net on Carvana's cars: 256x256, 70 % to train, 30 % to validate, Adam, binary cross entropy, batches of 32.

    data/carvana/
    ├── train/*.jpg
    └── train_masks/*_mask.gif

python tools/train.py configs/unet/unet_carvana.py

The data is Kaggle's (carvana-image-masking-challenge), 5,088 images. It was not available here, so no score is given.
To start from a public file with `inc.double_conv.0.weight` and so on: `--cfg-options load_from=unet_carvana.pth`.
"""
_base_ = ['../_base_/models/unet.py', '../_base_/default_runtime.py']

# scales pixels to 0 to 1, as for the public checkpoints
data_preprocessor = dict(type='ClsDataPreprocessor', mean=[0, 0, 0], std=[255, 255, 255], to_rgb=True)

pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='Resize', scale=(256, 256)),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    batch_size=32,
    num_workers=4,
    persistent_workers=True,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='CarvanaDataset',
        data_root='data/carvana',
        split='train',
        # drawn by `split_seed`: the two parts never share an image
        val_fraction=0.3,
        split_seed=0,
        pipeline=pipeline))
val_dataloader = dict(
    batch_size=32,
    num_workers=4,
    persistent_workers=True,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CarvanaDataset', data_root='data/carvana', split='val', val_fraction=0.3, split_seed=0,
        pipeline=pipeline))
val_evaluator = [dict(type='DiceMetric'), dict(type='IoUMetric')]
test_dataloader = val_dataloader
test_evaluator = val_evaluator

optim_wrapper = dict(optimizer=dict(type='Adam', lr=0.001, weight_decay=1e-8))
train_cfg = dict(by_epoch=True, max_epochs=10, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=32)
