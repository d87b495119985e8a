"""Images with any number of labels: the three kinds of list, matching by name, what is refused."""
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from ftcls.datasets import DigitPairs, MultiLabelDataset
from ftcls.registry import DATASETS
from ftcls.utils import ConfigError, DataError, MissingFileError

CSV = 'path,labels\na.png,sea;sky\nb.png,\nc.png,beach;sea;sky\n'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in 'abc':
        cv2.imwrite(str(tmp_path / f'{name}.png'), np.zeros((4, 4, 3), np.uint8))
    return tmp_path


def build(root: Path, text: str = CSV, name: str = 'ann.csv', **kwargs: object) -> MultiLabelDataset:
    (root / name).write_text(text, encoding='utf-8')
    return DATASETS.build(dict(type='MultiLabelDataset', ann_file=name, data_root=str(root), **kwargs))


def labels(dataset: MultiLabelDataset) -> list[list[str]]:
    return [[dataset.CLASSES[i] for i in dataset.get_cat_ids(index)] for index in range(len(dataset))]


OPENMMLAB = dict(
    metainfo=dict(classes=['sea', 'sky', 'beach']),
    data_list=[
        dict(img_path='a.png', gt_label=[0, 1]),
        dict(img_path='b.png', gt_label=[]),
        dict(img_path='c.png', img_label=[2, 0, 1])
    ])
LIST = [dict(path='a.png', labels=['sea', 'sky']), dict(path='b.png', labels=[]),
        dict(path='c.png', labels=['beach', 'sea', 'sky'])]  # yapf: disable


@pytest.mark.parametrize(('name', 'text'), [
    ('ann.csv', CSV),
    ('ann.csv', 'path,label1,label2,label3\na.png,sea,sky,\nb.png,,,\nc.png,beach,sea,sky\n'),
    ('ann.json', json.dumps(LIST)),
    ('ann.json', '\ufeff' + json.dumps(LIST)),
    ('ann.json', json.dumps(OPENMMLAB)),
])
def test_the_kinds_of_list(root: Path, name: str, text: str) -> None:
    dataset = build(root, text, name)
    assert labels(dataset) == [['sea', 'sky'], [], ['beach', 'sea', 'sky']]
    assert dataset.class_counts() == {'beach': 1, 'sea': 2, 'sky': 2}
    assert dataset.multi_label and dataset.get_data_info(0)['img_path'] == str(root / 'a.png')
    other = build(root, text, name, classes=['sky', 'beach', 'sea'])
    assert other.CLASSES == ('sky', 'beach', 'sea') and labels(other) == labels(dataset)


def test_numbers_for_labels(root: Path) -> None:
    assert labels(build(root, 'path,labels\na.png,1;0\nb.png,\n')) == [['1', '0'], []]
    assert labels(build(root, 'path,labels\na.png,1;0\nb.png,\n', classes=['x', 'y'])) == [['y', 'x'], []]
    assert build(root, 'path,labels\na.png,1;y\n', classes=['x', 'y']).get_cat_ids(0) == [1]
    with pytest.raises(DataError, match="ann.csv, line 2: label '2' is no class"):
        build(root, 'path,labels\na.png,2\n', classes=['x', 'y'])


def test_a_label_that_is_no_class_stops(root: Path) -> None:
    said = r"line 2: 'sky' is not among the 2 classes.*Correct it, add it to `classes`.*other_labels='ignore'"
    with pytest.raises(DataError, match=said):
        build(root, classes=['sea', 'beach'])
    with pytest.raises(DataError, match=r"line 3: 'bech' is not.*did you mean 'beach'"):
        build(root, 'path,labels\na.png,sea\nb.png,bech\n', classes=['sea', 'beach'])
    ignoring = build(root, classes=['sea', 'beach'], other_labels='ignore')
    assert labels(ignoring) == [['sea'], [], ['beach', 'sea']] and ignoring.ignored_classes == ['sky']


@pytest.mark.parametrize(('change', 'kind', 'said'), [
    (dict(text='path,labels\na.png,\n'), DataError, 'none of its 1 images has a label'),
    (dict(text='path,labels\na.png,sea|sky\nb.png,sky\n'), DataError, r"line 2: the label 'sea\|sky' contains 'sky'"),
    (dict(text='[{"path": "a.png", "labels": [1, 0, 0]}]', name='ann.json'), DataError, 'are flags, not labels'),
    (dict(text='path,labels\nd.png,sea\n'), MissingFileError, 'd.png'),
    (dict(text='x', name='ann.txt'), ConfigError, r"ann_file='ann.txt' must end in .csv, .tsv, .json, .yaml or .yml"),
    (dict(other_labels='ignor'), ConfigError, "other_labels.*did you mean 'ignore'"),
    (dict(shots_per_class=1), ConfigError, 'needs one label per sample'),
    (dict(name='ann.json', text=json.dumps(dict(metainfo=dict(classes=['a']), data_list=[dict(img_path='a.png')]))),
     DataError, r"a.png' has no `gt_label`; write \[\]"),
    (dict(
        name='ann.json',
        text=json.dumps(dict(metainfo=dict(classes=['a']), data_list=[dict(
            img_path='a.png', gt_label=[1])]))), DataError, 'label 1 is not among the 1 classes'),
])
def test_wrong_input(root: Path, change: dict, kind: type, said: str) -> None:
    with pytest.raises(kind, match=said):
        build(root, **change)


def test_an_image_in_two_rows(root: Path, log_records: list) -> None:
    with pytest.raises(DataError, match=r"twice with different labels: 'sea' in line 2 and 'sky' .*into one row"):
        build(root, 'path,labels\na.png,sea\na.png,sky\n')
    assert len(build(root, 'path,labels\na.png,sea;sky\na.png,sky;sea\n')) == 2
    assert any('more than once' in text for _, text in log_records)


def test_a_drawn_split_divides_the_images(root: Path) -> None:
    text = 'path,labels\n'
    for number in range(20):
        cv2.imwrite(str(root / f'{number}.png'), np.zeros((4, 4, 3), np.uint8))
        text += f'{number}.png,{["sea;sky", "sky", ""][number % 3]}\n'
    parts = [build(root, text, split=split, val_fraction=0.3) for split in ('train', 'val')]
    paths = [{part.get_data_info(i)['img_path'] for i in range(len(part))} for part in parts]
    assert not paths[0] & paths[1] and len(paths[0] | paths[1]) == 20
    assert all(count for part in parts for count in part.class_counts().values())


def test_digit_pairs() -> None:
    arguments = dict(subset='target', shots_per_class=5, pairs=300)
    train, val = (DigitPairs(split=split, **arguments) for split in ('train', 'val'))
    assert {len(train.get_cat_ids(i)) for i in range(300)} == {0, 1, 2}
    empty = next(i for i in range(300) if not train.get_cat_ids(i))
    assert not train.get_data_info(empty)['img'].any() and train.get_data_info(0)['img'].shape == (8, 16, 1)
    again = DigitPairs(split='train', **arguments)
    assert all((train.get_data_info(i)['img'] == again.get_data_info(i)['img']).all() for i in range(300))
    halves = [{part.get_data_info(i)['img'][:, place:place + 8].tobytes() for i in range(300) for place in (0, 8)}
              for part in (train, val)]  # yapf: disable
    assert len(halves[0]) <= 51 and len(halves[0] & halves[1]) == 1  # the empty place
    assert DigitPairs(invert=True, pairs=1, blank=0.999).get_data_info(0)['img'].min() == 255
    for wrong in (dict(pairs=0), dict(blank=1.)):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            DATASETS.build(dict(type='DigitPairs', **wrong))
