"""Published sets of images from tiny folders in their layouts, against torchvision's own reading."""
import os
from pathlib import Path

import pytest
import torchvision
from published_folders import FOLDERS, write_cub, write_voc

import ftcls.datasets
from ftcls.datasets import CUB, DTD, VOC, EuroSAT, Flowers102, Food101, ImageNet21k, OxfordIIITPet
from ftcls.registry import DATASETS
from ftcls.utils import ConfigError, DataError, MissingFileError

COUNTS = dict(
    Caltech101=dict(train=8, val=2, test=2),
    DTD=dict(trainval=3, train=2, val=1, test=1),
    EuroSAT=dict(train=8, val=2, test=2),
    FGVCAircraft=dict(trainval=2, train=1, val=1, test=1),
    Flowers102=dict(trainval=4, train=2, val=2, test=2),
    Food101=dict(train=2, test=2),
    GTSRB=dict(train=2, test=1),
    OxfordIIITPet=dict(trainval=3, test=2),
    SUN397=dict(train=8, val=2, test=2),
    StanfordCars=dict(train=2, test=2),
)


@pytest.mark.parametrize('name', sorted(FOLDERS))
def test_splits_and_places(tmp_path: Path, name: str) -> None:
    FOLDERS[name](tmp_path)
    cls = getattr(ftcls.datasets, name)
    sizes = {split: len(cls(str(tmp_path), split=split)) for split in COUNTS[name]}
    assert sizes == COUNTS[name]
    whole = cls(data_root=str(tmp_path))
    assert whole.split == next(iter(sizes)) and not whole.test_mode and cls(str(tmp_path), 'test').test_mode
    assert all(Path(whole.get_data_info(i)['img_path']).is_file() for i in range(len(whole)))
    # MMPretrain's configs name the folder itself
    inner = DATASETS.build(dict(type=name, data_root=str(tmp_path / cls.folder)))
    assert [inner.get_data_info(i) for i in range(len(inner))] == [whole.get_data_info(i) for i in range(len(whole))]
    with pytest.raises(ConfigError, match="split='tests': must be in .*did you mean 'test'"):
        cls(str(tmp_path), split='tests')


@pytest.mark.parametrize('name', sorted(set(FOLDERS) - {'Flowers102'}))
def test_labels_are_torchvisions(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    FOLDERS[name](tmp_path)
    published = getattr(torchvision.datasets, name)(str(tmp_path))
    ours = getattr(ftcls.datasets, name)(str(tmp_path))
    whole = [ours] if ours.val_fraction is None else [ours, type(ours)(str(tmp_path), 'val')]
    infos = [part.get_data_info(i) for part in whole for i in range(len(part))]
    theirs = dict(ours.listed(published)[1])
    if name == 'DTD':  # 'trainval' is not among torchvision's splits
        theirs |= dict(ours.listed(type(published)(str(tmp_path), 'val'))[1])
    assert len(infos) == len(theirs)
    assert {
        info['img_path']: info['gt_label']
        for info in infos if 'woven_2' not in info['img_path']
    } == {
        str(path): label
        for path, label in theirs.items() if 'woven_2' not in str(path)
    }


def test_names_and_labels(tmp_path: Path) -> None:
    for name in ('DTD', 'Flowers102', 'OxfordIIITPet'):
        FOLDERS[name](tmp_path)
    flowers = Flowers102(str(tmp_path))
    assert flowers.get_gt_labels().tolist() == [0, 1, 101, 1] and len(flowers.CLASSES) == 102
    assert flowers.CLASSES[1] == 'hard-leaved pocket orchid'
    # the two parts do not have the same classes, and the test set lacks a breed
    textures = DTD(str(tmp_path))
    assert textures.CLASSES == ('banded', 'woven') and textures.get_gt_labels().tolist() == [0, 1, 1]
    pets = OxfordIIITPet(str(tmp_path))
    assert pets.CLASSES == ('Abyssinian', 'American Bulldog', 'Beagle')
    assert OxfordIIITPet(str(tmp_path), 'test').CLASSES == ('Abyssinian', 'Beagle')
    matched = OxfordIIITPet(str(tmp_path), 'test', classes=pets.CLASSES)
    assert matched.get_gt_labels().tolist() == [0, 2]
    assert OxfordIIITPet(str(tmp_path), metainfo=dict(classes=['Beagle'])).get_gt_labels().tolist() == [0]


def test_drawn_splits(tmp_path: Path) -> None:
    FOLDERS['Food101'](tmp_path)
    FOLDERS['EuroSAT'](tmp_path)
    parts = [EuroSAT(str(tmp_path), split, val_fraction=0.4, split_seed=1) for split in ('train', 'val')]
    paths = [{info['img_path'] for info in map(part.get_data_info, range(len(part)))} for part in parts]
    assert [len(part) for part in paths] == [6, 4] and not paths[0] & paths[1]
    assert '40 % for val, drawn with split_seed 1' in parts[0].drawn
    with pytest.raises(ConfigError, match=r"split='test': must be in \['train', 'val'\]"):
        Food101(str(tmp_path), 'test', val_fraction=0.5)
    with pytest.raises(DataError, match='cannot be split'):
        Food101(str(tmp_path), 'val', val_fraction=0.5)


def test_what_is_missing_or_broken(tmp_path: Path) -> None:
    for cls in (getattr(ftcls.datasets, name) for name in FOLDERS):
        with pytest.raises(MissingFileError, match=f'{cls.folder} lacks files .*set data_root, or download=True'):
            cls(str(tmp_path / 'nowhere'))
    FOLDERS['Flowers102'](tmp_path)
    FOLDERS['Food101'](tmp_path)
    (tmp_path / 'flowers-102' / 'setid.mat').write_bytes(b'<html>' * 50)
    (tmp_path / 'food-101' / 'meta' / 'train.json').write_text('{')
    for cls in (Flowers102, Food101):
        with pytest.raises(DataError, match='cannot be read .*fetch them anew'):
            cls(str(tmp_path))
    (tmp_path / 'food-101' / 'meta' / 'test.json').unlink()
    with pytest.raises(MissingFileError, match='test.json'):
        Food101(str(tmp_path), 'test')
    with pytest.raises(DataError, match='cannot be downloaded'):
        ftcls.datasets.StanfordCars(str(tmp_path), download=True)


def test_download_is_torchvisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision.datasets.Food101, '_download', lambda self: FOLDERS['Food101'](Path(self.root)))
    assert len(Food101(str(tmp_path / 'food-101'), download=True)) == 2
    assert os.listdir(tmp_path) == ['food-101']

    def fail(self: object) -> None:
        raise OSError('no network')

    monkeypatch.setattr(torchvision.datasets.EuroSAT, 'download', fail)
    with pytest.raises(MissingFileError, match='no network'):
        EuroSAT(str(tmp_path), download=True)


