"""CIFAR and MNIST from files that the tests write, and from real batches of CIFAR."""
import gzip
import hashlib
import io
import os
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
from torchvision import datasets as torchvision_datasets

from ftcls.datasets import CIFAR10, CIFAR100, MNIST, FashionMNIST
from ftcls.utils import ConfigError, DataError, DownloadError, MissingFileError

RNG = np.random.RandomState(0)
FOLDER = 'cifar-10-batches-py'


def batch(count: int, key: str = 'labels', classes: int = 10) -> dict:
    data = RNG.randint(0, 256, (count, 3072), dtype=np.uint8)
    return {'data': data, key: [int(n) for n in RNG.randint(0, classes, count)], 'filenames': ['a'] * count}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / FOLDER
    folder.mkdir()
    for name in (*(f'data_batch_{number}' for number in range(1, 6)), 'test_batch'):
        (folder / name).write_bytes(pickle.dumps(batch(3), protocol=2))
    return tmp_path


def test_files_and_classes_are_torchvisions(tmp_path: Path) -> None:
    for ours, train, test in ((CIFAR10, 5, 1), (CIFAR100, 1, 1), (MNIST, 2, 2), (FashionMNIST, 2, 2)):
        parts = [ours(data_root=str(tmp_path), split=split, lazy_init=True) for split in ('train', 'test')]
        assert parts[0].published is getattr(torchvision_datasets, ours.__name__)
        assert [len(part.files) for part in parts] == [train, test]
        assert not {name for name, _ in parts[0].files} & {name for name, _ in parts[1].files}
        if hasattr(parts[0].published, 'classes'):
            assert list(ours.METAINFO['classes']) == parts[0].published.classes


@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
def test_batches_of_every_protocol(root: Path, protocol: int) -> None:
    content = batch(5)
    (root / FOLDER / 'test_batch').write_bytes(pickle.dumps(content, protocol=protocol))
    dataset = CIFAR10(data_root=str(root), split='test', verify=False)
    assert dataset.get_gt_labels().tolist() == content['labels']
    info = dataset.get_data_info(2)
    assert info['channel_order'] == 'rgb' and info['img_shape'] == info['ori_shape'] == (32, 32)
    red, green, blue = content['data'][2].reshape(3, 32, 32)
    assert (info['img'] == np.stack([red, green, blue], axis=2)).all()


def test_numpy_labels_and_old_names_of_numpy(root: Path) -> None:
    content = batch(4)
    content['labels'] = np.asarray(content['labels'])
    data = pickle.dumps({**content, 'one': np.float64(1)}, protocol=2)
    # What Python 2 and NumPy 1 wrote: `numpy.core`, and ints for the bools of a dtype.
    old = data.replace(b'cnumpy._core.multiarray', b'cnumpy.core.multiarray')
    (root / FOLDER / 'test_batch').write_bytes(old)
    assert len(CIFAR10(data_root=str(root), split='test', verify=False)) == 4


def test_splits_and_places(root: Path) -> None:
    assert len(CIFAR10(data_root=str(root), verify=False)) == 15
    assert len(CIFAR10(data_root=str(root), test_mode=True, verify=False)) == 3
    assert len(CIFAR10(data_root=str(root / FOLDER), split='test', verify=False)) == 3
    assert len(CIFAR10(data_root=str(root.parent), data_prefix=root.name, split='test', verify=False)) == 3
    with pytest.raises(ConfigError, match="split='val' must be train or test with val_fraction=None"):
        CIFAR10(data_root=str(root), split='val')
    with pytest.raises(ConfigError, match='set data_root'):
        CIFAR10()


def test_classes_by_name(root: Path) -> None:
    (root / FOLDER / 'test_batch').write_bytes(pickle.dumps({**batch(4), 'labels': [0, 3, 5, 3]}))
    dataset = CIFAR10(data_root=str(root), split='test', verify=False, classes=['dog', 'cat'])
    assert dataset.get_gt_labels().tolist() == [1, 0, 1] and 'airplane' in dataset.ignored_classes
    with pytest.raises(DataError, match='none of the classes'):
        CIFAR10(data_root=str(root), split='test', verify=False, classes=['tree'])


def test_other_files_are_refused_by_default(root: Path) -> None:
    with pytest.raises(DataError, match='test_batch is not the published file.*expected 40351d58.*verify=False'):
        CIFAR10(data_root=str(root), split='test')


class _Evil:

    def __reduce__(self) -> tuple:
        return os.system, ('touch evil', )


