"""The ResNet-20 of He et al., section 4.2, for images of 32x32 pixels: 0.27 million parameters. 10 classes."""
model = dict(
    type='ImageClassifier',
    backbone=dict(type='CifarResNet', depth=20, out_indices=(2, )),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=10,
        in_channels=64,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ))
