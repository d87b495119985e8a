"""U-Net on cell membranes whose encoder is an EfficientNet-lite0 pretrained on ImageNet.

    data/membrane/                                      as for unet_membrane.py
    data/tf_efficientnet_lite0-57934424.safetensors     from https://huggingface.co/timm/tf_efficientnet_lite0.in1k

python tools/compare.py configs/unet/unet_lite0_membrane.py --arms scratch,finetune --seeds 3

40 seconds per run on one CPU thread: mean Dice 80.2 ± 0.3 over the 4 validation images, from scratch 74.0 ± 0.8, 3
seeds. More results are in docs/segmentation.md.
"""
_base_ = ['./unet_membrane.py']

model = dict(
    backbone=dict(
        _delete_=True,
        type='TIMMBackbone',
        model_name='tf_efficientnet_lite0',
        # maps of 1/2, 1/4, 1/8, 1/16 and 1/32 of the image
        features_only=True,
        in_channels=1,
        # grey images: the weights of the three colours are summed
        init_cfg=dict(
            type='Pretrained', checkpoint='data/tf_efficientnet_lite0-57934424.safetensors', adapt_input='sum')),
    # four steps join the maps, the fifth reaches the full size
    decoder=dict(type='UNetDecoder', channels=(128, 64, 32, 16, 16)))
# what the weights were trained with
data_preprocessor = dict(mean=[127.5], std=[127.5])

# the best of 0.001, 0.003 and 0.01 on four of the training images
optim_wrapper = dict(optimizer=dict(lr=0.003))
# 24 epochs of 5 steps
train_cfg = dict(max_epochs=24, val_interval=12)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=True, end=2, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=2, end=24, T_max=22, convert_to_iter_based=True),
]
default_hooks = dict(checkpoint=dict(interval=12))

# for `tools/compare.py`; the best rate from random weights, found in the same way
arms = dict(_delete_=True, scratch={'optim_wrapper.optimizer.lr': 0.01})
