"""CIFAR, MNIST and Fashion-MNIST: what their files are called and where they come from, torchvision knows."""
import gzip
import tarfile
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, ClassVar

import numpy as np

from ftcls.registry import DATASETS
from ftcls.utils import ConfigError, DataError, DownloadError, MissingFileError, did_you_mean
from ftcls.utils.checkpoint.restricted_pickle import RestrictedUnpickler
from ftcls.utils.download import download, file_digest
from ftcls.utils.processes import main_process_first
from ftcls.utils.types import Fraction
from .base_dataset import BaseDataset
from .categories import CIFAR10_CATEGORIES, CIFAR100_CATEGORIES, FASHIONMNIST_CATEGORIES, MNIST_CATEGORIES
from .in_memory import InMemoryDataset, array_sample

__all__ = ['CIFAR10', 'CIFAR100', 'FashionMNIST', 'MNIST', 'StockDataset', 'torchvision_class']


def torchvision_class(dataset: BaseDataset) -> Any:
    """Return torchvision's class of the same name."""
    from torchvision import datasets  # here, because importing torchvision takes a second

    return next(getattr(datasets, cls.__name__) for cls in type(dataset).__mro__ if hasattr(datasets, cls.__name__))


class StockDataset(InMemoryDataset):
    """Base of the datasets that torchvision knows; the images are kept in memory.

    File names, MD5 sums and addresses are those of torchvision's class of the same name. The files are read here, so
    that they cannot run code. Subclasses define the properties ``files`` (name and MD5 of each file of the split),
    ``folders`` (where the files may be) and ``addresses`` (which end with a slash), and the methods ``fetch`` and
    ``read``.

    Args:
        data_root: Folder of the files.
        split: 'train' or 'test'; with ``val_fraction``, 'train' and 'val' are parts of the training images.
        data_prefix: Folder of the files within ``data_root``.
        test_mode: With it, ``split`` is 'test' by default, else 'train'.
        download: Download the files if they do not exist.
        verify: Check the files' MD5 against the published ones. False takes other files of the same format.
        val_fraction: Draw this share of each class of the training images for 'val', see
            :meth:`.BaseDataset.draw_split`.
        **kwargs: The other arguments of :class:`.BaseDataset`, such as ``classes`` and ``pipeline``.

    Raises:
        MissingFileError: If files do not exist, and cannot or must not be downloaded.
        DataError: If a file is broken or is not the published one.
    """

    CHANNEL_ORDER: ClassVar[str] = 'bgr'

    def __init__(self,
                 data_root: str = '',
                 split: str | None = None,
                 metainfo: Mapping | None = None,
                 data_prefix: str = '',
                 test_mode: bool = False,
                 download: bool = True,
                 verify: bool = True,
                 val_fraction: Fraction | None = None,
                 **kwargs: Any) -> None:
        split = split or {True: 'test', False: 'train'}[test_mode]
        allowed = ('train', 'test') if val_fraction is None else ('train', 'val')
        if split not in allowed:
            raise ConfigError(f'{type(self).__name__}: split={split!r} must be {" or ".join(allowed)} with '
                              f"{val_fraction=} (it draws 'val' from training){did_you_mean(split, allowed)}")
        if not data_root and not data_prefix:
            raise ConfigError(f'{type(self).__name__}: set data_root to the folder of its files')
        self.split, self.download, self.verify = split, download, verify
        kwargs |= dict(metainfo=metainfo, test_mode=test_mode, val_fraction=val_fraction)
        kwargs |= dict(data_root=data_root, data_prefix={'root': data_prefix}, split=val_fraction and split)
        super().__init__('', **kwargs)

    @property
    def published(self) -> Any:
        """torchvision's class."""
        return torchvision_class(self)

    @property
    def root(self) -> Path:
        """Folder of the dataset's files."""
        return Path(self.data_prefix['root'] or self.data_root)

    def find(self, name: str) -> Path | None:
        """Return the path of a file, packed or unpacked, None if it does not exist."""
        paths = [folder / variant for variant in (name, name.removesuffix('.gz')) for folder in self.folders]
        return next((path for path in paths if path.is_file()), None)

    def fetch_file(self, name: str, md5: str) -> Path:
        """Download a file into ``data_root`` from the first address that has it."""
        *others, last = self.addresses
        for address in others:
            try:
                return download(address + name, self.root / name, md5=md5)
            except DownloadError as err:
                self.log(f'{err}; trying the next address')
        return download(last + name, self.root / name, md5=md5)

    def load_data_list(self) -> list[dict]:
        """Return a dict with ``img`` and ``gt_label`` for every image."""
        with main_process_first():
            self._ensure_files()
        images, labels = self.read([self.find(name) for name, _ in self.files])
        own = self.METAINFO['classes']
        if len(images) != len(labels) or not np.isin(labels, range(len(own))).all():
            raise DataError(f'{self.root}: {len(images)} images and {len(labels)} labels do not match, or a label is '
                            f'above {len(own) - 1}; the files are broken: delete them')
        samples = [array_sample(img, int(label), self.CHANNEL_ORDER) for img, label in zip(images, labels)]
        return self.match_classes(samples, own)

    def _absent(self) -> list[str]:
        return [name for name, _ in self.files if self.find(name) is None]

    def _ensure_files(self) -> None:
        """Make sure that the files of the split exist and are the published ones."""
        hint, cause = 'download=True downloads them.', None
        if self._absent() and self.download:
            try:
                self.fetch()
            except DownloadError as err:
                hint, cause = f'Downloading them failed: {err}', err
        absent = self._absent()
        if absent:
            where = f'{self.root.absolute()}; put them there, or set data_root'
            raise MissingFileError(f'{type(self).__name__}: {", ".join(absent)} not found in {where}. They come from '
                                   f'{" or ".join(self.addresses)}. {hint}') from cause
        for name, md5 in self.files:
            path = self.find(name)
            is_published = self.verify and path.name == name  # not so if it was unpacked already
            if is_published and (got := file_digest(path, 'md5')) != md5:
                raise DataError(
                    f'{path} is not the published file of {type(self).__name__}: its md5 is {got}, expected '
                    f'{md5}; delete it, or set verify=False')

    def extra_repr(self) -> list[str]:
        """Lines of ``repr`` about where the data is."""
        return [f'files: {self.root}, split {self.split}']


