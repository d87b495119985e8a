"""Fashion-MNIST, enlarged to 32x32, 128 images per GPU."""
dataset_type = 'FashionMNIST'
data_preprocessor = dict(
    num_classes=10,
    # Statistics of Fashion-MNIST's training set, one channel.
    mean=[72.94],
    std=[90.02],
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
    dataset=dict(type=dataset_type, data_root='data/fashion_mnist/', split='train', pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=128,
    num_workers='auto',
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type, data_root='data/fashion_mnist/', split='test', test_mode=True, pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = dict(type='Accuracy', topk=(1, ))
test_evaluator = val_evaluator
