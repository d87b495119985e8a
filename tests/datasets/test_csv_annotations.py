"""Lists of images in CSV and JSON, tidy and untidy."""
import json
from pathlib import Path

import pytest

from ftcls.datasets.csv_annotations import Row, read_rows
from ftcls.utils import DataError, MissingFileError


def read(tmp_path: Path, text: str | bytes, name: str = 'x.csv') -> list[Row]:
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_rows(str(tmp_path / name))


def test_csv(tmp_path: Path) -> None:
    text = '\ufeffpath,label\r\n\r\na b.jpg,cat\r\n"c,d.jpg", house cat \r\n'
    assert read(tmp_path, text) == [Row('a b.jpg', ('cat', ), 'line 3'), Row('c,d.jpg', ('house cat', ), 'line 4')]


@pytest.mark.parametrize('text', [
    'path,label\na.jpg,cat;dog\nb.jpg,\n',
    'id,label,Path,label2\n7,cat,a.jpg,dog\n8,,b.jpg,\n',
    'filename\tlabels\na.jpg\tcat; dog;cat\nb.jpg\n',
    'path;label;label\na.jpg;cat;dog\nb.jpg;;\n',
])
def test_several_labels(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text) == [Row('a.jpg', ('cat', 'dog'), 'line 2'), Row('b.jpg', (), 'line 3')]


def test_other_columns_are_logged(tmp_path: Path, log_records: list) -> None:
    read(tmp_path, 'path,label,width\na.jpg,cat,5\n')
    assert [text for _, text in log_records] == [f"{tmp_path}/x.csv: skipped the columns 'width'"]


def test_json(tmp_path: Path) -> None:
    entries = [
        dict(path='a.jpg', label='cat'),
        dict(img_path='b.jpg', labels=['cat', 3]),
        dict(path='c.jpg', label=None)
    ]
    assert read(tmp_path, json.dumps(entries), 'x.json') == [
        Row('a.jpg', ('cat', ), 'entry 1'), Row('b.jpg', ('cat', '3'), 'entry 2'), Row('c.jpg', (), 'entry 3')
    ]  # yapf: disable


@pytest.mark.parametrize('text, message', [
    ('file,label\na,b\n', "must name the columns, `path,label`, and names 'file', 'label'"),
    ('foo,bar\na,b\n', "names 'foo', 'bar'; allowed are path, img_path, filename, and label, labels, [^?]*label2 …$"),
    ('pth,label\na,b\n', "allowed are path, .*did you mean 'path' by 'pth'"),
    ('a.jpg cat\n', "names 'a.jpg cat'"),
    ('path,label\na,b.jpg,cat\n', 'x.csv, line 2: 3 columns below a header of 2.*double quotes'),
    ('path,label\na.jpg,cat\n,cat\n', 'x.csv, line 3: has no path'),
    ('path,label\n"a.jpg,cat\n', 'x.csv, line 2: .*quote left open'),
    ('path,label\n', 'lists no images'),
    ('', 'lists no images'),
    (b'path,label\n\xe4.jpg,cat\n', 'is not in UTF-8'),
])
def test_wrong_csv(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, text)


@pytest.mark.parametrize('text, message', [
    ('[{"path": "a.jpg", ]', 'x.json, line 1: this is not JSON'),
    ('{"metainfo": {}, "data_list": []}', 'OpenMMLab 2.0.*BaseDataset'),
    ('{"a.jpg": "cat"}', 'must hold a list of'),
    ('["a.jpg"]', "entry 1: expected .*'a.jpg'"),
    ('[{"label": "cat"}]', 'entry 1: has no path'),
    ('[{"path": 3}]', '"path" must be text, got 3'),
    ('[{"path": "a", "label": 0.5}]', 'a label must be text, a whole number.*0.5'),
    ('[]', 'lists no images'),
])
def test_wrong_json(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, text, 'x.json')


def test_missing(tmp_path: Path) -> None:
    (tmp_path / 'x.csv').touch()
    with pytest.raises(MissingFileError, match="did you mean 'x.csv'"):
        read_rows(str(tmp_path / 'xx.csv'))
