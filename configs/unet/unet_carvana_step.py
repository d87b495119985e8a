"""U-Net on Carvana's cars, the learning rate times 0.8 after each epoch.

python tools/train.py configs/unet/unet_carvana_step.py
"""
_base_ = ['./unet_carvana.py']

param_scheduler = dict(type='StepLR', by_epoch=True, step_size=1, gamma=0.8)
