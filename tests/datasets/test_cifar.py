"""CIFAR from batches that the test writes, and from the real ones."""
import hashlib
import io
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torchvision

from ftcls.datasets import CIFAR10, CIFAR100
from ftcls.utils import ConfigError, DataError, MissingFileError

RNG = np.random.RandomState(0)


def batch(count: int, key: str = 'labels', classes: int = 10) -> dict:
    data = RNG.randint(0, 256, (count, 3072), dtype=np.uint8)
    return {'data': data, key: [int(n) for n in RNG.randint(0, classes, count)], 'filenames': ['a'] * count}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / CIFAR10.FOLDER
    folder.mkdir()
    for split in CIFAR10.FILES.values():
        for name, _ in split:
            (folder / name).write_bytes(pickle.dumps(batch(3), protocol=2))
    return tmp_path


def test_published_sums_are_torchvisions() -> None:
    for ours, theirs in ((CIFAR10, torchvision.datasets.CIFAR10), (CIFAR100, torchvision.datasets.CIFAR100)):
        assert [list(pair) for pair in ours.FILES['train']] == theirs.train_list
        assert [list(pair) for pair in ours.FILES['test']] == theirs.test_list
        assert (ours.URL, ours.MD5, ours.FOLDER) == (theirs.url, theirs.tgz_md5, theirs.base_folder)


@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
def test_batches_of_every_protocol(root: Path, protocol: int) -> None:
    content = batch(5)
    (root / CIFAR10.FOLDER / 'test_batch').write_bytes(pickle.dumps(content, protocol=protocol))
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
    (root / CIFAR10.FOLDER / 'test_batch').write_bytes(old)
    assert len(CIFAR10(data_root=str(root), split='test', verify=False)) == 4


def test_splits_and_places(root: Path) -> None:
    assert len(CIFAR10(data_root=str(root), verify=False)) == 15
    assert len(CIFAR10(data_root=str(root), test_mode=True, verify=False)) == 3
    assert len(CIFAR10(data_root=str(root / CIFAR10.FOLDER), split='test', verify=False)) == 3
    assert len(CIFAR10(data_root=str(root.parent), data_prefix=root.name, split='test', verify=False)) == 3
    with pytest.raises(ConfigError, match="split='val'.*train, test"):
        CIFAR10(data_root=str(root), split='val')
    with pytest.raises(ConfigError, match='needs data_root'):
        CIFAR10()


def test_classes_by_name(root: Path) -> None:
    (root / CIFAR10.FOLDER / 'test_batch').write_bytes(pickle.dumps({**batch(4), 'labels': [0, 3, 5, 3]}))
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
        (root / CIFAR10.FOLDER / 'test_batch').write_bytes(pickle.dumps(evil))
        with pytest.raises(DataError, match='asks for posix.system'):
            CIFAR10(data_root=str(root), split='test', verify=False)
    assert not (root / 'evil').exists()


@pytest.mark.parametrize('content', [
    b'', b'<html>', pickle.dumps([1]), pickle.dumps({'data': np.zeros((2, 3))}), pickle.dumps(batch(2))[:-500],
    pickle.dumps({'data': np.zeros((2, 3072), np.uint8), 'labels': [1]}),
    pickle.dumps({'data': np.zeros((1, 3072), np.uint8), 'labels': [10]})
])  # yapf: disable
def test_broken_batches(root: Path, content: bytes) -> None:
    (root / CIFAR10.FOLDER / 'test_batch').write_bytes(content)
    with pytest.raises(DataError, match='broken|not a batch'):
        CIFAR10(data_root=str(root), split='test', verify=False)


def test_cifar100(tmp_path: Path) -> None:
    (tmp_path / CIFAR100.FOLDER).mkdir()
    (tmp_path / CIFAR100.FOLDER / 'test').write_bytes(pickle.dumps(batch(6, 'fine_labels', 100)))
    dataset = CIFAR100(data_root=str(tmp_path), split='test', verify=False)
    assert len(dataset) == 6 and len(dataset.CLASSES) == len(set(dataset.CLASSES)) == 100


def test_absent_files(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match='data_batch_1, .*not found in.*cs.toronto.edu.*download=True'):
        CIFAR10(data_root=str(tmp_path), download=False)


def test_download(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The archive is fetched and unpacked; without a network the message says what is wanted and where."""
    monkeypatch.setattr(CIFAR10, 'URL', 'http://127.0.0.1:9/cifar-10-python.tar.gz')
    with pytest.raises(MissingFileError, match='test_batch not found.*Downloading them failed: cannot reach 127.0.0.1'):
        CIFAR10(data_root=str(tmp_path / 'new'), split='test')

    def fake(url: str, path: Path, md5: str) -> Path:
        assert url == CIFAR10.URL and md5 == CIFAR10.MD5
        content = (root / CIFAR10.FOLDER / 'test_batch').read_bytes()
        with tarfile.open(path, 'w:gz') as archive:
            info = tarfile.TarInfo(f'{CIFAR10.FOLDER}/test_batch')
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        monkeypatch.setattr(CIFAR10, 'FILES', {'test': (('test_batch', hashlib.md5(content).hexdigest()), )})
        return path

    monkeypatch.setattr('ftcls.datasets.cifar.download', fake)
    (tmp_path / 'new').mkdir(exist_ok=True)
    assert len(CIFAR10(data_root=str(tmp_path / 'new'), split='test', verify=False)) == 3
    assert len(CIFAR10(data_root=str(tmp_path / 'new'), split='test')) == 3


def test_real_batches(real_data: Path) -> None:
    root = str(real_data / 'cifar10')
    train, test = (CIFAR10(data_root=root, split=split, verify=False) for split in ('train', 'test'))
    assert (len(train), len(test)) == (5085, 1017)
    assert test.get_gt_labels()[:8].tolist() == [3, 8, 8, 0, 6, 6, 1, 6]  # CIFAR-10's test set begins so
    with pytest.raises(DataError, match='verify=False'):
        CIFAR10(data_root=root, split='test')
