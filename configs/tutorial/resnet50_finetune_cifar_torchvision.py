"""The tutorial's example from torchvision's ImageNet weights instead of OpenMMLab's.

python tools/train.py configs/tutorial/resnet50_finetune_cifar_torchvision.py
"""
_base_ = ['./resnet50_finetune_cifar.py']

model = dict(
    backbone=dict(
        init_cfg=dict(
            _delete_=True,
            type='Pretrained',
            # the file's keys have no prefix; its classifier `fc` is not loaded
            checkpoint='torchvision://resnet50')))

# torchvision's weights were trained on antialiased images; enlarging 32 to 224 pixels is the same either way
train_pipeline = [
    dict(type='RandomCrop', crop_size=32, padding=4),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='Resize', scale=224, backend='pillow'),
    dict(type='PackClsInputs'),
]
test_pipeline = [
    dict(type='Resize', scale=224, backend='pillow'),
    dict(type='PackClsInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
