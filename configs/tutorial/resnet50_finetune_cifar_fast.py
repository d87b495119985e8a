"""The tutorial's example, with the images prepared as whole batches on the device of the model.

python tools/train.py configs/tutorial/resnet50_finetune_cifar_fast.py

The distribution of the images is the same: each has its own crop and flip. Resized pixels are within one grey level.
"""
_base_ = ['./resnet50_finetune_cifar.py']

data_preprocessor = dict(batch_transforms=[
    dict(type='RandomCrop', crop_size=32, padding=4),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    # not random: applied in validation, test and prediction too
    dict(type='Resize', scale=224),
])

# packing alone: a batch is one gather from memory, for which the main process needs no workers
pipeline = [dict(type='PackClsInputs')]
train_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(pipeline=pipeline))
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(pipeline=pipeline))
test_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(pipeline=pipeline))
