"""CIFAR-10 and CIFAR-100 from their Python batches."""
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ftcls.registry import DATASETS
from ftcls.utils import DataError, safe_extract
from ftcls.utils.download import download
from .categories import CIFAR10_CATEGORIES, CIFAR100_CATEGORIES
from .official import OfficialDataset

__all__ = ['CIFAR10', 'CIFAR100']


def _dtype(name: str, align: int = 0, copy: int = 0) -> np.dtype:
    """``numpy.dtype`` as old pickles call it: with ints for bools."""
    return np.dtype(name, align=bool(align), copy=bool(copy))


def _bytes(text: str, encoding: str) -> bytes:
    """``_codecs.encode`` as pickles of protocol 2 hold bytes; no other codec is let in."""
    if encoding != 'latin1':
        raise pickle.UnpicklingError(f'bytes in the encoding {encoding!r}')
    return text.encode('latin1')


class _Unpickler(pickle.Unpickler):
    """Reads dicts, lists, text, numbers and NumPy arrays; whatever else a pickle asks for is refused, not run."""

    def find_class(self, module: str, name: str) -> Callable:
        """Return what stands for ``module.name``; called by ``pickle`` for every name in the file."""
        allowed = {
            ('numpy', 'ndarray'): np.ndarray,
            ('numpy', 'dtype'): _dtype,
            ('_codecs', 'encode'): _bytes,
        }
        if module.startswith(('numpy.core.', 'numpy._core.')):
            # Asked of NumPy itself, because the module has another name in each of its versions.
            array, number = np.zeros(1), np.float64(0)
            by_name = {'_reconstruct': array.__reduce__()[0], 'scalar': number.__reduce__()[0]}
            if name == '_frombuffer':
                return array.__reduce_ex__(5)[0]
            if name in by_name:
                return by_name[name]
        if (module, name) in allowed:
            return allowed[module, name]
        raise pickle.UnpicklingError(f'it asks for {module}.{name}, which a file of pictures has no use for')


@DATASETS.register_module()
class CIFAR10(OfficialDataset):
    """CIFAR-10: 50,000 and 10,000 pictures of 32x32 in 10 classes, in RGB order. ::

        data/cifar10/             data_root
        └── cifar-10-batches-py/
            ├── data_batch_1 … data_batch_5
            └── test_batch

    From Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009. The files are pickles; they are read
    so that they cannot run code. The arguments are those of :class:`OfficialDataset`.

    Example:
        >>> CIFAR10(data_root='data/cifar10', split='test').class_counts()['cat']  # doctest: +SKIP
        1000
    """

    METAINFO = {'classes': CIFAR10_CATEGORIES}
    FOLDER: ClassVar[str] = 'cifar-10-batches-py'
    URL: ClassVar[str] = 'https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz'
    MD5: ClassVar[str] = 'c58f30108f718f92721af3b95e74349a'
    FILES = {
        'train': (
            ('data_batch_1', 'c99cafc152244af753f735de768cd75f'),
            ('data_batch_2', 'd4bba439e000b95fd0a9bffe97cbabec'),
            ('data_batch_3', '54ebc095f3ab1f0389bbae665268c751'),
            ('data_batch_4', '634d18415352ddfa80567beed471001a'),
            ('data_batch_5', '482c414d41f54cd18b22e5b47cb7c3cb'),
        ),
        'test': (('test_batch', '40351d587109b95175f43aff81a1287e'), ),
    }

    @property
    def source(self) -> str:
        """Where a person finds the files."""
        return f'{self.URL} (unpacked there, it gives the folder {self.FOLDER})'

    def find(self, name: str) -> Path | None:
        """Return the path of a file in ``data_root/<FOLDER>``, or in ``data_root`` if that is the folder itself."""
        places = (self.root / self.FOLDER / name, self.root / name)
        return next((place for place in places if place.is_file()), None)

    def fetch(self) -> None:
        """Download the archive and unpack it into ``data_root``."""
        archive = download(self.URL, self.root / self.URL.rsplit('/', 1)[1], md5=self.MD5)
        safe_extract(archive, self.root)

    def read(self) -> tuple[np.ndarray, np.ndarray, str]:
        """Return images (N, 32, 32, 3) uint8, labels (N, ), 'rgb'."""
        images, labels = [], []
        for name, _ in self.FILES[self.files_of]:
            path = self.find(name)
            batch = self._load(path)
            images.append(batch['data'].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
            labels.extend(batch['labels'] if 'labels' in batch else batch['fine_labels'])
        return np.ascontiguousarray(np.concatenate(images)), np.asarray(labels, dtype=np.int64), 'rgb'

    @staticmethod
    def _load(path: Path) -> dict[str, Any]:
        """Read one batch: a dict with ``data`` (N, 3072) uint8 and ``labels`` or ``fine_labels``."""
        try:
            with open(path, 'rb') as file:
                batch = _Unpickler(file, encoding='latin1').load()
        except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, IndexError, KeyError,
                UnicodeError) as err:
            raise DataError(
                f'{path} is not a batch of CIFAR pictures: {err}; it is broken or not what it seems: delete it '
                'and fetch it again') from err
        data = batch.get('data') if isinstance(batch, dict) else None
        fits = isinstance(data, np.ndarray) and data.dtype == np.uint8 and data.ndim == 2 and data.shape[1] == 3072
        if not fits or not isinstance(batch.get('labels', batch.get('fine_labels')), (list, np.ndarray)):
            raise DataError(
                f'{path} is not a batch of CIFAR pictures: expected a dict with `data` of shape (N, 3072), uint8, '
                'and `labels` or `fine_labels`')
        return batch


@DATASETS.register_module()
class CIFAR100(CIFAR10):
    """CIFAR-100: 50,000 and 10,000 pictures of 32x32 in 100 classes, in RGB order. ::

        data/cifar100/            data_root
        └── cifar-100-python/
            ├── train
            └── test

    From Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009. The classes are the 100 fine ones. The
    arguments are those of :class:`OfficialDataset`.
    """

    METAINFO = {'classes': CIFAR100_CATEGORIES}
    FOLDER = 'cifar-100-python'
    URL = 'https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz'
    MD5 = 'eb9058c3a382ffc7106e4002c42a8d85'
    FILES = {
        'train': (('train', '16019d7e3df5f24257cddd939b257f8d'), ),
        'test': (('test', 'f0ef6b0ae62326f3e7ffdfab6717acfc'), ),
    }
