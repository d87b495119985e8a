"""Training on ImageNet from scratch: AdamW over 300 epochs, total batch 1024, as Swin is trained (arXiv:2103.14030)."""
optim_wrapper = dict(
    # 0.001 = 5e-4 x 1024 / 512
    optimizer=dict(type='AdamW', lr=0.001, weight_decay=0.05, eps=1e-8, betas=(0.9, 0.999)),
    paramwise_cfg=dict(
        # norms, biases and other vectors do not decay, nor do tables of positions
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        flat_decay_mult=0.0,
        custom_keys={
            '.absolute_pos_embed': dict(decay_mult=0.0),
            '.relative_position_bias_table': dict(decay_mult=0.0)
        }))

param_scheduler = [
    # the rate rises over 20 epochs, step by step
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, end=20, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=20),
]

train_cfg = dict(by_epoch=True, max_epochs=300, val_interval=1)
val_cfg = dict()
test_cfg = dict()

# 1024 = 16 GPUs x 64 images
auto_scale_lr = dict(base_batch_size=1024)
