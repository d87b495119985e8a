"""A file of bytes: written once, whole or not at all, bounded, and shared."""
import copy
import multiprocessing
import os
import pickle

import pytest

from ftcls.utils import array_file
from ftcls.utils.array_file import ArrayFile
from ftcls.utils.errors import ConfigError


def _ensure(path, content=b'abcdef', **options):
    return ArrayFile.ensure(path, len(content), lambda file: file.write(content), **options)


def _total(file):
    return int(file.data.sum())


def test_a_file_is_written_once_and_read_by_all(tmp_path):
    file, was_there = _ensure(tmp_path / 'new' / 'a.bin')
    again, is_there = _ensure(tmp_path / 'new' / 'a.bin', b'never written')
    assert (was_there, is_there) == (False, True)
    assert bytes(again.data) == bytes(file.data) == b'abcdef'
    assert not file.data.flags.writeable


def test_a_deleted_file_is_passed_on_to_copies_and_spawned_processes(tmp_path):
    file, _ = _ensure(tmp_path / 'a.bin')
    os.unlink(file.path)
    assert bytes(copy.deepcopy(file).data) == bytes(pickle.loads(pickle.dumps(file)).data) == b'abcdef'
    with multiprocessing.get_context('spawn').Pool(1) as pool:
        assert pool.apply(_total, (file, )) == sum(b'abcdef')


@pytest.mark.parametrize('change', [lambda old: old[:-1], lambda old: old[3:], lambda old: old + b'x', lambda old: b''])
def test_a_file_that_is_not_whole_is_written_anew(tmp_path, change):
    path = tmp_path / 'a.bin'
    _ensure(path)
    path.write_bytes(change(path.read_bytes()))
    file, was_there = _ensure(path)
    assert not was_there and bytes(file.data) == b'abcdef'


def test_a_file_that_another_process_writes_meanwhile_was_not_there(tmp_path, monkeypatch):
    path = tmp_path / 'a.bin'

    class Waiting(array_file.FileLock):

        def __enter__(self):
            path.write_bytes((tmp_path / 'whole.bin').read_bytes())
            return super().__enter__()

    _ensure(tmp_path / 'whole.bin')
    monkeypatch.setattr(array_file, 'FileLock', Waiting)
    assert [_ensure(path, b'never written')[1] for _ in range(2)] == [False, True]


def test_an_error_while_writing_leaves_no_file(tmp_path):

    def fail(file):
        file.write(b'half')
        raise ValueError('of the writer')

    with pytest.raises(ValueError, match='of the writer'):
        ArrayFile.ensure(tmp_path / 'a.bin', 4, fail)
    assert [path.name for path in tmp_path.iterdir()] in (['.lock'], [])


def test_the_least_recently_used_files_make_room(tmp_path):
    content = bytes(400)
    for number, name in enumerate(['a.bin', 'b.bin']):
        _ensure(tmp_path / name, content)
        os.utime(tmp_path / name, (number, number))
    _ensure(tmp_path / 'a.bin', content)  # used again, which makes b the oldest
    (tmp_path / 'other.txt').write_bytes(content)
    (tmp_path / f'.killed.bin.{"0" * 32}.part').write_bytes(content)
    _ensure(tmp_path / 'c.bin', content, limit=1000 / 2**30)
    assert sorted(path.name for path in tmp_path.glob('*.*') if path.name != '.lock') == ['a.bin', 'c.bin', 'other.txt']


def test_what_does_not_fit_is_refused_before_it_is_written(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match='4e-07 GiB are needed.*limit'):
        _ensure(tmp_path / 'a.bin', bytes(429), limit=1e-7)
    monkeypatch.setattr(array_file, '_free_bytes', lambda folder: 10)
    with pytest.raises(ConfigError, match='half of what is free'):
        _ensure(tmp_path / 'a.bin', bytes(6))
    (tmp_path / 'file').touch()
    with pytest.raises(ConfigError, match='another folder'):
        _ensure(tmp_path / 'file' / 'a.bin')


@pytest.mark.skipif(not array_file.SHARED_MEMORY.is_dir(), reason='has no /dev/shm')
def test_free_memory_is_that_of_the_machine():
    free = array_file._free_bytes(array_file.SHARED_MEMORY)
    assert 0 < free <= os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