def test_pickles_cannot_run_code(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    for evil in (_Evil(), {**batch(1), 'x': _Evil()}):
        (root / FOLDER / 'test_batch').write_bytes(pickle.dumps(evil))
        with pytest.raises(DataError, match='names posix.system, which could run code'):
            CIFAR10(data_root=str(root), split='test', verify=False)
    assert not (root / 'evil').exists()


@pytest.mark.parametrize('content', [
    b'', b'<html>', pickle.dumps([1]), pickle.dumps({'data': np.zeros((2, 3))}), pickle.dumps(batch(2))[:-500],
    pickle.dumps({'data': np.zeros((2, 3072), np.uint8), 'labels': [1]}),
    pickle.dumps({'data': np.zeros((1, 3072), np.uint8), 'labels': [10]})
])  # yapf: disable
def test_broken_batches(root: Path, content: bytes) -> None:
    (root / FOLDER / 'test_batch').write_bytes(content)
    with pytest.raises(DataError, match='broken|not a batch'):
        CIFAR10(data_root=str(root), split='test', verify=False)


def test_cifar100(tmp_path: Path) -> None:
    (tmp_path / 'cifar-100-python').mkdir()
    (tmp_path / 'cifar-100-python' / 'test').write_bytes(pickle.dumps(batch(6, 'fine_labels', 100)))
    dataset = CIFAR100(data_root=str(tmp_path), split='test', verify=False)
    assert len(dataset) == 6 and len(dataset.CLASSES) == len(set(dataset.CLASSES)) == 100


def test_absent_batches(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match='data_batch_1, .*not found in.*cs.toronto.edu.*download=True'):
        CIFAR10(data_root=str(tmp_path), download=False)


def test_download(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The archive is fetched and unpacked; without a network the message says what is missing and where to put it."""
    content = (root / FOLDER / 'test_batch').read_bytes()
    published = torchvision_datasets.CIFAR10
    monkeypatch.setattr(published, 'url', 'http://127.0.0.1:9/cifar-10-python.tar.gz')
    monkeypatch.setattr(published, 'test_list', [['test_batch', hashlib.md5(content).hexdigest()]])
    new = tmp_path / 'new'
    with pytest.raises(MissingFileError, match='test_batch not found.*Downloading them failed: .*127.0.0.1'):
        CIFAR10(data_root=str(new), split='test')

    def fake(url: str, path: Path, md5: str) -> Path:
        assert url == published.url and md5 == published.tgz_md5
        with tarfile.open(path, 'w:gz') as archive:
            info = tarfile.TarInfo(f'{FOLDER}/test_batch')
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        return path

    monkeypatch.setattr('ftcls.datasets.stock.download', fake)
    new.mkdir(exist_ok=True)
    assert len(CIFAR10(data_root=str(new), split='test')) == 3
    assert not [path for path in new.iterdir() if path.is_dir() and path.name != FOLDER]  # nothing half unpacked


def test_real_batches(real_data: Path) -> None:
    root = str(real_data / 'cifar10')
    train, test = (CIFAR10(data_root=root, split=split, verify=False) for split in ('train', 'test'))
    assert (len(train), len(test)) == (5085, 1017)
    assert test.get_gt_labels()[:8].tolist() == [3, 8, 8, 0, 6, 6, 1, 6]  # CIFAR-10's test set begins so
    with pytest.raises(DataError, match='verify=False'):
        CIFAR10(data_root=root, split='test')


IMAGES = RNG.randint(0, 256, (5, 28, 28), dtype=np.uint8)
LABELS = np.array([3, 1, 4, 1, 5], np.uint8)

MNIST_FILES = ('t10k-images-idx3-ubyte.gz', 't10k-labels-idx1-ubyte.gz')


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f'>I{array.ndim}I', 0x800 + array.ndim, *array.shape) + array.tobytes()


def write(folder: Path, packed: bool = True) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in zip(MNIST_FILES, (IMAGES, LABELS)):
        data = idx(array)
        (folder / (name if packed else name.removesuffix('.gz'))).write_bytes(gzip.compress(data) if packed else data)


@pytest.mark.parametrize('place', ['.', 'MNIST/raw', 'raw'])
@pytest.mark.parametrize('packed', [True, False])
def test_idx_files(tmp_path: Path, place: str, packed: bool) -> None:
    write(tmp_path / place, packed)
    dataset = MNIST(data_root=str(tmp_path), split='test', verify=False, download=False)
    assert dataset.get_gt_labels().tolist() == LABELS.tolist()
    assert (dataset.get_data_info(2)['img'] == IMAGES[2][..., None]).all()
    assert dataset.class_counts()['1 - one'] == 2


def test_mnist_is_verified_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)
    with pytest.raises(DataError, match='is not the published file of MNIST'):
        MNIST(data_root=str(tmp_path), split='test')
    files = [(name, hashlib.md5((tmp_path / name).read_bytes()).hexdigest()) for name in MNIST_FILES]
    monkeypatch.setattr(torchvision_datasets.MNIST, 'resources', files)
    assert len(MNIST(data_root=str(tmp_path), split='test')) == 5


def test_broken_idx_files(tmp_path: Path) -> None:
    write(tmp_path)
    for content, message in ((b'no gzip', 'broken or cut off'), (gzip.compress(b'no idx'), 'not an IDX file'),
                             (gzip.compress(b'\0\0\x08'), 'cut off'), (gzip.compress(idx(IMAGES)[:-9]), 'cut off'),
                             (gzip.compress(idx(IMAGES))[:-9], 'cut off'), (gzip.compress(idx(LABELS)), 'renamed'),
                             (gzip.compress(idx(IMAGES[:4])), 'do not match')):
        (tmp_path / MNIST_FILES[0]).write_bytes(content)
        with pytest.raises(DataError, match=message):
            MNIST(data_root=str(tmp_path), split='test', verify=False)


def test_mnist_tries_each_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingFileError, match='train-images-idx3-ubyte.gz, .*fashion-mnist.s3.*download=True'):
        FashionMNIST(data_root=str(tmp_path), download=False)
    asked = []

    def fake(url: str, path: Path, md5: str) -> Path:
        asked.append(url)
        if url.startswith('https://ossci'):
            raise DownloadError('the first mirror is down')
        write(path.parent)
        return path

    monkeypatch.setattr('ftcls.datasets.stock.download', fake)
    assert len(MNIST(data_root=str(tmp_path), split='test', verify=False)) == 5
    assert sorted(
        torchvision_datasets.MNIST.mirrors, reverse=True) == [url.removesuffix(MNIST_FILES[0]) for url in asked]
