"""CIFAR-10 with uneven classes, 500 airplanes down to 25 trucks, and two remedies.

python tools/compare.py configs/imbalance/cifar10_longtail.py --arms none,weights,sampler --seeds 3

Mean recall of the classes over 1,017 test images, 3 seeds: none 29.76 ± 0.56, weights 37.68 ± 1.03,
sampler 41.38 ± 1.00 %; 2 to 8 minutes per run on one shared core. The recall per class is in docs/small_data.md.
(weights: when the loss was still divided by the sum of the weights in a batch, and not by the number of samples.)
"""
_base_ = ['../_base_/datasets/cifar10_bs16.py', '../_base_/default_runtime.py']

# an eighth of ResNet-18's width: 175,000 parameters, so that many runs are affordable on a CPU
model = dict(
    type='ImageClassifier',
    backbone=dict(type='ResNet_CIFAR', depth=18, stem_channels=8, base_channels=8),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=64, loss=dict(type='CrossEntropyLoss')))

# 20:1, falling by the same factor from class to class (Cui et al. 2019, arXiv:1901.05555); each seed draws anew
train_dataloader = dict(
    batch_size=64,
    num_workers=0,
    dataset=dict(
        shots_per_class=dict(
            airplane=500, automobile=358, bird=257, cat=184, deer=132, dog=95, frog=68, horse=49, ship=35, truck=25)))
val_dataloader = dict(batch_size=256, num_workers=0)
test_dataloader = val_dataloader

# the mean recall over the classes, since the test set is even; then the recall per class
val_evaluator = [
    dict(type='SingleLabelMetric', items=('recall', )),
    dict(type='SingleLabelMetric', items=('recall', ), average=None),
]
test_evaluator = val_evaluator

optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=0.0005, nesterov=True))
param_scheduler = dict(type='CosineAnnealingLR', by_epoch=True, T_max=20, convert_to_iter_based=True)
train_cfg = dict(by_epoch=True, max_epochs=20, val_interval=10)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=64)
default_hooks = dict(checkpoint=dict(interval=20, save_best=None))

arms = dict(
    none={},
    weights={'model.head.loss.class_weight': 'balanced'},
    sampler={'train_dataloader.sampler': dict(type='BalancedSampler', _delete_=True)},
)
