"""Ways to fine-tune ImageNet's EfficientNet-lite0 to TrashNet, compared: 6 classes, none of them ImageNet's.

    data/trashnet/
    ├── cardboard/*.jpg
    ├── glass/*.jpg
    └── ...

python tools/compare.py configs/strategies/lite0/trashnet_128px.py --arms scratch,probe,finetune,lpft --seeds 5

A quarter of each class is held out, and measured once per run: scratch 45.73 ± 4.42, probe 79.10 ± 1.92, finetune
78.65 ± 1.19 %, 5 seeds; at most 46 seconds of training on one core. All tables are in docs/strategies.md.
"""
_base_ = ['../_base_/lite0_128px.py']

train_dataloader = dict(dataset=dict(split='train', val_fraction=0.25, split_seed=0))
val_dataloader = dict(dataset=dict(split='val', val_fraction=0.25, split_seed=0))
test_dataloader = val_dataloader
arms = dict(probe={'optim_wrapper.optimizer.lr': 0.003})
