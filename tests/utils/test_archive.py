"""Archives: what is unpacked, and what is refused without a trace."""
import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from ftcls.utils import DataError, MissingFileError
from ftcls.utils.archive import safe_extract


def _tar(path: Path, *members: tuple[str, bytes | None, dict]) -> Path:
    """Write a tar.gz of (name, content, TarInfo attributes)."""
    with tarfile.open(path, 'w:gz') as archive:
        for name, content, attributes in members:
            info = tarfile.TarInfo(name)
            info.size = len(content or b'')
            for key, value in attributes.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content or b''))
    return path


def _zip(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, 'w') as archive:
        for name in names:
            archive.writestr(name, b'content')
    return path


def test_tar_into_new_and_existing_folder(tmp_path: Path) -> None:
    archive = _tar(tmp_path / 'a.tar.gz', ('batches/one', b'1', {}), ('batches/two', b'2', {}))
    new = safe_extract(archive, tmp_path / 'new')
    assert (new / 'batches' / 'two').read_bytes() == b'2'
    (tmp_path / 'old' / 'batches').mkdir(parents=True)
    (tmp_path / 'old' / 'batches' / 'half').touch()
    (tmp_path / 'old' / 'kept').touch()
    safe_extract(archive, tmp_path / 'old')
    assert sorted(p.name for p in (tmp_path / 'old').rglob('*')) == ['batches', 'kept', 'one', 'two']
    assert sorted(p.name for p in tmp_path.iterdir()) == ['a.tar.gz', 'new', 'old']


def test_inner_links_are_kept(tmp_path: Path) -> None:
    archive = _tar(tmp_path / 'a.tar', ('d/one', b'1', {}), ('d/link', None, {
        'type': tarfile.SYMTYPE,
        'linkname': 'one'
    }))
    assert (safe_extract(archive, tmp_path / 'new') / 'd' / 'link').read_bytes() == b'1'


def test_zip_and_gz(tmp_path: Path) -> None:
    assert (safe_extract(_zip(tmp_path / 'a.zip', 'x/y'), tmp_path / 'zip') / 'x' / 'y').read_bytes() == b'content'
    with gzip.open(tmp_path / 'labels.gz', 'wb') as file:
        file.write(b'content')
    assert (safe_extract(tmp_path / 'labels.gz', tmp_path / 'gz') / 'labels').read_bytes() == b'content'


@pytest.mark.parametrize('member', [
    ('../evil', b'', {}),
    ('a/../../evil', b'', {}),
    ('/tmp/evil', b'', {}),
    ('a/link', None, {'type': tarfile.SYMTYPE, 'linkname': '../../evil'}),
    ('link', None, {'type': tarfile.SYMTYPE, 'linkname': '/etc/passwd'}),
    ('link', None, {'type': tarfile.LNKTYPE, 'linkname': '../evil'}),
    ('pipe', None, {'type': tarfile.FIFOTYPE}),
    ('device', None, {'type': tarfile.CHRTYPE}),
])  # yapf: disable
def test_unsafe_tar(tmp_path: Path, member: tuple[str, bytes | None, dict]) -> None:
    (tmp_path / 'in').mkdir()
    archive = _tar(tmp_path / 'in' / 'a.tar', ('fine', b'1', {}), member)
    with pytest.raises(DataError, match='not safe to unpack.*nothing was unpacked'):
        safe_extract(archive, tmp_path / 'out')
    assert [p.name for p in tmp_path.iterdir()] == ['in'] and [p.name for p in (tmp_path / 'in').iterdir()] == ['a.tar']


@pytest.mark.parametrize('name', ['../evil', '/tmp/evil', 'a\\..\\..\\evil', 'C:\\evil'])
def test_unsafe_zip(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match='not safe to unpack'):
        safe_extract(_zip(tmp_path / 'a.zip', 'fine', name), tmp_path / 'out')
    assert [p.name for p in tmp_path.iterdir()] == ['a.zip']


def test_zip_symlink_is_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo('link')
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / 'a.zip', 'w') as archive:
        archive.writestr(info, '/etc/passwd')
    with pytest.raises(DataError, match='symbolic link'):
        safe_extract(tmp_path / 'a.zip', tmp_path / 'out')


def test_broken_archives_leave_nothing(tmp_path: Path) -> None:
    whole = _tar(tmp_path / 'a.tar.gz', ('one', bytes(range(256)) * 64, {})).read_bytes()
    for name, content in [('half.tar.gz', whole[:-30]), ('page.zip', b'<html>not here</html>'), ('empty.tar', b'')]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=name):
            safe_extract(tmp_path / name, tmp_path / 'out')
        assert not (tmp_path / 'out').exists()
    assert not [p for p in tmp_path.iterdir() if p.is_dir()]
    with pytest.raises(MissingFileError, match='no archive'):
        safe_extract(tmp_path / 'absent.zip', tmp_path / 'out')
