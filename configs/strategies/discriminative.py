"""Discriminative rates (Howard and Ruder 2018): a range, from the stem's rate to the head's in equal ratios.

python tools/train.py configs/strategies/discriminative.py

20 epochs on one CPU core, photos reduced to 96 pixels: 73.42 ± 1.89 % of 153 validation photos right, 3 seeds.
"""
_base_ = ['./_base_/hymenoptera_32px.py']

optim_wrapper = dict(
    constructor='LearningRateDecayOptimWrapperConstructor',
    # stem 0.003, layer1 0.0095, layer2 0.03, layer3 0.095, head 0.3
    optimizer=dict(lr=0.3),
    paramwise_cfg=dict(_delete_=True, lr_mult_range=(0.01, 1.)))
