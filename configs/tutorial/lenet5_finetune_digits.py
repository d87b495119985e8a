"""Adapt LeNet-5 from light digits on dark to dark digits on light, with 3 labelled scans per class: the demo.

python tools/train.py configs/tutorial/lenet5_pretrain_digits.py   # makes the source checkpoint
python tools/train.py configs/tutorial/lenet5_finetune_digits.py

One CPU, seconds. `make demo` compares it with training from scratch and a linear probe, three seeds each.

87.59 ± 3.24 % of 771 test scans right, a linear probe 85.78 ± 2.79, from scratch 74.97 ± 2.99, 3 seeds.
"""
_base_ = ['./lenet5_pretrain_digits.py']

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            # the last epoch of lenet5_pretrain_digits.py
            checkpoint='work_dirs/lenet5_pretrain_digits/epoch_15.pth',
            # its classifier is not loaded: a new one is trained
            prefix='backbone')))

# The other half of the scans with inverted polarity: 3 per class train, 100 choose the rates (`val`), the others test.
train_dataloader = dict(batch_size=10, dataset=dict(subset='target', split='train', invert=True, shots_per_class=3))
val_dataloader = dict(dataset=dict(subset='target', split='val', invert=True, shots_per_class=3))
test_dataloader = dict(dataset=dict(subset='target', split='test', invert=True, shots_per_class=3))

optim_wrapper = dict(
    optimizer=dict(type='Adam', lr=0.0003),
    # the new classifier learns ten times as fast as the backbone
    paramwise_cfg=dict(custom_keys={'^head': dict(lr_mult=10)}))
# 60 epochs of 3 steps
param_scheduler = dict(T_max=60)
train_cfg = dict(max_epochs=60, val_interval=5)
# checkpoints of the last epoch only: the run takes seconds
default_hooks = dict(checkpoint=dict(interval=60))

# The best of 0.0003, 0.001, 0.003 and 0.01 on `val` (benchmarks/digits_rates.py; scratch: a tie with 0.003).
arms = dict(
    scratch={
        'optim_wrapper.optimizer.lr': 0.001,
        'optim_wrapper.paramwise_cfg': None
    },
    probe={'optim_wrapper.optimizer.lr': 0.001})
