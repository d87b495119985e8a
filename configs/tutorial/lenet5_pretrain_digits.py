"""Make the source checkpoint of the demo: LeNet-5 on half of scikit-learn's digits, light ink on dark.

python tools/train.py configs/tutorial/lenet5_pretrain_digits.py

One CPU, seconds. `lenet5_finetune_digits.py` starts from its last checkpoint in work_dirs/lenet5_pretrain_digits/.
"""
_base_ = ['../_base_/datasets/digits.py', '../_base_/default_runtime.py']

model = dict(
    type='ImageClassifier',
    # LeNet-5 up to its 120 features, without the classifier of 1998
    backbone=dict(type='LeNet5', num_classes=-1),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead', num_classes=10, in_channels=120, loss=dict(type='CrossEntropyLoss', loss_weight=1.0)))

optim_wrapper = dict(optimizer=dict(type='Adam', lr=0.002))
param_scheduler = dict(type='CosineAnnealingLR', by_epoch=True, T_max=15, convert_to_iter_based=True)
train_cfg = dict(by_epoch=True, max_epochs=15, val_interval=1)
val_cfg = dict()
test_cfg = dict()

# makes the demo's numbers reproducible
randomness = dict(seed=0)
