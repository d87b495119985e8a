"""ResNet-50 as a feature extractor: it is frozen, and only a new 10-way classifier learns CIFAR-10.

python tools/train.py configs/tutorial/resnet50_feature_extract.py

Not measured here: torchvision's weights and the whole of CIFAR-10 were not available.
"""
_base_ = ['./resnet50_finetune_cifar_torchvision.py']

# everything but the head; frozen BatchNorm keeps ImageNet's statistics
model = dict(backbone=dict(frozen_stages=-1), freeze=['^backbone'])
# Adam at its default rate, for the classifier only; weight decay is not needed
optim_wrapper = dict(optimizer=dict(_delete_=True, type='Adam', lr=0.001))
param_scheduler = None
train_cfg = dict(max_epochs=10)
