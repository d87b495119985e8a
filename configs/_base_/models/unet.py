"""U-Net for two classes, background and foreground, with the parameter names of public Carvana checkpoints."""
model = dict(
    type='ImageSegmentor',
    # 64, 128, 256, 512 and 1024 channels
    backbone=dict(type='UNet', in_channels=3, base_channels=64, num_stages=4, bilinear=False),
    head=dict(type='PixelHead', loss=dict(type='BCEWithLogitsLoss')))
