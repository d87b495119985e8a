"""Splits, folds and shots: stratified, without an image on two sides, the same everywhere."""
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from ftcls.datasets import CIFAR10, CustomDataset, Digits
from ftcls.datasets.drawing import draw_val, fold_numbers, strata
from ftcls.registry import DATASETS
from ftcls.utils import ConfigError, DataError

IMAGES = [(f'{label}/{i}.png', label) for label, count in (('a', 40), ('b', 11), ('c', 2), ('d', 1))
          for i in range(count)]


def drawn(images: list, **kwargs: float) -> set[str]:
    chosen = draw_val(images, **{'fraction': 0.2, 'seed': 0, **kwargs})
    return {name for (name, _), one in zip(images, chosen) if one}


def test_split_is_stratified_and_independent_of_order() -> None:
    val = drawn(IMAGES)
    assert Counter(name[0] for name in val) == dict(a=8, b=2, c=1)  # one of two; never all
    shuffled = random.Random(0).sample(IMAGES, len(IMAGES))
    assert drawn(shuffled) == val and drawn(IMAGES, seed=1) != val
    # the same on every machine and in every version
    assert sorted(drawn(IMAGES[40:])) == ['b/5.png', 'b/8.png', 'c/1.png']
    # macOS spells an umlaut as two characters
    spellings = [[(name, 0) for name in (umlaut, *'abcdefg')] for umlaut in ('\u00e4', 'a\u0308')]
    for seed in range(5):
        assert draw_val(spellings[0], 0.5, seed).tolist() == draw_val(spellings[1], 0.5, seed).tolist()


def test_later_images_move_few_others() -> None:
    more = IMAGES + [(f'a/new{i}.png', 'a') for i in range(5)]
    assert len(drawn(IMAGES) ^ {name for name in drawn(more) if 'new' not in name}) <= 1


def test_an_image_that_is_listed_twice_is_on_one_side() -> None:
    twice = IMAGES + [(name, 'b') for name, _ in IMAGES[:30]]
    chosen = draw_val(twice, 0.5, 0)
    assert (chosen[:30] == chosen[len(IMAGES):]).all()
    numbers = fold_numbers(twice, 5, 0)
    assert (numbers[:30] == numbers[len(IMAGES):]).all()


@pytest.mark.parametrize('seed', [0, 1, None])
def test_folds_are_stratified(seed: int | None) -> None:
    numbers = fold_numbers(IMAGES, 5, seed)
    sizes = Counter(numbers.tolist())
    assert sorted(sizes) == list(range(5)) and max(sizes.values()) - min(sizes.values()) <= 1
    for label, low, high in (('a', 8, 8), ('b', 2, 3), ('c', 0, 1)):
        counts = [sum(n == fold and name == label for n, (_, name) in zip(numbers, IMAGES)) for fold in range(5)]
        assert (min(counts), max(counts)) == (low, high)
    other = random.Random(0).sample(IMAGES, len(IMAGES)) if seed is not None else IMAGES
    by_name = dict(zip([name for name, _ in sorted(other)], fold_numbers(sorted(other), 5, seed).tolist()))
    assert by_name == dict(zip([name for name, _ in sorted(IMAGES)], fold_numbers(sorted(IMAGES), 5, seed).tolist()))


def test_the_rarest_of_several_labels_counts() -> None:
    assert strata([[0, 1], [0], [1, 2], [], None, 0]) == [1, 0, 2, None, None, 0]


@pytest.fixture
def folder(class_folders: Callable[..., Path]) -> Path:
    return class_folders(cat=10, dog=5)


def paths(root: Path, **kwargs: object) -> list[str]:
    dataset = CustomDataset(data_root=str(root), **kwargs)
    return [str(Path(dataset.get_data_info(i)['img_path']).relative_to(root)) for i in range(len(dataset))]


