"""CIFAR-100 at its own size of 32x32, 16 images per GPU."""
dataset_type = 'CIFAR100'
data_preprocessor = dict(
    num_classes=100,
    # Statistics of CIFAR-100's training set. Fine-tuning needs those of the pretrained weights instead.
    mean=[129.304, 124.070, 112.434],
    std=[68.170, 65.392, 70.418],
    # The model expects RGB; these images are RGB already and are not changed.
    to_rgb=True,
)

train_pipeline = [
    dict(type='RandomCrop', crop_size=32, padding=4),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [dict(type='PackInputs')]

# 128 = 8 GPUs x 16: the total batch that schedules/cifar10_bs128.py is made for.
train_dataloader = dict(
    batch_size=16,
    num_workers='auto',
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type=dataset_type, data_root='data/cifar100/', split='train', pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=16,
    num_workers='auto',
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type=dataset_type, data_root='data/cifar100/', split='test', test_mode=True, pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = dict(type='Accuracy', topk=(1, ))
test_evaluator = val_evaluator
