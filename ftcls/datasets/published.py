"""The usual targets of fine-tuning: one adapter over torchvision, which downloads and lists their files."""
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

from ftcls.registry import DATASETS
from ftcls.utils import ConfigError, DataError, MissingFileError, did_you_mean
from ftcls.utils.processes import main_process_first
from ftcls.utils.types import Fraction
from .base_dataset import BaseDataset
from .stock import torchvision_class

__all__ = [
    'CUB', 'Caltech101', 'DTD', 'EuroSAT', 'FGVCAircraft', 'Flowers102', 'Food101', 'GTSRB', 'OxfordIIITPet',
    'PublishedDataset', 'SUN397', 'StanfordCars'
]

_FOUR_PARTS = {'trainval': ('train', 'val'), 'train': ('train', ), 'val': ('val', ), 'test': ('test', )}
_TWO_PARTS = {'train': ('train', ), 'test': ('test', )}
_WHOLE = dict.fromkeys(('train', 'val', 'test'), (None, ))


class PublishedDataset(BaseDataset):
    """Base of the datasets whose lists torchvision reads; the images are read by the pipeline.

    The files lie as torchvision's class of the same name puts them, while MMPretrain has layouts of its own. The class
    names are those of the files. If a set has no published parts, ``val_fraction`` splits it: 'train' is one side, and
    'val' and 'test' are both the other.

    Args:
        data_root: Folder that contains the folder of the files, or that folder itself.
        split: A published part, see the class; with ``val_fraction``, 'train' or 'val'.
        metainfo: See :class:`BaseDataset`.
        test_mode: See :class:`BaseDataset`; True for the split 'test'.
        download: Let torchvision download the files, often gigabytes, if they do not exist.
        val_fraction: Draw this share of each class of the images for training as 'val', see
            :meth:`.BaseDataset.draw_split`.
        **kwargs: The other arguments of :class:`BaseDataset`, such as ``classes`` and ``pipeline``.

    Raises:
        ConfigError: If there is no such split.
        MissingFileError: If files do not exist, and cannot or must not be downloaded.
        DataError: If a list of the images is broken.
    """

    folder: ClassVar[str] = ''
    parts: ClassVar[Mapping[str, Sequence[str | None]]]

    def __init_subclass__(cls, folder: str = '', parts: Mapping[str, Sequence[str | None]] | None = None) -> None:
        """Register a class with the folder of its files, and the parts of torchvision's class that each split joins."""
        cls.folder, cls.parts = folder or cls.folder, parts or cls.parts
        if parts:
            DATASETS.register_module(module=cls)

    def __init__(self,
                 data_root: str,
                 split: str | None = None,
                 metainfo: Mapping | None = None,
                 test_mode: bool = False,
                 download: bool = False,
                 val_fraction: Fraction | None = None,
                 **kwargs: Any) -> None:
        if self.parts is _WHOLE:
            val_fraction = val_fraction or 0.2
        elif val_fraction is not None:
            self.parts = dict.fromkeys(('train', 'val'), next(iter(self.parts.values())))
        self.split, self.download = split or next(iter(self.parts)), download
        if self.split not in self.parts:
            raise ConfigError(f'split={split!r}: must be in {list(self.parts)}{did_you_mean(self.split, self.parts)}')
        kwargs |= dict(metainfo=metainfo, test_mode=test_mode or self.split == 'test', val_fraction=val_fraction)
        super().__init__('', data_root=data_root, split=val_fraction and self.split, **kwargs)

    @property
    def root(self) -> Path:
        """The folder that contains :attr:`folder`."""
        root = Path(self.data_root)
        roots = [path for path in (root, *root.parents) if (path / self.folder).is_relative_to(root)]
        return next((path for path in roots if (path / self.folder).is_dir()), roots[-1])

    @property
    def img_prefix(self) -> str:
        """Folder of the files."""
        return str(self.root / self.folder)

    def load_data_list(self) -> list[dict]:
        """Return ``dict(img_path, gt_label)`` for every image."""
        try:
            with main_process_first():
                listed = [self.read(part) for part in self.parts[self.split]]
        except (OSError, RuntimeError) as err:
            raise MissingFileError(f'{self.img_prefix} lacks files ({err}); set data_root, or download=True') from err
        except Exception as err:  # torchvision and SciPy raise errors of all kinds
            raise DataError(f'{self.img_prefix}: its lists cannot be read ({err!r}); fetch them anew') from err
        own = tuple(dict.fromkeys(chain.from_iterable(names for names, _ in listed)))
        self._metainfo.setdefault('classes', own)
        samples, index_of = [], {name: index for index, name in enumerate(own)}
        for names, pairs in listed:
            samples += [dict(img_path=str(path), gt_label=index_of[names[label]]) for path, label in sorted(pairs)]
        return self.match_classes(samples, own)

    def read(self, part: str | None) -> tuple[Sequence[str], Iterable[tuple[Path, int]]]:
        """Return the class names, and path and label of each image of a part."""
        cls = torchvision_class(self)
        if not self.download:  # it looks for a part of the files, to download all: reading them tells which is missing
            cls = type(cls.__name__, (cls, ), dict.fromkeys(('_check_exists', '_check_integrity'), lambda self: True))
        arguments = {} if part is None else dict(split=part)
        return self.listed(cls(str(self.root), download=self.download, **arguments))

    def listed(self, published: Any) -> tuple[Sequence[str], Iterable[tuple[Path, int]]]:
        """Return what :meth:`read` does, of an instance of torchvision's class."""
        for files in ('_image_files', '_images'):
            if hasattr(published, files):
                return published.classes, zip(getattr(published, files), published._labels)
        return published.classes, getattr(published, 'samples', None) or published._samples


