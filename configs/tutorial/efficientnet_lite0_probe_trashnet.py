"""Linear probe of EfficientNet-lite0 on TrashNet: ImageNet's features, computed once, and a new 6-way classifier.

    data/trashnet/
    ├── cardboard/*.jpg
    ├── glass/*.jpg
    └── ...
    data/tf_efficientnet_lite0-57934424.safetensors     from https://huggingface.co/timm/tf_efficientnet_lite0.in1k

python tools/train.py configs/tutorial/efficientnet_lite0_probe_trashnet.py
"""
_base_ = ['../_base_/models/efficientnet_lite0.py', '../_base_/default_runtime.py']

model = dict(head=dict(num_classes=6), freeze=['^backbone'])
data_preprocessor = dict(num_classes=6)

# nothing random, so that the output of the frozen backbone is computed only once per image (feature_cache)
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=256, edge='short', backend='pillow'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    batch_size=32,
    dataset=dict(type='CustomDataset', data_root='data/trashnet', split='train', val_fraction=0.25, pipeline=pipeline),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'))
val_dataloader = dict(
    batch_size=32,
    dataset=dict(type='CustomDataset', data_root='data/trashnet', split='val', val_fraction=0.25, pipeline=pipeline),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'))
val_evaluator = dict(type='Accuracy', topk=(1, ))

optim_wrapper = dict(optimizer=dict(type='Adam', lr=0.001))
param_scheduler = dict(type='CosineAnnealingLR', by_epoch=True, T_max=30, convert_to_iter_based=True)
train_cfg = dict(by_epoch=True, max_epochs=30, val_interval=1)
val_cfg = dict()
