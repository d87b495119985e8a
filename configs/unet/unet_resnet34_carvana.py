"""U-Net on Carvana's cars whose encoder is a ResNet-34 pretrained on ImageNet.

python tools/train.py configs/unet/unet_resnet34_carvana.py
"""
_base_ = ['./unet_carvana.py']

model = dict(
    _delete_=True,
    type='ImageSegmentor',
    backbone=dict(
        type='ResNet',
        depth=34,
        # maps of 1/4, 1/8, 1/16 and 1/32 of the image
        out_indices=(0, 1, 2, 3),
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet34')),
    decoder=dict(type='UNetDecoder', channels=(256, 128, 64, 32, 16)),
    head=dict(type='PixelHead', loss=dict(type='BCEWithLogitsLoss')))
# the statistics that the encoder was trained with
data_preprocessor = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
