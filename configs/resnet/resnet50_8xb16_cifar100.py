"""ResNet-50 with a 3 x 3 stem on CIFAR-100 from scratch, 8 GPUs x 16 images.

bash tools/dist_train.sh configs/resnet/resnet50_8xb16_cifar100.py 8
"""
_base_ = [
    '../_base_/models/resnet50_cifar.py',
    '../_base_/datasets/cifar100_bs16.py',
    '../_base_/schedules/cifar10_bs128.py',
    '../_base_/default_runtime.py',
]

model = dict(head=dict(num_classes=100))
optim_wrapper = dict(optimizer=dict(weight_decay=0.0005))
param_scheduler = dict(milestones=[60, 120, 160], gamma=0.2)
