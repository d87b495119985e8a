"""Scikit-learn's embedded digits, the half to pretrain on: 8x8, enlarged to 32x32; nothing to download."""
dataset_type = 'Digits'
data_preprocessor = dict(
    num_classes=10,
    # Statistics of the source half's training set, one channel.
    mean=[78.08],
    std=[82.57],
    # One channel has no order.
    to_rgb=False,
)

# 32x32 is the size that LeNet-5 was made for.
train_pipeline = [
    dict(type='Resize', scale=32),
    dict(type='PackInputs'),
]
test_pipeline = train_pipeline

# No worker processes: the images are tiny and in memory.
train_dataloader = dict(
    batch_size=32,
    num_workers=0,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type=dataset_type, subset='source', split='train', pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=256,
    num_workers=0,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type=dataset_type, subset='source', split='val', test_mode=True, pipeline=test_pipeline))
test_dataloader = dict(
    batch_size=256,
    num_workers=0,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type=dataset_type, subset='source', split='test', test_mode=True, pipeline=test_pipeline))

val_evaluator = dict(type='Accuracy', topk=(1, ))
test_evaluator = val_evaluator
