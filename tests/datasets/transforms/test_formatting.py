"""Packing."""
import numpy as np
import pytest
import torch

from ftcls.datasets.transforms import Normalize, PackClsInputs, PackInputs, RandomFlip
from ftcls.registry import TRANSFORMS
from ftcls.structures import DataSample
from ftcls.utils import ConfigError

IMG = np.random.RandomState(0).randint(0, 256, (5, 7, 3), dtype=np.uint8)


def test_pack() -> None:
    data = {
        'img': IMG, 'gt_label': 2, 'gt_mask': np.ones((5, 7), np.uint8), 'img_path': 'a.png', 'ori_shape': (9, 9),
        'img_shape': (5, 7), 'channel_order': 'rgb', 'flip': True, 'extra': np.arange(3), 'other': 1
    }  # yapf: disable
    packed = PackInputs(algorithm_keys=['extra'])(data)
    assert set(packed) == {'inputs', 'data_samples'}
    inputs, sample = packed['inputs'], packed['data_samples']
    assert inputs.dtype == torch.uint8 and inputs.is_contiguous() and (inputs.numpy() == IMG.transpose(2, 0, 1)).all()
    assert isinstance(sample, DataSample) and sample.gt_label.tolist() == [2]
    assert sample.gt_mask.shape == (5, 7) and sample.gt_mask.dtype == torch.uint8
    assert sample.extra.tolist() == [0, 1, 2]
    assert sample.metainfo == {
        'img_path': 'a.png', 'ori_shape': (9, 9), 'img_shape': (5, 7), 'channel_order': 'rgb', 'flip': True
    }  # yapf: disable
    inputs.zero_()
    assert IMG.any()  # the tensor has memory of its own


def test_what_the_preprocessor_goes_by_is_always_packed() -> None:
    data = Normalize(mean=[0.] * 3, std=[1.] * 3)({'img': IMG})
    packed = PackInputs(meta_keys=())(data)
    assert packed['inputs'].dtype == torch.float32
    assert set(packed['data_samples'].metainfo) == {'img_norm_cfg', 'channel_order'}


def test_shapes_and_several_labels() -> None:
    assert PackInputs()({'img': IMG[..., 0]})['inputs'].shape == (1, 5, 7)
    assert PackInputs()({'img': IMG[::-1, ::2]})['inputs'].shape == (3, 5, 4)
    assert PackInputs()({'img': torch.zeros(3, 4, 4)})['inputs'].shape == (3, 4, 4)
    sample = PackInputs()({'img': IMG, 'gt_label': [0, 2], 'gt_score': np.array([1., 0., 1.])})['data_samples']
    assert sample.gt_label.tolist() == [0, 2] and sample.gt_score.tolist() == [1, 0, 1]
    with pytest.raises(ConfigError, match='LoadImageFromFile'):
        PackInputs()({'img_path': 'a.png'})
    with pytest.raises(TypeError, match='list'):
        PackInputs()({'img': [1]})


@pytest.mark.parametrize('channels', [1, 2, 3, 4, 6, 200])
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.float32, bool])
def test_images_of_all_kinds_are_packed_and_flipped(channels: int, dtype: type) -> None:
    img = np.random.RandomState(0).randint(0, 200, (10, 14, channels)).astype(dtype)
    img.flags.writeable = False
    for one in (img, img[::2, ::-2]):
        packed = PackInputs()({'img': one})['inputs']
        assert packed.is_contiguous() and (packed.numpy() == one.transpose(2, 0, 1)).all()
        for direction, axes in dict(horizontal=(1, ), vertical=(0, ), diagonal=(0, 1)).items():
            flipped = RandomFlip(1., direction)({'img': one})['img']
            assert flipped.shape == one.shape and (flipped == np.flip(one, axes)).all()


def test_both_names() -> None:
    assert TRANSFORMS.get('PackClsInputs') is TRANSFORMS.get('PackInputs') is PackInputs is PackClsInputs
