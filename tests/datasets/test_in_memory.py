"""Batches of images in memory, by one gather, are those of the path through each sample."""
import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.dataset import default_collate, pseudo_collate
from torch.utils.data import ConcatDataset, DataLoader, Subset

from ftcls.datasets import DigitPairs, Digits, KFoldDataset
from ftcls.datasets.in_memory import join
from ftcls.models import ClsDataPreprocessor
from ftcls.models.heads import LinearClsHead
from ftcls.registry import DATASETS
from ftcls.structures import DataSample, PackedBatch, SampleBatch, is_stacked

PACK = [dict(type='PackInputs')]


def known(sample: DataSample) -> tuple:
    return {key: value.tolist() for key, value in sample.items()}, dict(sample.metainfo)


def one_by_one(dataset: Any, indices: list[int]) -> tuple[torch.Tensor, list]:
    samples = [dataset[index] for index in indices]
    return torch.stack([one['inputs'] for one in samples]), [known(one['data_samples']) for one in samples]


@pytest.mark.parametrize('pipeline', [PACK, [dict(type='PackInputs', meta_keys=('img_shape', ))]])
def test_a_gather_is_the_same(pipeline: list) -> None:
    dataset = Digits(pipeline=pipeline)
    indices = [5, 0, 5, 700, len(dataset) - 1]
    inputs, samples = one_by_one(dataset, indices)
    batch = dataset.__getitems__(indices)
    assert isinstance(batch, PackedBatch) and len(batch) == 5
    assert torch.equal(batch.inputs, inputs) and batch.inputs.dtype == torch.uint8
    assert batch.inputs.stride() == inputs.stride()  # not channels-last
    assert is_stacked(batch.data_samples)
    copied = pickle.loads(pickle.dumps(batch))
    assert list(map(known, copied.data_samples)) == samples
    assert [known(one['data_samples']) for one in batch] == samples and not is_stacked(batch.data_samples)


@pytest.mark.parametrize('indices', [None, [5, 0, 700]])
def test_classes_are_counted_and_images_are_copies(indices: list[int] | None) -> None:
    dataset = Digits(pipeline=PACK, indices=indices)
    labels = list(dataset.get_gt_labels())
    assert dataset.class_counts() == {name: labels.count(label) for label, name in enumerate(dataset.CLASSES)}
    drawn = copy.deepcopy(dataset)
    drawn.get_subset_([0] * len(dataset))  # as many, and the first one is the same
    assert max(drawn.class_counts().values()) == len(dataset)
    dataset.get_data_info(1)['img'][:] = 0
    assert dataset.get_data_info(1)['img'].any() and dataset.get_data_info(1)['img'].flags['C_CONTIGUOUS']


@pytest.mark.parametrize('collate', [default_collate, pseudo_collate])
@pytest.mark.parametrize('wrap', [
    lambda d: d, lambda d: Subset(d, [9, 3, 4, 8]),
    lambda d: ConcatDataset([d, Digits(subset='target', pipeline=PACK)]), lambda d: KFoldDataset(d, fold=1),
    lambda d: d.get_subset_([0] * len(d)) or d, lambda d: d.get_subset_([30, 10, 20]) or d,
    lambda d: d.get_subset_(list(range(len(d)))[::-1]) or d
])
def test_wrapped_and_in_a_loader(collate: Any, wrap: Any) -> None:
    dataset = wrap(Digits(pipeline=PACK))
    sampler = list(range(len(dataset)))[:10]
    loader = DataLoader(dataset, batch_size=4, sampler=sampler, collate_fn=lambda samples: join(collate, samples))
    for start, batch in zip(range(0, len(sampler), 4), loader):
        inputs, samples = one_by_one(dataset, sampler[start:start + 4])
        assert torch.equal(torch.stack(list(batch['inputs'])), inputs)
        assert list(map(known, batch['data_samples'])) == samples
    foreign = next(iter(DataLoader(dataset, batch_size=3, collate_fn=lambda samples: [s['inputs'] for s in samples])))
    assert len(foreign) == 3


def test_not_gathered() -> None:
    """Another pipeline, several labels, a subclass that reads in its own way."""

    @DATASETS.register_module(force=True)
    class Inverted(Digits):

        def get_data_info(self, idx: int) -> dict:
            info = super().get_data_info(idx)
            return {**info, 'img': 255 - info['img']}

    for dataset in (Digits(pipeline=[dict(type='Resize', scale=16), *PACK]), DigitPairs(pairs=20, pipeline=PACK),
                    Inverted(pipeline=PACK), Digits(pipeline=PACK, serialize_data=False)):
        batch = dataset.__getitems__([1, 0])
        assert isinstance(batch, list) and torch.equal(batch[1]['inputs'], dataset[0]['inputs'])
    DATASETS.module_dict.pop('Inverted')


def test_the_images_cannot_be_written_into() -> None:
    dataset = Digits(pipeline=PACK)
    before = dataset.images.clone()
    image = dataset.get_data_info(3)['img']
    assert image.shape == (8, 8, 1) and image.flags.c_contiguous
    np.add(image, 1, out=image)
    dataset[3]['inputs'].zero_()
    assert torch.equal(dataset.images, before)


@pytest.mark.parametrize('scores', [False, True])
def test_loss_and_prediction_of_stacked_samples(scores: bool) -> None:
    """Preprocessor and head give the same as for single samples, bit for bit, and make none for the loss."""
    dataset, pre = Digits(pipeline=PACK), ClsDataPreprocessor([127.], [64.], num_classes=10, to_onehot=scores)
    head = LinearClsHead(10, 64)
    gathered = pre(join(pseudo_collate, dataset.__getitems__([4, 9, 2])), training=True)
    single = pre(pseudo_collate([dataset[i] for i in (4, 9, 2)]), training=True)
    assert torch.equal(gathered['inputs'], single['inputs'])
    feats = (gathered['inputs'].flatten(1), )
    assert torch.equal(
        head.loss(feats, gathered['data_samples'])['loss'],
        head.loss(feats, single['data_samples'])['loss'])
    assert isinstance(gathered['data_samples'], SampleBatch) and is_stacked(gathered['data_samples'])
    predicted = [head.predict(feats, samples['data_samples']) for samples in (gathered, single)]
    assert list(map(known, predicted[0])) == list(map(known, predicted[1]))