@DATASETS.register_module()
class CIFAR10(StockDataset):
    """CIFAR-10: 50,000 and 10,000 images of 32x32 in 10 classes, in RGB order. ::

        data/cifar10/             data_root
        └── cifar-10-batches-py/
            ├── data_batch_1 … data_batch_5
            └── test_batch

    From Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009. The arguments are those of
    :class:`StockDataset`.

    Example:
        >>> CIFAR10(data_root='data/cifar10', split='test').class_counts()['cat']  # doctest: +SKIP
        1000
    """

    METAINFO = {'classes': CIFAR10_CATEGORIES}
    CHANNEL_ORDER = 'rgb'

    @property
    def files(self) -> Sequence[tuple[str, str]]:
        """Name and MD5 of each batch."""
        return {'test': self.published.test_list}.get(self.split, self.published.train_list)

    @property
    def folders(self) -> list[Path]:
        """The folder of the archive, and ``data_root`` itself."""
        return [self.root / self.published.base_folder, self.root]

    @property
    def addresses(self) -> list[str]:
        """The address of the archive, without its name."""
        return [self.published.url.removesuffix(self.published.filename)]

    def fetch(self) -> None:
        """Download the archive and unpack it into ``data_root``."""
        archive = self.fetch_file(self.published.filename, self.published.tgz_md5)
        folder = self.folders[0]
        folder.mkdir(exist_ok=True)
        try:
            with tempfile.TemporaryDirectory(dir=self.root) as scratch, tarfile.open(archive) as tar:
                for member in tar:  # extractall has no filter before Python 3.10.12 and 3.11.4
                    if member.isdir():
                        continue
                    if not member.isreg() or Path(member.name).parent != Path(folder.name):
                        raise tarfile.TarError(f'{member.name!r} is no file in {folder.name}')
                    Path(scratch, Path(member.name).name).write_bytes(tar.extractfile(member).read())
                for path in Path(scratch).iterdir():
                    path.replace(folder / path.name)  # in one step: another run never sees half a file
        except tarfile.TarError as err:
            raise DataError(f'{archive} is not the published archive ({err}); delete it to fetch it anew') from err

    def read(self, paths: Sequence[Path]) -> tuple[np.ndarray, np.ndarray]:
        """Return images (N, 32, 32, 3) uint8 and labels (N, ) int64."""
        images, labels = map(np.concatenate, zip(*map(_read_batch, paths)))
        images = images.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        return np.ascontiguousarray(images), labels.astype(np.int64)


