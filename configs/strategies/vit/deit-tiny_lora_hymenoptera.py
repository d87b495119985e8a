"""LoRA on DeiT-tiny at 224 pixels: the linear layers of its blocks get adapters, and checkpoints are megabytes.

python tools/train.py configs/strategies/vit/deit-tiny_lora_hymenoptera.py
python tools/merge_adapter.py work_dirs/deit-tiny_lora_hymenoptera

It needs `pip install timm peft`. No weights of a ViT were at hand: unproven here.
"""
_base_ = ['../../tutorial/cifar_resnet20_finetune_hymenoptera.py']

model = dict(
    _delete_=True,
    type='ImageClassifier',
    backbone=dict(
        type='TIMMBackbone',
        model_name='deit_tiny_patch16_224',
        init_cfg=dict(
            type='Pretrained', checkpoint='https://dl.fbaipublicfiles.com/deit/deit_tiny_patch16_224-a1311bcf.pth')),
    head=dict(type='LinearClsHead', num_classes=2, in_channels=192),
    # 'auto' takes qkv, proj, fc1 and fc2 of each block; Hu et al. 2021 scale by alpha / r
    adapter=dict(type='LoRA', r=8, alpha=16, dropout=0.1, target_modules='auto'))

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=224, crop_ratio_range=(0.35, 1.0), backend='pillow', interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=256, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=0.001, weight_decay=0.), paramwise_cfg=None)
# the frozen weights stay in their own file
default_hooks = dict(checkpoint=dict(adapter_only=True))