def test_birds(tmp_path: Path) -> None:
    write_cub(tmp_path)
    for split, letter in (('train', 'a'), ('test', 'b')):
        birds = CUB(data_root=str(tmp_path), split=split, test_mode=split == 'test')
        assert birds.CLASSES == ('Black_footed_Albatross', 'Laysan') and birds.get_gt_labels().tolist() == [0, 1]
        assert {Path(birds.get_data_info(i)['img_path']).name for i in (0, 1)} == {f'{letter}.jpg'}
    (tmp_path / 'image_class_labels.txt').write_text('1 1\n')
    with pytest.raises(DataError, match='lists cannot be read .*KeyError'):
        CUB(str(tmp_path))
    (tmp_path / 'train_test_split.txt').unlink()
    with pytest.raises(MissingFileError, match='train_test_split.txt'):
        CUB(str(tmp_path))


def test_objects_in_photographs(tmp_path: Path) -> None:
    write_voc(tmp_path)
    photos = VOC(data_root=str(tmp_path), split='test')
    infos = [photos.get_data_info(i) for i in range(3)]
    assert len(photos.CLASSES) == 20
    assert [info['gt_label'] for info in infos] == [[11], [11, 14], []]
    assert [info['gt_label_difficult'] for info in infos] == [[7], [11], [17]]
    dogs = VOC(data_root=str(tmp_path), metainfo=dict(classes=['dog', 'cat']))
    assert dogs.get_data_info(0)['gt_label_difficult'] == [1] and dogs.ignored_classes == ['person', 'sofa']
    unlabelled = VOC(str(tmp_path), 'test', data_prefix='JPEGImages', test_mode=True)
    assert 'gt_label' not in unlabelled.get_data_info(0)
    assert len(VOC(str(tmp_path), '', image_set_path='ImageSets/Main/val.txt')) == 3
    (tmp_path / 'Annotations' / 'two.xml').write_text('<annotation>')
    with pytest.raises(DataError, match='two.xml is broken'):
        VOC(str(tmp_path))
    (tmp_path / 'Annotations' / 'one.xml').unlink()
    with pytest.raises(MissingFileError, match='one.xml'):
        VOC(str(tmp_path))


def test_imagenet21k(tmp_path: Path) -> None:
    for kind in ('n00004475', 'n00005787'):
        FOLDERS['EuroSAT'](tmp_path / 'x')
        (tmp_path / 'train').mkdir(exist_ok=True)
    (tmp_path / 'x/eurosat/2750/Forest').rename(tmp_path / 'train/n00004475')
    (tmp_path / 'x/eurosat/2750/AnnualCrop').rename(tmp_path / 'train/n00005787')
    assert ImageNet21k(str(tmp_path), split='train').class_counts() == dict(n00004475=5, n00005787=5)
