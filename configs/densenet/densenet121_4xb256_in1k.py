"""DenseNet-121 on ImageNet from scratch, 4 GPUs x 256 images.

bash tools/dist_train.sh configs/densenet/densenet121_4xb256_in1k.py 4
"""
_base_ = [
    '../_base_/models/densenet/densenet121.py',
    '../_base_/datasets/imagenet_bs32.py',
    '../_base_/schedules/imagenet_bs256.py',
    '../_base_/default_runtime.py',
]

train_dataloader = dict(batch_size=256)
train_cfg = dict(max_epochs=90)

# 1024 = 4 GPUs x 256 images
auto_scale_lr = dict(base_batch_size=1024)
