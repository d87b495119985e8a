"""MobileNetV2 on ImageNet from scratch, 8 GPUs x 32 images.

bash tools/dist_train.sh configs/mobilenet_v2/mobilenet-v2_8xb32_in1k.py 8
"""
_base_ = [
    '../_base_/models/mobilenet_v2_1x.py',
    '../_base_/datasets/imagenet_bs32.py',
    '../_base_/schedules/imagenet_bs256.py',
    '../_base_/default_runtime.py',
]

# the rate, its decay by 2 percent an epoch and the small weight decay of Sandler et al. 2018 (arXiv:1801.04381)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.045, momentum=0.9, weight_decay=0.00004))
param_scheduler = dict(_delete_=True, type='StepLR', by_epoch=True, step_size=1, gamma=0.98)
train_cfg = dict(max_epochs=300)
