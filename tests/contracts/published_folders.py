"""Tiny folders of images in the layouts of the published datasets."""
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ['FOLDERS', 'write_cub', 'write_voc']


def _image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', (10, 12), (len(path.stem) * 9 % 256, 20, 30)).save(path)


def _text(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('\n'.join(lines) + '\n')


def _mat(path: Path, **values: object) -> None:
    from scipy.io import savemat

    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, values)


def _flowers(root: Path) -> None:
    folder = root / 'flowers-102'
    for number in range(1, 7):
        _image(folder / 'jpg' / f'image_{number:05d}.jpg')
    _mat(folder / 'imagelabels.mat', labels=np.array([[1, 2, 102, 2, 1, 1]]))
    _mat(folder / 'setid.mat', trnid=np.array([[1, 2]]), valid=np.array([[3, 4]]), tstid=np.array([[5, 6]]))


def _pets(root: Path) -> None:
    folder = root / 'oxford-iiit-pet'
    lines = [('Abyssinian_1', 1), ('american_bulldog_2', 2), ('beagle_1', 5)]
    for name, _ in lines:
        _image(folder / 'images' / f'{name}.jpg')
    for split, part in (('trainval', lines), ('test', lines[::2])):
        _text(folder / 'annotations' / f'{split}.txt', *(f'{name} {label} 1 1' for name, label in part))


def _cars(root: Path) -> None:
    folder = root / 'stanford_cars'
    kinds = [('fname', 'O'), ('class', 'O')]
    for split, place in (('train', 'devkit/cars_train_annos.mat'), ('test', 'cars_test_annos_withlabels.mat')):
        rows = [(f'0000{number}.jpg', number) for number in (1, 2)]
        for name, _ in rows:
            _image(folder / f'cars_{split}' / name)
        _mat(folder / place, annotations=np.array([rows], dtype=kinds))
    _mat(folder / 'devkit' / 'cars_meta.mat', class_names=np.array([['AM General Hummer', 'Acura RL']], dtype=object))


def _food(root: Path) -> None:
    folder = root / 'food-101'
    for split, number in (('train', 1), ('test', 2)):
        names = [f'{kind}/{number}' for kind in ('waffles', 'apple_pie')]
        for name in names:
            _image(folder / 'images' / f'{name}.jpg')
        _text(folder / 'meta' / f'{split}.json', json.dumps({name.split('/')[0]: [name] for name in names}))


def _caltech(root: Path) -> None:
    for kind in ('BACKGROUND_Google', 'Faces', 'accordion'):
        for number in range(1, 6):
            _image(root / 'caltech101' / '101_ObjectCategories' / kind / f'image_{number:04d}.jpg')


def _dtd(root: Path) -> None:
    folder = root / 'dtd' / 'dtd'
    parts = dict(
        train=['banded/banded_1.jpg', 'woven/woven_1.jpg'], val=['woven/woven_2.jpg'], test=['banded/banded_2.jpg'])
    for split, names in parts.items():
        _text(folder / 'labels' / f'{split}1.txt', *names)
        for name in names:
            _image(folder / 'images' / name)


def _aircraft(root: Path) -> None:
    folder = root / 'fgvc-aircraft-2013b' / 'data'
    _text(folder / 'variants.txt', '707-320', 'Boeing 717')
    parts = dict(train=['01 707-320'], val=['02 Boeing 717'], test=['03 Boeing 717'])
    parts['trainval'] = parts['train'] + parts['val']
    for split, lines in parts.items():
        _text(folder / f'images_variant_{split}.txt', *lines)
        for line in lines:
            _image(folder / 'images' / f'{line.split()[0]}.jpg')


def _sun(root: Path) -> None:
    _text(root / 'SUN397' / 'ClassName.txt', '/a/abbey', '/a/apartment_building/outdoor')
    for kind in ('abbey', 'apartment_building/outdoor'):
        for number in range(5):
            _image(root / 'SUN397' / 'a' / kind / f'sun_{number}.jpg')


def _eurosat(root: Path) -> None:
    for kind in ('AnnualCrop', 'Forest'):
        for number in range(1, 6):
            _image(root / 'eurosat' / '2750' / kind / f'{kind}_{number}.jpg')


def _signs(root: Path) -> None:
    folder = root / 'gtsrb'
    for kind in ('00000', '00001'):
        _image(folder / 'GTSRB' / 'Training' / kind / '00000_00000.ppm')
    _image(folder / 'GTSRB' / 'Final_Test' / 'Images' / '00000.ppm')
    _text(folder / 'GT-final_test.csv', 'Filename;Width;ClassId', '00000.ppm;10;42')


def write_cub(root: Path) -> None:
    """Write four images of two birds, one of each for the test."""
    names = [
        '001.Black_footed_Albatross/a.jpg', '001.Black_footed_Albatross/b.jpg', '002.Laysan/a.jpg', '002.Laysan/b.jpg'
    ]
    for name in names:
        _image(root / 'images' / name)
    _text(root / 'images.txt', *(f'{number} {name}' for number, name in enumerate(names, 1)))
    _text(root / 'image_class_labels.txt', '1 1', '2 1', '3 2', '4 2')
    _text(root / 'train_test_split.txt', '1 1', '2 0', '3 1', '4 0')


def write_voc(root: Path) -> None:
    """Write three images: a dog and a difficult cat, a dog that is both and a person, a difficult sofa alone."""
    images = dict(one=[('dog', 0), ('cat', 1)], two=[('dog', 0), ('dog', 1), ('person', 0)], three=[('sofa', 1)])
    for name, objects in images.items():
        _image(root / 'JPEGImages' / f'{name}.jpg')
        tags = [f'<object><name>{kind}</name><difficult>{flag}</difficult></object>' for kind, flag in objects]
        _text(root / 'Annotations' / f'{name}.xml', '<annotation>', *tags, '</annotation>')
    for split in ('train', 'val', 'trainval', 'test'):
        _text(root / 'ImageSets' / 'Main' / f'{split}.txt', *images)


FOLDERS: dict[str, Callable[[Path], None]] = {
    'Caltech101': _caltech,
    'DTD': _dtd,
    'EuroSAT': _eurosat,
    'FGVCAircraft': _aircraft,
    'Flowers102': _flowers,
    'Food101': _food,
    'GTSRB': _signs,
    'OxfordIIITPet': _pets,
    'SUN397': _sun,
    'StanfordCars': _cars,
}
