"""ResNet-50 as a feature extractor: all of it frozen, a new 10-way classifier on top learns CIFAR-10 alone.

python tools/train.py configs/tutorial/resnet50_feature_extract.py

Not measured here: neither torchvision's weights nor all of CIFAR-10 are at hand.
"""
_base_ = ['./resnet50_finetune_cifar_torchvision.py']

# everything but the head; frozen BatchNorm keeps ImageNet's statistics
model = dict(backbone=dict(frozen_stages=-1), freeze=['^backbone'])
# Adam at its own rate, on the classifier alone; there is nothing that weight decay would have to hold
optim_wrapper = dict(optimizer=dict(_delete_=True, type='Adam', lr=0.001))
param_scheduler = None
train_cfg = dict(max_epochs=10)
