"""Training on CIFAR from scratch: SGD over 200 epochs, total batch 128, He et al. 2015 (arXiv:1512.03385)."""
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=0.0001))

# the rate falls to a tenth after epochs 100 and 150
param_scheduler = dict(type='MultiStepLR', by_epoch=True, milestones=[100, 150], gamma=0.1)

train_cfg = dict(by_epoch=True, max_epochs=200, val_interval=1)
val_cfg = dict()
test_cfg = dict()

# 128 = 8 GPUs x 16 images; `--batch-policy` decides what happens with other numbers
auto_scale_lr = dict(base_batch_size=128)
