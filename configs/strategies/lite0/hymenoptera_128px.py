"""Ways to fine-tune ImageNet's EfficientNet-lite0 to ants and bees, compared; both are among ImageNet's classes.

    data/hymenoptera/
    ├── train/{ants,bees}/*.jpg
    └── val/{ants,bees}/*.jpg

python tools/compare.py configs/strategies/lite0/hymenoptera_128px.py --arms scratch,probe,finetune,lpft --seeds 5

The 153 photos of `val` are measured once per run. Tables and times are in docs/strategies.md.
"""
_base_ = ['../_base_/lite0_128px.py']

model = dict(head=dict(num_classes=2))
data_preprocessor = dict(num_classes=2)
train_dataloader = dict(dataset=dict(data_root='data/hymenoptera', data_prefix='train'))
val_dataloader = dict(dataset=dict(data_root='data/hymenoptera', data_prefix='val'))
test_dataloader = val_dataloader
arms = dict(norm_only={'optim_wrapper.optimizer.lr': 0.03})
