"""Ants and bees for a search: a quarter of the training photos validate, so that the reported photos choose nothing.

python tools/tune.py configs/search/hymenoptera.py --space 'optim_wrapper.optimizer.lr=loguniform(1e-3,0.3)' \
    'model.backbone.frozen_stages=int(-1,3)' 'optim_wrapper.optimizer.weight_decay=loguniform(1e-5,1e-2)' \
    --trials 20 --prune

The results are in docs/small_data.md.
"""
_base_ = ['../strategies/finetune.py']

train_dataloader = dict(dataset=dict(split='train', val_fraction=0.25))
val_dataloader = dict(dataset=dict(data_prefix='train', split='val', val_fraction=0.25))
train_cfg = dict(max_epochs=6, val_interval=1)
param_scheduler = dict(T_max=6)
