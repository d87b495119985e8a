_base_ = ['../_base_/lite0_128px.py']

train_dataloader = dict(dataset=dict(split='train', val_fraction=0.25, split_seed=0))
val_dataloader = dict(dataset=dict(split='val', val_fraction=0.25, split_seed=0))
test_dataloader = val_dataloader
