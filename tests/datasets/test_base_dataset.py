"""The base dataset: annotation files, classes by name, counts."""
import json
from pathlib import Path

import numpy as np
import pytest

from ftcls.datasets import BaseDataset
from ftcls.registry import DATASETS
from ftcls.utils import ConfigError, DataError, MissingFileError


def annotate(folder: Path, metainfo: dict, labels: list) -> str:
    """Write an OpenMMLab 2.0 annotation file; return its name."""
    data_list = [{'img_path': f'{index}.png', 'gt_label': label} for index, label in enumerate(labels)]
    (folder / 'ann.json').write_text(json.dumps({'metainfo': metainfo, 'data_list': data_list}))
    return 'ann.json'


def build(folder: Path, labels: list, own: dict | None = None, **kwargs: object) -> BaseDataset:
    own = {'classes': ['cat', 'dog', 'fox']} if own is None else own
    return BaseDataset(annotate(folder, own, labels), data_root=str(folder), data_prefix='images', **kwargs)


def test_annotation_file(tmp_path: Path) -> None:
    dataset = build(tmp_path, [0, 2, 2])
    assert dataset.CLASSES == dataset.metainfo['classes'] == ('cat', 'dog', 'fox')
    assert dataset.class_to_idx == {'cat': 0, 'dog': 1, 'fox': 2}
    assert dataset.get_gt_labels().tolist() == [0, 2, 2] and dataset.get_gt_labels().dtype == np.int64
    assert dataset.class_counts() == {'cat': 1, 'dog': 0, 'fox': 2}
    assert dataset.get_data_info(1)['img_path'] == str(tmp_path / 'images' / '1.png')
    assert dataset.get_cat_ids(1) == [2]
    assert '3 samples, 3 classes' in repr(dataset)


def test_categories_of_openmmlab(tmp_path: Path) -> None:
    categories = [{'id': 1, 'category_name': 'dog'}, {'id': 0, 'category_name': 'cat'}]
    assert build(tmp_path, [0, 1], {'categories': categories}).CLASSES == ('cat', 'dog')


@pytest.mark.parametrize('kwargs',
                         [dict(classes=['fox', 'cat', 'yak']),
                          dict(metainfo=dict(classes=('fox', 'cat', 'yak')))])
def test_given_classes_are_matched_by_name(tmp_path: Path, kwargs: dict) -> None:
    dataset = build(tmp_path, [0, 1, 2, 0], **kwargs)
    assert dataset.CLASSES == ('fox', 'cat', 'yak')
    assert dataset.get_gt_labels().tolist() == [1, 0, 1]
    assert dataset.ignored_classes == ['dog']
    assert dataset.class_counts() == {'fox': 1, 'cat': 2, 'yak': 0}


def test_several_labels_per_image(tmp_path: Path) -> None:
    dataset = build(tmp_path, [[0, 1], [2]], classes=['fox', 'dog'])
    assert [dataset.get_cat_ids(index) for index in range(2)] == [[1], [0]]
    with pytest.raises(DataError, match='exactly one label'):
        dataset.get_gt_labels()


def test_classes_from_a_file(tmp_path: Path) -> None:
    (tmp_path / 'classes.txt').write_text('\ufefffox\n\ncat  \ndog\n', encoding='utf-8')
    assert build(tmp_path, [0], classes=str(tmp_path / 'classes.txt')).CLASSES == ('fox', 'cat', 'dog')


def test_wrong_classes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none of the classes 'Cat', 'Dog' is in the data.*did you mean 'cat'"):
        build(tmp_path, [0], classes=['Cat', 'Dog'])
    with pytest.raises(MissingFileError, match="classes='cat': no such file.*a list of names"):
        build(tmp_path, [0], classes='cat')
    for classes in ([], ['a', 'a'], [1, 2], 3):
        with pytest.raises(ConfigError, match='classes'):
            build(tmp_path, [0], classes=classes)


