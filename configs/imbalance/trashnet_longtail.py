"""Fine-tuning to TrashNet with uneven classes, 82 photos of cardboard down to 5 of trash, and two remedies.

python tools/compare.py configs/imbalance/trashnet_longtail.py --arms none,weights,sampler --seeds 5

Mean recall of the classes over 178 test photos, 5 seeds: none 61.87 ± 4.45, weights 61.23 ± 4.04, sampler
62.79 ± 4.57 %; about 80 seconds per run on one slow core. The recall per class is in docs/small_data.md.
"""
_base_ = ['../strategies/lite0/trashnet_128px.py']

# what `new_config` writes for so few photos
model = dict(backbone=dict(frozen_stages=2), norm_policy='eval')
optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=0.0003, weight_decay=0.05))

# 16:1, falling by the same factor from class to class (Cui et al. 2019, arXiv:1901.05555); each seed draws anew
train_dataloader = dict(
    dataset=dict(shots_per_class=dict(cardboard=82, glass=47, metal=27, paper=16, plastic=9, trash=5)))

# the mean recall over the classes, since the test photos are even; then the recall per class
val_evaluator = [
    dict(type='SingleLabelMetric', items=('recall', )),
    dict(type='SingleLabelMetric', items=('recall', ), average=None),
]
test_evaluator = val_evaluator

param_scheduler = dict(T_max=12)
train_cfg = dict(max_epochs=12, val_interval=12)
default_hooks = dict(checkpoint=dict(interval=12))

arms = dict(
    _delete_=True,
    none={},
    weights={'model.head.loss.class_weight': 'balanced'},
    sampler={'train_dataloader.sampler': dict(type='BalancedSampler', _delete_=True)},
)
