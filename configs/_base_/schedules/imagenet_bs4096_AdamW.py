"""Training on ImageNet from scratch: AdamW over 300 epochs, total batch 4096, as ViT is trained (arXiv:2010.11929)."""
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=0.003, weight_decay=0.3),
    # neither the class token nor the position embeddings decay
    paramwise_cfg=dict(custom_keys={
        '.cls_token': dict(decay_mult=0.0),
        '.pos_embed': dict(decay_mult=0.0)
    }))

param_scheduler = [
    # the rate rises over 30 epochs, step by step
    dict(type='LinearLR', start_factor=1e-4, by_epoch=True, begin=0, end=30, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=270, by_epoch=True, begin=30, end=300),
]

train_cfg = dict(by_epoch=True, max_epochs=300, val_interval=1)
val_cfg = dict()
test_cfg = dict()

# 4096 = 64 GPUs x 64 images
auto_scale_lr = dict(base_batch_size=4096)
