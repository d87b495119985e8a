"""EfficientNet-lite0 with ImageNet's weights, from a file (https://huggingface.co/timm/tf_efficientnet_lite0.in1k)."""
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='TIMMBackbone',
        model_name='tf_efficientnet_lite0',
        init_cfg=dict(type='Pretrained', checkpoint='data/tf_efficientnet_lite0-57934424.safetensors')),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=1000, in_channels=1280, loss=dict(type='CrossEntropyLoss'), topk=(1, )))
# what the weights were trained with
data_preprocessor = dict(
    type='ClsDataPreprocessor', num_classes=1000, mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5], to_rgb=True)