@DATASETS.register_module()
class CIFAR100(CIFAR10):
    """CIFAR-100: 50,000 and 10,000 images of 32x32 in 100 classes, in RGB order. ::

        data/cifar100/            data_root
        └── cifar-100-python/
            ├── train
            └── test

    From Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009. The classes are the 100 fine ones.
    The arguments are those of :class:`StockDataset`.
    """

    METAINFO = {'classes': CIFAR100_CATEGORIES}


@DATASETS.register_module()
class MNIST(StockDataset):
    """MNIST: 60,000 and 10,000 handwritten digits of 28x28, one channel, light ink on dark. ::

        data/mnist/               data_root (or MNIST/raw in it, where torchvision puts them)
        ├── train-images-idx3-ubyte.gz
        ├── train-labels-idx1-ubyte.gz
        ├── t10k-images-idx3-ubyte.gz
        └── t10k-labels-idx1-ubyte.gz

    From LeCun et al., "Gradient-Based Learning Applied to Document Recognition", 1998. Unpacked files are read too;
    their MD5 is not published, so only their lengths are checked. The arguments are those of :class:`StockDataset`.
    """

    METAINFO = {'classes': MNIST_CATEGORIES}

    @property
    def files(self) -> Sequence[tuple[str, str]]:
        """Name and MD5 of the file of images and of that of labels."""
        prefix = {'test': 't10k'}.get(self.split, 'train')
        return [(name, md5) for name, md5 in self.published.resources if name.startswith(prefix)]

    @property
    def folders(self) -> list[Path]:
        """``data_root``, or where torchvision puts the files."""
        return [self.root, self.root / 'raw', self.root / self.published.__name__ / 'raw']

    @property
    def addresses(self) -> list[str]:
        """The addresses to try, https first, since the authors' http site refuses most downloads."""
        return sorted(self.published.mirrors, reverse=True)

    def fetch(self) -> None:
        """Download the missing files."""
        for name, md5 in self.files:
            if self.find(name) is None:
                self.fetch_file(name, md5)

    def read(self, paths: Sequence[Path]) -> tuple[np.ndarray, np.ndarray]:
        """Return images (N, 28, 28, 1) uint8 and labels (N, ) int64."""
        images, labels = map(_read_idx, paths)
        if images.ndim != 3 or labels.ndim != 1:
            raise DataError(f'{paths[0]} has shape {images.shape}, {paths[1]} {labels.shape}; expected (N, H, W) and '
                            '(N, ): were they renamed?')
        return images[..., np.newaxis], labels.astype(np.int64)


@DATASETS.register_module()
class FashionMNIST(MNIST):
    """Fashion-MNIST: 60,000 and 10,000 images of clothes of 28x28, one channel, in files named like those of MNIST.

    From Xiao et al., "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms", 2017. The
    arguments are those of :class:`StockDataset`.
    """

    METAINFO = {'classes': FASHIONMNIST_CATEGORIES}


def _read_idx(path: Path) -> np.ndarray:
    """Read an IDX file of uint8, compressed or not.

    The format: two zero bytes, one byte of type, one of the number of axes, the axes' lengths as big-endian int32,
    the data.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == '.gz' else path.read_bytes()
        if data[:3] != b'\0\0\x08':
            raise ValueError('not an IDX file of bytes')
        shape = np.frombuffer(data, '>i4', count=data[3], offset=4)
        return np.frombuffer(data, np.uint8, offset=4 + 4 * len(shape)).reshape(shape)
    except (OSError, EOFError, IndexError, ValueError, zlib.error) as err:
        raise DataError(f'{path} is broken or cut off ({err}): delete it to download it again') from err


def _read_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a batch of CIFAR: images (N, 3072) uint8 and labels (N, )."""
    try:
        with open(path, 'rb') as file:
            batch = RestrictedUnpickler(file, encoding='latin1').load()
        images = batch['data']
        labels = np.asarray(batch.get('labels', batch.get('fine_labels')))
        if images.dtype != np.uint8 or images.ndim != 2 or images.shape[1] != 3072 or labels.dtype.kind not in 'iu':
            raise ValueError('expected `data` of shape (N, 3072), uint8, and `labels` or `fine_labels`')
    except (UnpicklingError, EOFError, ValueError, TypeError, AttributeError, IndexError, KeyError) as err:
        raise DataError(f'{path} is not a batch of CIFAR images ({err}): delete it to download it again') from err
    return images, labels
