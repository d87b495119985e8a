"""ImageNet at 224x224, 32 images per GPU."""
dataset_type = 'ImageNet'
data_preprocessor = dict(
    num_classes=1000,
    # Statistics of ImageNet's training set, RGB.
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    # Files are read as BGR; the preprocessor converts them to RGB.
    to_rgb=True,
)

# OpenMMLab's weights were trained with these pipelines. The weights of torchvision and timm were trained with
# antialiased resizing: with them, set backend='pillow' in RandomResizedCrop and ResizeEdge.
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=224),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=256, edge='short'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]

# 256 = 8 GPUs x 32: the total batch that schedules/imagenet_bs256.py is made for.
train_dataloader = dict(
    batch_size=32,
    num_workers='auto',
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type=dataset_type, data_root='data/imagenet/', split='train', pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=32,
    num_workers='auto',
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type=dataset_type, data_root='data/imagenet/', split='val', test_mode=True, pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_evaluator = val_evaluator
