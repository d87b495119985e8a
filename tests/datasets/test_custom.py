"""Your own images: folders and lists, tidy and untidy."""
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ftcls.datasets import CustomDataset
from ftcls.utils import ConfigError, DataError, MissingFileError


def image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes, with odd names and clutter around them."""
    for name in ('dog/b.JPG', 'dog/deeper/a b.png', 'cat/ä ö.gif', 'cat/2.png', 'cat/x.y.webp'):
        image(tmp_path / 'train' / name)
    for name in ('.ipynb_checkpoints/a.png', '__MACOSX/cat/2.png', 'cat/._2.png', 'cat/.hidden/3.png'):
        image(tmp_path / 'train' / name)
    (tmp_path / 'train' / 'cat' / 'Thumbs.db').touch()
    (tmp_path / 'train' / 'readme.txt').touch()
    return tmp_path


def test_class_folders(folder: Path, log_records: list) -> None:
    dataset = CustomDataset(data_root=str(folder), data_prefix='train', pipeline=[dict(type='LoadImageFromFile')])
    assert dataset.CLASSES == ('cat', 'dog')
    assert dataset.class_counts() == {'cat': 3, 'dog': 2}
    paths = [dataset.get_data_info(index)['img_path'] for index in range(len(dataset))]
    assert [str(Path(path).relative_to(folder / 'train')) for path in paths] == [
        'cat/2.png', 'cat/x.y.webp', 'cat/ä ö.gif', 'dog/b.JPG', 'dog/deeper/a b.png'
    ]  # yapf: disable
    assert all(dataset[index]['img'].shape == (4, 5, 3) for index in range(5))
    text = '\n'.join(text for _, text in log_records)
    for clutter in ('.ipynb_checkpoints', '__MACOSX', '.hidden', '*.db (1)', 'hidden files (1)'):
        assert clutter in text


def test_given_classes(folder: Path, log_records: list) -> None:
    dataset = CustomDataset(data_root=str(folder / 'train'), classes=['dog', 'fox', 'cats'])
    assert dataset.get_gt_labels().tolist() == [0, 0]
    assert dataset.ignored_classes == ['cat']
    assert dataset.class_counts() == {'dog': 2, 'fox': 0, 'cats': 0}
    assert any("class 'cats' has no images; did you mean 'cat'?" in text for _, text in log_records)
    with pytest.raises(DataError, match="none of the classes 'Dog'.*did you mean 'dog'"):
        CustomDataset(data_root=str(folder / 'train'), classes=['Dog'])


def test_empty_class_folder_is_logged(folder: Path, log_records: list) -> None:
    (folder / 'train' / 'fox').mkdir()
    dataset = CustomDataset(data_root=str(folder / 'train'))
    assert dataset.class_counts() == {'cat': 3, 'dog': 2, 'fox': 0} and dataset.empty_classes == ['fox']
    assert any("no images in the folders 'fox'" in text for _, text in log_records)


def test_where_nothing_is_found(folder: Path) -> None:
    with pytest.raises(MissingFileError, match="no folder .*trian.*did you mean 'train'"):
        CustomDataset(data_root=str(folder), data_prefix='trian')
    with pytest.raises(MissingFileError, match='absent.* is missing'):
        CustomDataset(data_root=str(folder / 'absent' / 'train'))
    with pytest.raises(DataError, match='1 images but no class folders') as error:
        CustomDataset(data_root=str(folder / 'train' / '__MACOSX' / 'cat'))
    assert str(folder) in str(error.value)
    with pytest.raises(DataError, match='none of its folders .* has any; endings searched for: .bmp'):
        CustomDataset(data_root=str(folder / 'train'), extensions=['.bmp'])
    (folder / 'empty').mkdir()
    with pytest.raises(DataError, match='no class folders'):
        CustomDataset(data_root=str(folder / 'empty'))
    with pytest.raises(ConfigError, match='set data_root, data_prefix or ann_file'):
        CustomDataset()


def test_splits_are_not_classes(folder: Path) -> None:
    image(folder / 'val' / 'cat' / '1.png')
    with pytest.raises(DataError, match="'train', 'val', parts of a dataset.*set data_prefix to one part"):
        CustomDataset(data_root=str(folder))


def test_links_that_go_in_circles(folder: Path) -> None:
    (folder / 'train' / 'dog' / 'loop').symlink_to(folder / 'train' / 'dog')
    assert CustomDataset(data_root=str(folder / 'train')).class_counts() == {'cat': 3, 'dog': 2}


def test_without_labels(folder: Path) -> None:
    dataset = CustomDataset(data_root=str(folder), data_prefix='train', with_label=False)
    assert len(dataset) == 5 and 'gt_label' not in dataset.get_data_info(0)
    with pytest.raises(DataError, match='with_label=False'):
        dataset.get_gt_labels()


def listed(folder: Path, text: str, **kwargs: object) -> CustomDataset:
    (folder / 'list.txt').write_text(text, encoding='utf-8')
    return CustomDataset(data_root=str(folder), data_prefix='train', ann_file='list.txt', **kwargs)


def test_list_with_names(folder: Path) -> None:
    text = '\ufeffdog/deeper/a b.png dog\n\ncat/ä ö.gif  house cat\ncat/x.y.webp\thouse cat\r\n'
    dataset = listed(folder, text)
    assert dataset.CLASSES == ('dog', 'house cat')
    assert dataset.get_gt_labels().tolist() == [0, 1, 1]
    again = listed(folder, text, classes=['house cat'])
    assert len(again) == 2 and again.ignored_classes == ['dog']


def test_list_with_numbers(folder: Path) -> None:
    text = 'dog/b.JPG 0\ncat/2.png 2\n'
    assert listed(folder, text.replace('2\n', '1\n')).CLASSES == ('0', '1')
    assert listed(folder, text).class_counts() == {'0': 1, '1': 0, '2': 1}
    # With numbers as names, another number is not the index of a class.
    assert listed(folder, text, classes=['1', '2']).class_counts() == {'1': 0, '2': 1}
    assert listed(folder, 'dog/b.JPG 00\ncat/2.png 01\n', classes=['0', '1']).get_gt_labels().tolist() == [0, 1]
    dataset = listed(folder, text, classes=['dog', 'fox', 'cat'])
    assert dataset.class_counts() == {'dog': 1, 'fox': 0, 'cat': 1} and dataset.ignored_classes == []
    with pytest.raises(DataError, match="line 2: label '2' is no class; allowed are 0 to 1"):
        listed(folder, text, classes=['dog', 'cat'])
    # Labels that are names of classes are matched by name, digits or not.
    assert listed(folder, text, classes=['2', '0']).get_gt_labels().tolist() == [1, 0]


def test_list_without_labels(folder: Path) -> None:
    assert len(listed(folder, 'dog/b.JPG\ncat/2.png\n', with_label=False)) == 2
    with pytest.raises(DataError, match="line 1: 'dog/b.JPG' has no label"):
        listed(folder, 'dog/b.JPG\n')


def table(folder: Path, name: str, text: str, **kwargs: object) -> CustomDataset:
    (folder / name).write_text(text, encoding='utf-8')
    return CustomDataset(data_root=str(folder), data_prefix='train', ann_file=name, **kwargs)


def test_tables(folder: Path) -> None:
    text = 'path,label\ndog/deeper/a b.png,dog\ncat/2.png,house cat\n'
    dataset = table(folder, 'list.csv', text)
    assert dataset.CLASSES == ('dog', 'house cat') and dataset.get_gt_labels().tolist() == [0, 1]
    assert dataset.get_data_info(0)['img_path'] == str(folder / 'train/dog/deeper/a b.png')
    assert table(folder, 'list.csv', text, classes=['house cat']).ignored_classes == ['dog']
    assert len(table(folder, 'list.csv', 'path\ndog/b.JPG\ncat/2.png\n', with_label=False)) == 2
    numbers = '[{"path": "dog/b.JPG", "label": 1}, {"path": "cat/2.png", "label": 0}]'
    assert table(folder, 'list.json', numbers, classes=['cat', 'dog']).get_gt_labels().tolist() == [1, 0]
    with pytest.raises(DataError, match="list.json, entry 1: label '1' is no class"):
        table(folder, 'list.json', numbers, classes=['cat'])
    with pytest.raises(DataError, match="list.csv, line 2: 'dog/b.JPG' needs one label, has 'dog', 'cat'.*MultiLabel"):
        table(folder, 'list.csv', 'path,label\ndog/b.JPG,dog;cat\n')
    with pytest.raises(DataError, match='line 2: .* needs one label, has none.*with_label=False'):
        table(folder, 'list.csv', 'path,label\ndog/b.JPG\n')
    with pytest.raises(MissingFileError, match="did you mean 'list.csv'"):
        CustomDataset(data_root=str(folder), ann_file='lists.csv')


def test_wrong_lists(folder: Path) -> None:
    with pytest.raises(
            MissingFileError,
            match=r"lists images that do not exist, 1 of 2 checked: 'dgo/b.JPG' \(line 1\).*dgo' is missing"):
        listed(folder, 'dgo/b.JPG dog\ncat/2.png cat\n')
    with pytest.raises(DataError, match='is empty'):
        listed(folder, '\n')
    with pytest.raises(MissingFileError, match="did you mean 'list.txt'"):
        CustomDataset(data_root=str(folder), ann_file='lists.txt')
    with pytest.raises(DataError, match='none of the classes'):
        listed(folder, 'cat/2.png cat\n', classes=['lion'])


def test_an_image_with_two_labels_is_refused(folder: Path, log_records: list) -> None:
    text = 'path,label\ncat/2.png,cat\ndog/b.JPG,dog\ndog/../cat/2.png,dog\ndog/b.JPG,cat\n'
    with pytest.raises(
            DataError,
            match=r"lists '.*cat/2.png' twice .*'cat' in line 2 and 'dog' in line 4 \(2 images .*MultiLabel"):
        table(folder, 'list.csv', text)
    # also where `classes` leave one of the labels out, but not where the picture itself is left out
    with pytest.raises(DataError, match='twice with different labels'):
        table(folder, 'list.csv', text, classes=['cat'])
    assert len(table(folder, 'list.csv', text + 'cat/x.y.webp,cat\n', exclude=['cat/2.png', 'dog/b.JPG'])) == 1
    with pytest.raises(DataError, match="'0' in entry 1 and '1' in entry 2"):
        table(folder, 'list.json', '[{"path": "dog/b.JPG", "label": 0}, {"path": "dog/b.JPG", "label": 1}]')
    assert not [text for level, text in log_records if 'more than once' in text]


def test_an_image_that_is_listed_again_is_warned_of(folder: Path, log_records: list) -> None:
    text = 'cat/2.png cat\ndog/b.JPG dog\n./cat/2.png 0\ncat/2.png cat\ndog/b.JPG dog\n'
    assert listed(folder, text, classes=['cat', 'dog']).get_gt_labels().tolist() == [0, 1, 0, 0, 1]
    (warning, ) = [text for level, text in log_records if level == logging.WARNING]
    assert "list.txt lists 2 images more than once" in warning and "'./cat/2.png' in line 1 and line 3" in warning


def test_backslashes_are_read_where_the_file_is_there(folder: Path, log_records: list) -> None:
    dataset = listed(folder, '.\\cat\\2.png cat\ndog\\b.JPG dog\n')
    assert [info['img_path'] for info in map(dataset.get_data_info, (0, 1))
            ] == [f'{folder}/train/./cat/2.png', f'{folder}/train/dog/b.JPG']
    assert [text for _, text in log_records if '2 paths with backslashes' in text]
    with pytest.raises(DataError, match='twice with different labels'):
        listed(folder, 'cat\\2.png cat\ncat/2.png dog\n')


@pytest.mark.parametrize('path, remedy', [
    (r'C:\data\pets\cat\2.png', r"'cat/2.png' is there: remove 'C:.*pets"),
    ('/home/bob/pets/cat/2.png', "'cat/2.png' is there: remove '/home/bob/pets/' from the paths"),
    ('train/cat/2.png', "'cat/2.png' is there: remove 'train/'"),
    ('2.png', "it is in '.*train/cat': set data_prefix"),
])
def test_paths_from_elsewhere_get_a_remedy(folder: Path, path: str, remedy: str) -> None:
    with pytest.raises(MissingFileError, match=remedy):
        listed(folder, f'{path} cat\nx.png cat\ny.png cat\nz.png cat\n')
    with pytest.raises(MissingFileError, match=r"do not exist, 4 of 4 checked: .*line 1.*line 2.*line 3\) and 1 more"):
        listed(folder, f'{path} cat\nx.png cat\ny.png cat\nz.png cat\n')


def test_one_class_with_images_may_have_folders(tmp_path: Path) -> None:
    for name in ('cat/1.png', 'cat/monday/2.png', 'cat/tuesday/3.png'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert CustomDataset(data_root=str(tmp_path)).class_counts() == {'cat': 3}


@pytest.mark.parametrize('folders, loose, said', [
    (['train/a', 'val/a', 'masks'], 0, "'train', 'val', parts of a dataset.*set data_prefix to one part"),
    (['Train/a', 'VALID/a'], 0, "'Train', 'VALID', parts of a dataset"),
    (['pets/train/a', 'pets/validation/a'], 0, "in it 'train', 'validation': add 'pets' to data_prefix"),
    (['ants/train', 'ants/val', 'bees/train', 'bees/val'
      ], 0, "ants' has the folders .*put the class folders into each"),
    (['images/ants', 'images/bees'], 0, "one class folder, 'images', and in it 'ants', 'bees'"),
    ([], 3, 'it has 3 images but no class folders'),
])
def test_folders_that_are_no_classes(tmp_path: Path, folders: list[str], loose: int, said: str) -> None:
    for name in folders:
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / 'x.png').touch()
    for number in range(loose):
        (tmp_path / f'{number}.png').touch()
    with pytest.raises(DataError, match=said):
        CustomDataset(data_root=str(tmp_path))


def test_clutter_and_loose_images_are_left_out_by_name(folder: Path, log_records: list) -> None:
    for name in ('@eaDir', '__MACOSX', '.ipynb_checkpoints'):
        (folder / 'train' / name).mkdir(exist_ok=True)
    (folder / 'train' / 'loose.png').touch()
    (folder / 'train' / 'Cat').mkdir()
    assert CustomDataset(data_root=str(folder / 'train')).CLASSES == ('Cat', 'cat', 'dog')
    alike, warning = [text for level, text in log_records if level == logging.WARNING]
    assert "'Cat' and 'cat' differ only in case" in alike
    assert "images beside the class folders (1)" in warning and "folder '@eaDir' (1)" in warning


def test_labels_that_are_no_class_are_warned_of(folder: Path, log_records: list) -> None:
    text = 'path,label\ncat/2.png,cat\ndog/b.JPG,dgo\ncat/ä ö.gif,XY\ndog/deeper/a b.png,dgo\n'
    dataset = table(folder, 'list.csv', text, classes=['cat', 'dog'])
    assert len(dataset) == 1 and dataset.ignored_classes == ['dgo', 'XY']
    (warning, ) = [text for level, text in log_records if level == logging.WARNING]
    assert "list.csv: 3 rows left out" in warning and "'dgo' (2 rows, first in line 3; did you mean 'dog'?)" in warning
    assert "'XY' (1 row, first in line 4)" in warning
    assert not [text for _, text in log_records if 'left out, because not among' in text]


def test_missing_image_names_only_similar_ones(folder: Path) -> None:
    with pytest.raises(MissingFileError, match="cat/xy.webp' .line 1.; did you mean 'x.y.webp'.; paths are relative"):
        listed(folder, 'cat/xy.webp cat\n')
    with pytest.raises(MissingFileError, match="cat/lost.png' .line 1.; paths are relative"):
        listed(folder, 'cat/lost.png cat\n')


def test_broken_image_is_named(folder: Path) -> None:
    (folder / 'train' / 'cat' / '2.png').write_bytes(b'no picture')
    dataset = CustomDataset(data_root=str(folder / 'train'), pipeline=[dict(type='LoadImageFromFile')])
    with pytest.raises(DataError, match='cat/2.png'):
        dataset[0]


def test_hymenoptera(real_data: Path) -> None:
    root = str(real_data / 'hymenoptera')
    pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=8), dict(type='PackInputs')]
    train = CustomDataset(data_root=root, data_prefix='train', pipeline=pipeline)
    val = CustomDataset(data_root=root, data_prefix='val', classes=['bees', 'ants'], pipeline=pipeline)
    assert train.class_counts() == {'ants': 124, 'bees': 121}
    assert val.class_counts() == {'bees': 83, 'ants': 70}
    (gif, ) = (index for dataset in (train, ) for index in range(len(dataset))
               if dataset.get_data_info(index)['img_path'].endswith('.gif'))  # yapf: disable
    assert train[gif]['inputs'].shape == (3, 8, 8)


def test_excluded_images_are_left_out_and_logged(folder: Path, log_records: list) -> None:
    dataset = CustomDataset(
        data_root=str(folder), data_prefix='train', exclude=['cat/2.png', 'dog/deeper/a b.png', 'dog/gone.png'])
    assert dataset.class_counts() == {'cat': 2, 'dog': 1}
    assert dataset.drawn == '2 left out by exclude'
    assert any("2 images" in text and "not found: 'dog/gone.png'" in text for _, text in log_records)


def in_classes(root: Path, log_records: list, **settings: object) -> dict[str, int]:
    """Return the counts, after a look whether the log names the links that are left out."""
    dataset = CustomDataset(data_root=str(root), data_prefix='train', **settings)
    assert 'a folder above it' in '\n'.join(text for _, text in log_records)
    return dataset.class_counts()


@pytest.mark.parametrize('link, target', [('cat/up', '..'), ('cat/deep/up', '../..'), ('cat/top', '../..'),
                                          ('self', '.'), ('up', '..'), ('cat/self', '.')])  # yapf: disable
def test_links_to_folders_above_are_not_followed(folder: Path, log_records: list, link: str, target: str) -> None:
    (folder / 'train' / link).parent.mkdir(exist_ok=True)
    (folder / 'train' / link).symlink_to(target)
    assert in_classes(folder, log_records) == {'cat': 3, 'dog': 2}


def test_a_loop_inside_a_linked_class(folder: Path, tmp_path_factory: pytest.TempPathFactory,
                                      log_records: list) -> None:
    store = tmp_path_factory.mktemp('store')
    for name in ('fox', 'hen'):
        image(store / name / '1.png')
    (store / 'fox' / 'up').symlink_to('..')
    (folder / 'train' / 'fox').symlink_to(store / 'fox')
    assert in_classes(folder, log_records) == {'cat': 3, 'dog': 2, 'fox': 1}


def test_a_loop_without_labels(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / 'train' / 'cat' / 'up').symlink_to('..')
    (folder / 'train' / 'cat' / 'itself').symlink_to('itself')
    assert len(CustomDataset(data_root=str(folder), data_prefix='train/', with_label=False)) == 5
    monkeypatch.chdir(folder / 'train')
    assert len(CustomDataset(data_prefix='.')) == 5