class Flowers102(PublishedDataset, folder='flowers-102', parts=_FOUR_PARTS):
    """Flowers of 102 kinds: 1,020, 1,020 and 6,149 images. ::

        data/                     data_root, or data/flowers-102
        └── flowers-102/
            ├── jpg/image_00001.jpg …
            ├── imagelabels.mat
            └── setid.mat

    From Nilsback and Zisserman, "Automated Flower Classification over a Large Number of Classes", 2008. The split is
    'trainval' (the default), 'train', 'val' or 'test'. The arguments are those of :class:`PublishedDataset`.

    Example:
        >>> Flowers102(data_root='data', split='test').class_counts()['sweet pea']  # doctest: +SKIP
        36
    """


class OxfordIIITPet(PublishedDataset, folder='oxford-iiit-pet', parts=dict(trainval=('trainval', ), test=('test', ))):
    """Cats and dogs of 37 breeds: 3,680 and 3,669 images. ::

        data/                     data_root, or data/oxford-iiit-pet
        └── oxford-iiit-pet/
            ├── images/Abyssinian_1.jpg …
            └── annotations/      trainval.txt, test.txt

    From Parkhi et al., "Cats and Dogs", 2012. The split is 'trainval' (the default) or 'test'. The arguments are those
    of :class:`PublishedDataset`.
    """

    def listed(self, published: Any) -> tuple[Sequence[str], Iterable[tuple[Path, int]]]:
        """See :meth:`PublishedDataset.listed`; torchvision names only the breeds that a part has images of."""
        names, pairs = super().listed(published)
        present = sorted(set(published._labels))
        return names, [(path, present.index(label)) for path, label in pairs]


class StanfordCars(PublishedDataset, folder='stanford_cars', parts=_TWO_PARTS):
    """Cars of 196 models: 8,144 and 8,041 images; their address no longer exists, so get the files from elsewhere. ::

        data/                     data_root, or data/stanford_cars
        └── stanford_cars/
            ├── cars_train/00001.jpg …
            ├── cars_test/00001.jpg …
            ├── cars_test_annos_withlabels.mat
            └── devkit/           cars_meta.mat, cars_train_annos.mat

    From Krause et al., "3D Object Representations for Fine-Grained Categorization", 2013. The split is 'train' or
    'test'. The arguments are those of :class:`PublishedDataset`.
    """


class Food101(PublishedDataset, folder='food-101', parts=_TWO_PARTS):
    """Dishes of 101 kinds: 75,750 and 25,250 images. ::

        data/                     data_root, or data/food-101
        └── food-101/
            ├── images/apple_pie/1005649.jpg …
            └── meta/             train.json, test.json

    From Bossard et al., "Food-101 - Mining Discriminative Components with Random Forests", 2014. The split is 'train'
    or 'test'. The arguments are those of :class:`PublishedDataset`.
    """


class Caltech101(PublishedDataset, folder='caltech101', parts=_WHOLE):
    """Objects of 101 kinds: 8,677 images, without published parts; the folder of backgrounds is no class. ::

        data/                     data_root, or data/caltech101
        └── caltech101/
            └── 101_ObjectCategories/
                ├── BACKGROUND_Google/
                ├── Faces/image_0001.jpg …
                └── …

    From Fei-Fei et al., "Learning Generative Visual Models from Few Training Examples", 2004. (MMPretrain has lists of
    its own for 'train' and 'test', and 102 classes.) The arguments are those of :class:`PublishedDataset`.
    """

    def listed(self, published: Any) -> tuple[Sequence[str], Iterable[tuple[Path, int]]]:
        """See :meth:`PublishedDataset.listed`."""
        folder, names = Path(published.root, '101_ObjectCategories'), published.categories
        numbers = zip(published.y, published.index)
        return names, [(folder / names[label] / f'image_{number:04d}.jpg', label) for label, number in numbers]


