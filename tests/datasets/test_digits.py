"""The cuts of the embedded digits."""
import numpy as np
import pytest
from sklearn.datasets import load_digits

from ftcls.datasets import Digits
from ftcls.registry import DATASETS
from ftcls.utils import ConfigError


def keys(**kwargs: object) -> list[bytes]:
    """The pixels of each scan, as a key."""
    dataset = Digits(serialize_data=False, **kwargs)
    return [dataset.get_data_info(index)['img'].tobytes() for index in range(len(dataset))]


def test_everything_is_in_one_part_only() -> None:
    scans = [np.rint(scan * 255 / 16).astype(np.uint8).tobytes() for scan in load_digits().data]
    parts = [keys(subset='source', split=split) for split in ('train', 'val')]
    parts += [keys(subset='target', split=split, shots_per_class=3) for split in ('train', 'val', 'test')]
    assert sorted(sum(parts, [])) == sorted(scans)
    assert [len(part) for part in parts] == [717, 179, 30, 100, 771]


def test_parts_are_balanced() -> None:
    source, target = (sum(
        Digits(subset=subset, split=split, shots_per_class=3).get_gt_labels().tolist().count(3) for split in splits)
                      for subset, splits in (('source', ('train', 'val')), ('target', ('train', 'val', 'test'))))
    assert abs(source - target) <= 1
    assert set(Digits(subset='target', split='val').class_counts().values()) == {10}
    assert set(Digits(subset='target', split='train', shots_per_class=3).class_counts().values()) == {3}


def test_seed_draws_the_shots_only() -> None:
    for split in ('train', 'val'):
        assert keys(subset='source', split=split, seed=0) == keys(subset='source', split=split, seed=1)
    assert keys(subset='target', split='val', seed=0) == keys(subset='target', split='val', seed=1)
    shots = [keys(subset='target', split='train', shots_per_class=3, seed=seed) for seed in (0, 0, 1)]
    assert shots[0] == shots[1] != shots[2]
    val = set(keys(subset='target', split='val'))
    for seed in (0, 1):
        test = set(keys(subset='target', split='test', shots_per_class=3, seed=seed))
        assert not test & val and not test & set(shots[-1 if seed else 0])
    # More shots of the same seed hold the fewer ones.
    assert set(shots[0]) < set(keys(subset='target', split='train', shots_per_class=5))


def test_without_shots() -> None:
    pool = Digits(subset='target', split='train')
    assert len(pool) == 801
    with pytest.raises(ConfigError, match='needs the shots_per_class'):
        Digits(subset='target', split='test')
    assert keys(subset='source', split='test') == keys(subset='source', split='val')
    everything = keys(subset='all', split='train')
    assert sorted(everything) == sorted(keys(split='train') + keys(subset='target', split='train'))


def test_images() -> None:
    light, dark = Digits().get_data_info(5), Digits(invert=True).get_data_info(5)
    assert light['img'].shape == (8, 8, 1) and light['img'].dtype == np.uint8 and light['img_shape'] == (8, 8)
    assert light['img'].max() == 255 and (light['img'] + dark['img'] == 255).all()
    dataset = Digits()
    assert np.mean([dataset.get_data_info(index)['img'].mean() for index in range(20)]) < 128


def test_arguments() -> None:
    for wrong in (dict(subset='sauce'), dict(split='valid'), dict(shots_per_class=0),
                  dict(subset='target', shots_per_class=500)):  # yapf: disable
        with pytest.raises(ConfigError):
            DATASETS.build(dict(type='Digits', **wrong))
    dataset = Digits(classes=['9', '0'], pipeline=[dict(type='Resize', scale=32), dict(type='PackInputs')])
    assert set(dataset.get_gt_labels()) == {0, 1} and dataset[0]['inputs'].shape == (1, 32, 32)
