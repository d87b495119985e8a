"""Ants and bees at 32 pixels with each augmentation in turn, for a comparison.

python tools/compare.py configs/augmentation/hymenoptera.py \
    --arms plain,randaugment,trivial,erasing,mixup,cutmix,smoothing --seeds 3

One CPU core, photos reduced to 96 pixels: one minute per run. Seed 0: 74.51 % for plain; the table is in
docs/small_data.md.
"""
_base_ = ['../strategies/head_x10.py']


def _with(*steps):
    """Return the training pipeline of `head_x10.py` with some steps before the packing."""
    return [
        dict(type='LoadImageFromFile'),
        dict(type='RandomResizedCrop', scale=32, crop_ratio_range=(0.35, 1.0), backend='pillow'),
        dict(type='RandomFlip', prob=0.5, direction='horizontal'), *steps,
        dict(type='PackInputs')
    ]


_pipeline = 'train_dataloader.dataset.pipeline'
_mixing = 'data_preprocessor.batch_augments'
arms = dict(
    plain={},
    randaugment={_pipeline: _with(dict(type='RandAugment', num_ops=2, magnitude=9))},
    trivial={_pipeline: _with(dict(type='TrivialAugmentWide'))},
    # a quarter of the images: the paper's half is too much at 32 pixels
    erasing={_pipeline: _with(dict(type='RandomErasing', erase_prob=0.25))},
    mixup={_mixing: dict(augments=[dict(type='Mixup', alpha=0.2)])},
    cutmix={_mixing: dict(augments=[dict(type='CutMix', alpha=1.0)], probs=[0.5])},
    smoothing={'model.head.loss': dict(type='LabelSmoothLoss', label_smooth_val=0.1, _delete_=True)})
