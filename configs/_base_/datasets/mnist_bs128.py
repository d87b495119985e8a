"""MNIST, enlarged to 32x32, 128 images per GPU."""
dataset_type = 'MNIST'
data_preprocessor = dict(
    num_classes=10,
    # MMClassification's statistics for LeNet-5 at 32x32, one channel.
    mean=[33.46],
    std=[78.87],
    # One channel has no order.
    to_rgb=False,
)

# 32x32 is the size that LeNet-5 was made for.
train_pipeline = [
    dict(type='Resize', scale=32),
    dict(type='PackInputs'),
]
test_pipeline = train_pipeline

train_dataloader = dict(
    batch_size=128,
    num_workers='auto',
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type=dataset_type, data_root='data/mnist/', split='train', pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=128,
    num_workers='auto',
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type=dataset_type, data_root='data/mnist/', split='test', test_mode=True, pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = dict(type='Accuracy', topk=(1, ))
test_evaluator = val_evaluator
