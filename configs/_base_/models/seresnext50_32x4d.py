"""SE-ResNeXt-50 32x4d for ImageNet: 1000 classes. The pixel statistics are in the dataset config."""
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='SEResNeXt',
        depth=50,
        num_stages=4,
        out_indices=(3, ),
        groups=32,
        width_per_group=4,
        se_ratio=16,
        style='pytorch'),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=2048,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
        topk=(1, 5),
    ))