class DTD(PublishedDataset, folder='dtd/dtd', parts=_FOUR_PARTS):
    """Textures of 47 kinds: 1,880 images in each of three parts, of which this is the first partition. ::

        data/                     data_root, or data/dtd
        └── dtd/
            └── dtd/
                ├── images/banded/banded_0002.jpg …
                └── labels/       train1.txt, val1.txt, test1.txt

    From Cimpoi et al., "Describing Textures in the Wild", 2014. The split is 'trainval' (the default), 'train', 'val'
    or 'test'. The arguments are those of :class:`PublishedDataset`.
    """


class FGVCAircraft(PublishedDataset, folder='fgvc-aircraft-2013b', parts=_FOUR_PARTS):
    """Aircraft of 100 variants: 3,334, 3,333 and 3,333 images. ::

        data/                     data_root, or data/fgvc-aircraft-2013b
        └── fgvc-aircraft-2013b/
            └── data/             images/, variants.txt, images_variant_train.txt …

    From Maji et al., "Fine-Grained Visual Classification of Aircraft", 2013. The split is 'trainval' (the default),
    'train', 'val' or 'test'. The arguments are those of :class:`PublishedDataset`.
    """


class SUN397(PublishedDataset, folder='SUN397', parts=_WHOLE):
    """Scenes of 397 kinds: 108,754 images; the ten published partitions are not among torchvision's files. ::

        data/                     data_root, or data/SUN397
        └── SUN397/
            ├── ClassName.txt
            └── a/abbey/sun_aaalbzqrimafwbiv.jpg …

    From Xiao et al., "SUN Database: Large-scale Scene Recognition from Abbey to Zoo", 2010. (MMPretrain reads the first
    partition.) The arguments are those of :class:`PublishedDataset`.
    """


class EuroSAT(PublishedDataset, folder='eurosat', parts=_WHOLE):
    """Satellite images of 64x64 in 10 kinds of land use: 27,000 images, without published parts. ::

        data/                     data_root, or data/eurosat
        └── eurosat/
            └── 2750/AnnualCrop/AnnualCrop_1.jpg …

    From Helber et al., "EuroSAT: A Novel Dataset and Deep Learning Benchmark for Land Use and Land Cover
    Classification", 2019. The arguments are those of :class:`PublishedDataset`.
    """


class GTSRB(PublishedDataset, folder='gtsrb', parts=_TWO_PARTS):
    """German traffic signs of 43 kinds: 26,640 and 12,630 images; the classes are their numbers, '0' to '42'. ::

        data/                     data_root, or data/gtsrb
        └── gtsrb/
            ├── GTSRB/Training/00000/00000_00000.ppm …
            ├── GTSRB/Final_Test/Images/00000.ppm …
            └── GT-final_test.csv

    From Stallkamp et al., "Man vs. Computer: Benchmarking Machine Learning Algorithms for Traffic Sign Recognition",
    2012. The split is 'train' or 'test'. The arguments are those of :class:`PublishedDataset`.
    """

    def listed(self, published: Any) -> tuple[Sequence[str], Iterable[tuple[Path, int]]]:
        """See :meth:`PublishedDataset.listed`."""
        return [str(number) for number in range(43)], published._samples


class CUB(PublishedDataset, parts=_TWO_PARTS):
    """CUB-200-2011, birds of 200 kinds: 5,994 and 5,794 images; torchvision does not have it. ::

        data/CUB_200_2011/        data_root
        ├── images/001.Black_footed_Albatross/Black_Footed_Albatross_0001_796111.jpg …
        ├── images.txt            lines of `number path`
        ├── image_class_labels.txt     `number class`, from 1
        └── train_test_split.txt       `number 1` for training, `number 0` for test

    From Wah et al., "The Caltech-UCSD Birds-200-2011 Dataset", 2011. The split is 'train' or 'test'. The classes are
    named by the folders. The arguments are those of :class:`PublishedDataset`.
    """

    def read(self, part: str | None) -> tuple[Sequence[str], Iterable[tuple[Path, int]]]:
        """See :meth:`PublishedDataset.read`."""
        files = [self.root / f'{name}.txt' for name in ('images', 'image_class_labels', 'train_test_split')]
        paths, labels, parts = (dict(map(str.split, file.read_text().splitlines())) for file in files)
        kinds = {int(labels[number]): path.split('/')[0].split('.', 1)[-1] for number, path in paths.items()}
        order, wanted = sorted(kinds), dict(train='1', test='0')[part]
        chosen = [number for number in paths if parts[number] == wanted]
        pairs = [(self.root / 'images' / paths[number], order.index(int(labels[number]))) for number in chosen]
        return [kinds[label] for label in order], pairs
