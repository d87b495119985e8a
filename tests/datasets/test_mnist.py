"""MNIST from IDX files that the test writes."""
import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
import torchvision

from ftcls.datasets import MNIST, FashionMNIST
from ftcls.utils import DataError, DownloadError, MissingFileError

RNG = np.random.RandomState(0)
IMAGES = RNG.randint(0, 256, (5, 28, 28), dtype=np.uint8)
LABELS = np.array([3, 1, 4, 1, 5], np.uint8)


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f'>I{array.ndim}I', 0x800 + array.ndim, *array.shape) + array.tobytes()


def write(folder: Path, packed: bool = True) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for (name, _), array in zip(MNIST.FILES['test'], (IMAGES, LABELS)):
        data = idx(array)
        (folder / (name if packed else name.removesuffix('.gz'))).write_bytes(gzip.compress(data) if packed else data)


def test_published_sums_are_torchvisions() -> None:
    for ours, theirs in ((MNIST, torchvision.datasets.MNIST), (FashionMNIST, torchvision.datasets.FashionMNIST)):
        assert list(ours.FILES['train'] + ours.FILES['test']) == theirs.resources
        # torchvision 0.21 asks the authors' site first.
        assert sorted(ours.MIRRORS) == sorted(theirs.mirrors)


@pytest.mark.parametrize('place', ['.', 'MNIST/raw', 'raw'])
@pytest.mark.parametrize('packed', [True, False])
def test_read(tmp_path: Path, place: str, packed: bool) -> None:
    write(tmp_path / place, packed)
    dataset = MNIST(data_root=str(tmp_path), split='test', verify=False, download=False)
    assert dataset.get_gt_labels().tolist() == LABELS.tolist()
    assert (dataset.get_data_info(2)['img'] == IMAGES[2][..., None]).all()
    assert dataset.class_counts()['1 - one'] == 2


def test_verified_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)
    with pytest.raises(DataError, match='is not the published file of MNIST'):
        MNIST(data_root=str(tmp_path), split='test')
    files = tuple((name, hashlib.md5((tmp_path / name).read_bytes()).hexdigest()) for name, _ in MNIST.FILES['test'])
    monkeypatch.setattr(MNIST, 'FILES', {'test': files})
    assert len(MNIST(data_root=str(tmp_path), split='test')) == 5


def test_broken_files(tmp_path: Path) -> None:
    write(tmp_path)
    name = MNIST.FILES['test'][0][0]
    for content, message in ((b'no gzip', 'broken or cut off'), (gzip.compress(b'no idx'), 'not an IDX file'),
                             (gzip.compress(idx(IMAGES)[:-9]), 'cut off'), (gzip.compress(idx(IMAGES))[:-9], 'cut off'),
                             (gzip.compress(idx(LABELS)), 'renamed'), (gzip.compress(idx(IMAGES[:4])), 'do not fit')):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=message):
            MNIST(data_root=str(tmp_path), split='test', verify=False)


def test_absent_and_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingFileError, match='train-images-idx3-ubyte.gz, .*fashion-mnist.s3.*download=True'):
        FashionMNIST(data_root=str(tmp_path), download=False)
    asked = []

    def fake(url: str, path: Path, md5: str) -> Path:
        asked.append(url)
        if url.startswith(MNIST.MIRRORS[0]):
            raise DownloadError('the first mirror is down')
        write(path.parent)
        return path

    monkeypatch.setattr('ftcls.datasets.mnist.download', fake)
    assert len(MNIST(data_root=str(tmp_path), split='test', verify=False)) == 5
    assert asked == [mirror + MNIST.FILES['test'][0][0] for mirror in MNIST.MIRRORS]
