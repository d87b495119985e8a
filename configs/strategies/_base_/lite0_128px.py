"""EfficientNet-lite0 with ImageNet weights at 128 pixels, so that runs are cheap on a CPU; others set the data.

    data/tf_efficientnet_lite0-57934424.safetensors     from https://huggingface.co/timm/tf_efficientnet_lite0.in1k
"""
_base_ = ['../../_base_/models/efficientnet_lite0.py', '../../_base_/default_runtime.py']

model = dict(head=dict(num_classes=6))
data_preprocessor = dict(num_classes=6)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=128, crop_ratio_range=(0.35, 1.0), backend='pillow', interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=144, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=128),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    batch_size=16,
    num_workers=0,
    dataset=dict(type='CustomDataset', data_root='data/trashnet', pipeline=train_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'))
val_dataloader = dict(
    batch_size=32,
    num_workers=0,
    dataset=dict(type='CustomDataset', data_root='data/trashnet', pipeline=test_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'))
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=(1, ))
test_evaluator = val_evaluator

optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=0.0001))
param_scheduler = dict(type='CosineAnnealingLR', by_epoch=True, T_max=6, convert_to_iter_based=True)
train_cfg = dict(by_epoch=True, max_epochs=6, val_interval=6)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=16)
# the last weights are those that are measured: nothing is chosen on the reported images
default_hooks = dict(checkpoint=dict(interval=6, save_best=None))


def _rates_by_stage(rate, **changes):
    """Return settings that give stages rates of their own, and the head this one."""
    return {
        'optim_wrapper.optimizer.lr': rate,
        'optim_wrapper.constructor': 'LearningRateDecayOptimWrapperConstructor',
        'optim_wrapper.paramwise_cfg': dict(**changes)
    }


def _with(*steps):
    """Return the training pipeline with some steps before the packing."""
    return {'train_dataloader.dataset.pipeline': [*train_pipeline[:-1], *steps, train_pipeline[-1]]}


_mixing = 'data_preprocessor.batch_augments'
# for `tools/compare.py`; each rate is the best on held-out training images of TrashNet (benchmarks/choose_rates.py);
# of hymenoptera too, but for what the two configs set
arms = dict(
    scratch={'optim_wrapper.optimizer.lr': 0.03},
    head_x10={
        'optim_wrapper.optimizer.lr': 0.001,
        'optim_wrapper.paramwise_cfg': dict(custom_keys={'^head': dict(lr_mult=10)})
    },
    layer_decay=_rates_by_stage(0.01, layer_decay_rate=0.5),
    discriminative=_rates_by_stage(0.01, lr_mult_range=(0.01, 1.)),
    unfreezing={'custom_hooks': [dict(type='GradualUnfreezingHook', every=1)]},
    frozen_stem={'model.backbone.frozen_stages': 2},
    l2sp={
        'optim_wrapper.optimizer.weight_decay': 0,
        'custom_hooks': [dict(type='L2SPHook', alpha=0.01, beta=0.01)]
    },
    ema={'custom_hooks': [dict(type='EMAHook', momentum=0.05)]},
    bn_eval={
        'optim_wrapper.optimizer.lr': 0.001,
        'model.norm_policy': 'eval'
    },
    bn_frozen={
        'optim_wrapper.optimizer.lr': 0.001,
        'model.norm_policy': 'frozen'
    },
    bitfit={
        'optim_wrapper.optimizer.lr': 0.03,
        'model.freeze': ['^backbone', '!bias$']
    },
    norm_only={
        'optim_wrapper.optimizer.lr': 0.01,
        'model.freeze': ['^backbone', '!bn']
    },
    lora={
        'model.adapter': dict(type='LoRA', r=8, alpha=16, target_modules='auto'),
        'optim_wrapper.optimizer': dict(type='AdamW', lr=0.001, weight_decay=0., _delete_=True)
    },
    # augmentation, with the rate of finetune
    randaugment=_with(dict(type='RandAugment', num_ops=2, magnitude=9)),
    trivial=_with(dict(type='TrivialAugmentWide')),
    erasing=_with(dict(type='RandomErasing', erase_prob=0.25)),
    mixup={_mixing: dict(augments=[dict(type='Mixup', alpha=0.2)])},
    cutmix={_mixing: dict(augments=[dict(type='CutMix', alpha=1.0)], probs=[0.5])},
    smoothing={'model.head.loss': dict(type='LabelSmoothLoss', label_smooth_val=0.1, _delete_=True)})
# every arm computes alike, whatever the machine would choose
speed = dict(channels_last=True, amp=False)
