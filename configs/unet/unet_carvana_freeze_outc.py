"""U-Net on Carvana's cars with a frozen last layer: weight and bias of `head.outc.conv` do not learn.

python tools/print_params.py configs/unet/unet_carvana_freeze_outc.py   # lists them as frozen
python tools/train.py configs/unet/unet_carvana_freeze_outc.py
"""
_base_ = ['./unet_carvana.py']

model = dict(freeze=['outc'])
