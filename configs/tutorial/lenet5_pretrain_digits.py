"""Make the source checkpoint of the demo: LeNet-5 on half of scikit-learn's digits, light ink on dark.

python tools/train.py configs/tutorial/lenet5_pretrain_digits.py

One CPU, seconds. `lenet5_finetune_digits.py` starts from what it leaves in work_dirs/lenet5_pretrain_digits/.
"""
_base_ = ['../_base_/models/lenet5.py', '../_base_/datasets/digits.py', '../_base_/default_runtime.py']

train_dataloader = dict(dataset=dict(subset='source', split='train', invert=False))
val_dataloader = dict(dataset=dict(subset='source', split='test', invert=False))
test_dataloader = dict(dataset=dict(subset='source', split='test', invert=False))

optim_wrapper = dict(optimizer=dict(type='Adam', lr=0.002))
param_scheduler = dict(type='CosineAnnealingLR', by_epoch=True, T_max=15, convert_to_iter_based=True)
train_cfg = dict(by_epoch=True, max_epochs=15, val_interval=1)
val_cfg = dict()
test_cfg = dict()

# the demo's numbers can be made again
randomness = dict(seed=0)
