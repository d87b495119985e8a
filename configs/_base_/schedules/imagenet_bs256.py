"""Training on ImageNet from scratch: SGD over 100 epochs, total batch 256, He et al. 2015 (arXiv:1512.03385)."""
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=0.0001))

# the rate falls to a tenth after epochs 30, 60 and 90
param_scheduler = dict(type='MultiStepLR', by_epoch=True, milestones=[30, 60, 90], gamma=0.1)

train_cfg = dict(by_epoch=True, max_epochs=100, val_interval=1)
val_cfg = dict()
test_cfg = dict()

# 256 = 8 GPUs x 32 images
auto_scale_lr = dict(base_batch_size=256)