def test_callers_dicts_are_left_alone(tmp_path: Path) -> None:
    metainfo, pipeline = {'author': 'me'}, [dict(type='Resize', scale=3)]
    dataset = build(tmp_path, [0], metainfo=metainfo, classes=['cat'], pipeline=pipeline)
    assert metainfo == {'author': 'me'}
    assert pipeline == [dict(type='Resize', scale=3)]
    assert dataset.metainfo['author'] == 'me'


def test_wrong_annotation_files(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match='ann.jsn.*ann_file'):
        BaseDataset('ann.jsn', data_root=str(tmp_path))
    (tmp_path / 'list.json').write_text('[1]')
    with pytest.raises(DataError, match='CustomDataset'):
        BaseDataset('list.json', data_root=str(tmp_path))
    (tmp_path / 'key.json').write_text('{"metainfo": {}, "data_list": [{"path": "a.png"}]}')
    with pytest.raises(DataError, match="no 'img_path'"):
        BaseDataset('key.json', data_root=str(tmp_path))
    with pytest.raises(DataError, match='label 3 is not among the 3 classes.*2.png'):
        build(tmp_path, [0, 1, 3])
    with pytest.raises(DataError, match='no samples'):
        build(tmp_path, [])


def test_lazy_init_and_indices(tmp_path: Path) -> None:
    dataset = build(tmp_path, [0, 1, 2, 2], lazy_init=True, indices=[1, 3])
    assert 'not read yet' in repr(dataset)
    dataset.full_init()
    assert dataset.get_gt_labels().tolist() == [1, 2]
    with pytest.raises(ConfigError, match=r'indices: there is no 4, -5 of 4 samples; give 0 to 3'):
        build(tmp_path, [0, 1, 2, 2], indices=[1, 4, -4, -5])


def test_shots_are_drawn_by_class_and_seed(tmp_path: Path) -> None:
    labels = [0, 1, 2] * 6 + [2]

    def drawn(**kwargs) -> list[str]:
        dataset = build(tmp_path, labels, **kwargs)
        assert set(dataset.class_counts().values()) <= {kwargs.get('shots_per_class')}
        return [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]

    two, four = drawn(shots_per_class=2, seed=5), drawn(shots_per_class=4, seed=5)
    assert len(two) == 6 and set(two) < set(four)  # of one seed, the small draw is part of the large one
    assert two == drawn(shots_per_class=2, seed=5) and two == sorted(two, key=four.index)
    draws = [drawn(shots_per_class=2, seed=seed) for seed in range(6)]
    assert len(set(map(tuple, draws))) > 3
    assert build(tmp_path, labels, shots_per_class=2, seed=5).drawn == '2 per class, drawn with seed 5'
    assert build(tmp_path, labels).drawn == ''
    with pytest.raises(DataError, match='shots_per_class=7: class .* has only 6'):
        build(tmp_path, labels, shots_per_class=7)
    for wrong in (dict(shots_per_class=0), dict(split='train', val_fraction=1.), dict(split='test')):
        with pytest.raises(ConfigError, match=f'{list(wrong)[-1]}='):
            DATASETS.build(dict(type='BaseDataset', ann_file='ann.json', data_root=str(tmp_path), **wrong))


@pytest.mark.parametrize('content, message', [
    ('{"metainfo": null, "data_list": []}', 'is not an OpenMMLab 2.0 file'),
    ('{"metainfo": {"classes": ["a"]}, "data_list": ["a.jpg"]}', 'is not an OpenMMLab 2.0 file'),
    ('{"metainfo": {"classes": ["a"]}, "data_list": [{"img_path": "a.jpg", "gt_label": 3}]}',
     r'x\.json: label 3 is not among the 1 classes'),
])
def test_other_files_are_named(tmp_path, content, message):
    (tmp_path / 'x.json').write_text(content)
    with pytest.raises(DataError, match=message):
        BaseDataset(ann_file=str(tmp_path / 'x.json'))
