"""MNIST and Fashion-MNIST from their IDX files."""
import gzip
import math
import zlib
from pathlib import Path
from typing import ClassVar

import numpy as np
from mmengine.logging import print_log

from ftcls.registry import DATASETS
from ftcls.utils import DataError, DownloadError
from ftcls.utils.download import download
from .categories import FASHIONMNIST_CATEGORIES, MNIST_CATEGORIES
from .official import OfficialDataset

__all__ = ['MNIST', 'FashionMNIST']

_UINT8 = 0x08  # type code of the IDX format


def read_idx(path: Path) -> np.ndarray:
    """Read an IDX file of uint8, compressed or not.

    The format: two zero bytes, one byte of type, one of the number of axes, the axes' lengths as big-endian int32, the data.

    Raises:
        DataError: If it is not one, or its length is not what its head says.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == '.gz' else path.read_bytes()
    except (OSError, EOFError, zlib.error) as err:
        raise DataError(f'{path} is broken or cut off ({err}): delete it and fetch it again') from err
    axes = data[3] if len(data) > 3 else 0
    if data[:3] != bytes((0, 0, _UINT8)) or not 1 <= axes <= 3 or len(data) < 4 + 4 * axes:
        raise DataError(f'{path} is not an IDX file of bytes: delete it and fetch it again')
    shape = tuple(int(n) for n in np.frombuffer(data, '>i4', axes, offset=4))
    values = np.frombuffer(data, np.uint8, offset=4 + 4 * axes)
    if values.size != math.prod(shape):
        raise DataError(
            f'{path} has {values.size:,} values where its head says {shape}: it is cut off: delete it and fetch '
            'it again')
    return values.reshape(shape)


@DATASETS.register_module()
class MNIST(OfficialDataset):
    """MNIST: 60,000 and 10,000 handwritten digits of 28x28, one channel, light ink on dark. ::

        data/mnist/               data_root (or MNIST/raw below it, where torchvision puts them)
        ├── train-images-idx3-ubyte.gz
        ├── train-labels-idx1-ubyte.gz
        ├── t10k-images-idx3-ubyte.gz
        └── t10k-labels-idx1-ubyte.gz

    From LeCun et al., "Gradient-Based Learning Applied to Document Recognition", 1998. Files that are unpacked already are
    read too; their MD5 is not published, so that only their lengths are checked. The arguments are those of
    :class:`OfficialDataset`.
    """

    METAINFO = {'classes': MNIST_CATEGORIES}
    #: Tried in this order; the first is PyTorch's mirror, since the authors' site refuses most downloads.
    MIRRORS: ClassVar[tuple[str, ...]] = ('https://ossci-datasets.s3.amazonaws.com/mnist/',
                                          'http://yann.lecun.com/exdb/mnist/')
    FILES = {
        'train': (
            ('train-images-idx3-ubyte.gz', 'f68b3c2dcbeaaa9fbdd348bbdeb94873'),
            ('train-labels-idx1-ubyte.gz', 'd53e105ee54ea40749a09fcbcd1e9432'),
        ),
        'test': (
            ('t10k-images-idx3-ubyte.gz', '9fb629c4189551a2d022fa330f9573f3'),
            ('t10k-labels-idx1-ubyte.gz', 'ec29112dd5afa0611ce80d1b7f02629c'),
        ),
    }

    @property
    def source(self) -> str:
        """Where a person finds the files."""
        return ' or '.join(self.MIRRORS)

    def find(self, name: str) -> Path | None:
        """Return the path of a file, packed or unpacked, in ``data_root`` or where torchvision puts it."""
        folders = (self.root, self.root / 'raw', self.root / type(self).__name__ / 'raw')
        places = [folder / file for file in (name, name.removesuffix('.gz')) for folder in folders]
        return next((place for place in places if place.is_file()), None)

    def fetch(self) -> None:
        """Download the packed files of this split into ``data_root``."""
        for name, md5 in self.FILES[self.files_of]:
            if self.find(name) is not None:
                continue
            for mirror in self.MIRRORS:
                try:
                    download(mirror + name, self.root / name, md5=md5)
                    break
                except DownloadError as err:
                    if mirror == self.MIRRORS[-1]:
                        raise
                    print_log(f'{err}; trying {self.MIRRORS[-1]}', logger='current')

    def _verify(self, path: Path, md5: str) -> None:
        """Check a packed file's MD5; there is none for an unpacked one."""
        if path.suffix == '.gz':
            super()._verify(path, md5)

    def read(self) -> tuple[np.ndarray, np.ndarray, str]:
        """Return images (N, 28, 28, 1) uint8, labels (N, ), 'bgr' (one channel has no order)."""
        image_file, label_file = (self.find(name) for name, _ in self.FILES[self.files_of])
        images, labels = read_idx(image_file), read_idx(label_file)
        if images.ndim != 3 or labels.ndim != 1:
            raise DataError(
                f'{image_file} has shape {images.shape} and {label_file} {labels.shape}; expected (N, H, W) and '
                '(N, ): were they renamed?')
        return images[..., np.newaxis], labels.astype(np.int64), 'bgr'


@DATASETS.register_module()
class FashionMNIST(MNIST):
    """Fashion-MNIST: 60,000 and 10,000 pictures of clothes of 28x28, one channel, in files named like those of MNIST.

    From Xiao et al., "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms", 2017. The
    arguments are those of :class:`OfficialDataset`.
    """

    METAINFO = {'classes': FASHIONMNIST_CATEGORIES}
    MIRRORS = ('http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/', )
    FILES = {
        'train': (
            ('train-images-idx3-ubyte.gz', '8d4fb7e6c68d591d4c3dfef9ec88bf0d'),
            ('train-labels-idx1-ubyte.gz', '25c81989df183df01b3e8a0aad5dffbe'),
        ),
        'test': (
            ('t10k-images-idx3-ubyte.gz', 'bef4ecab320f06d8554ea6380940ec79'),
            ('t10k-labels-idx1-ubyte.gz', 'bb300cfdad3c16e7a12a480ee83cd310'),
        ),
    }
