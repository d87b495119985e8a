"""U-Net on Carvana's cars in mixed precision: bfloat16 if the GPU has it, else float16 with a scaled loss.

python tools/train.py configs/unet/unet_carvana_amp.py

The losses and metrics sum in float32: a sum over 256x256 pixels does not fit into float16.
"""
_base_ = ['./unet_carvana.py']

optim_wrapper = dict(type='AmpOptimWrapper', loss_scale='dynamic')
