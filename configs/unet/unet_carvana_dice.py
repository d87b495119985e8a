"""U-Net on Carvana's cars with the Dice loss instead of cross entropy.

python tools/train.py configs/unet/unet_carvana_dice.py
"""
_base_ = ['./unet_carvana.py']

model = dict(head=dict(loss=dict(_delete_=True, type='DiceLoss')))