def test_folders_without_a_split(folder: Path) -> None:
    root = folder
    train, val = (paths(root, split=split, val_fraction=0.2) for split in ('train', 'val'))
    assert not set(train) & set(val) and sorted(train + val) == sorted(paths(root))
    assert Counter(path[:3] for path in val) == dict(cat=2, dog=1)
    assert paths(root, split='val') == val != paths(root, split='val', split_seed=3)
    shutil.copytree(root, root.parent / 'elsewhere')
    assert paths(root.parent / 'elsewhere', split='val') == val
    # shots are drawn from the part
    few = paths(root, split='train', shots_per_class=2)
    assert len(few) == 4 and set(few) < set(train)
    dataset = CustomDataset(data_root=str(root), split='train', shots_per_class=2)
    assert dataset.drawn == '20 % for val, drawn with split_seed 0; 2 per class, drawn with seed 0'


def test_lists_without_a_split(folder: Path) -> None:
    lines = [f'cat/{i}.png,cat' for i in range(10)] + ['cat/0.png,cat'] * 3
    (folder / 'list.csv').write_text('\n'.join(['path,label', *lines]))
    sides = [set(paths(folder, ann_file=str(folder / 'list.csv'), split=split)) for split in ('train', 'val')]
    assert not sides[0] & sides[1] and [len(side) for side in sides] == [8, 2]


def test_shots_by_class(folder: Path) -> None:
    root = str(folder)
    dataset = CustomDataset(data_root=root, shots_per_class=dict(cat=3))
    assert dataset.class_counts() == dict(cat=3, dog=5) and dataset.drawn == '3 to 3 per class, drawn with seed 0'
    with pytest.raises(ConfigError, match="no class 'cats'; did you mean 'cat'"):
        CustomDataset(data_root=root, shots_per_class=dict(cats=3))
    with pytest.raises(DataError, match="class 'dog' has only 5"):
        CustomDataset(data_root=root, shots_per_class=dict(dog=6))
    with pytest.raises(ConfigError, match='shots_per_class.dog=0: must be at least 1'):
        DATASETS.build(dict(type='CustomDataset', data_root=root, shots_per_class=dict(dog=0)))


@pytest.mark.parametrize('kwargs, message', [
    (dict(split='test'), "split='test'"),
    (dict(split='val', val_fraction=1.), 'val_fraction=1.0: must be above 0 and below 1'),
    (dict(val_fraction=0.1), "val_fraction and split_seed need split='train' or 'val'"),
    (dict(split_seed=1), 'set split, or remove them'),
])
def test_wrong_splits(folder: Path, kwargs: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DATASETS.build(dict(type='CustomDataset', data_root=str(folder), **kwargs))


def test_a_side_that_would_be_empty(folder: Path) -> None:
    for path in sorted((folder).glob('*/*.png')):
        if path.stem != '0':
            path.unlink()
    with pytest.raises(DataError, match='2 samples of 2 classes cannot be split'):
        CustomDataset(data_root=str(folder), split='train')


def test_datasets_that_come_in_splits(real_data: Path) -> None:
    with pytest.raises(ConfigError, match='val_fraction and split_seed need'):
        Digits(split='train', val_fraction=0.1)
    options = dict(data_root=str(real_data / 'cifar10'), verify=False)
    train, val, whole = (CIFAR10(**options, **part) for part in (dict(split='train', val_fraction=0.1), dict(
        split='val', val_fraction=0.1), dict(split='train')))  # yapf: disable
    assert len(train) + len(val) == len(whole) and train.split == 'train' and val.split == 'val'
    share = {name: count / whole.class_counts()[name] for name, count in val.class_counts().items()}
    assert all(0.09 < one < 0.11 for one in share.values())
    pixels = [{part.get_data_info(i)['img'].tobytes() for i in range(len(part))} for part in (train, val)]
    assert not pixels[0] & pixels[1]
    with pytest.raises(ConfigError, match="split='test' must be train or val with val_fraction=0.1"):
        CIFAR10(**options, split='test', val_fraction=0.1)
