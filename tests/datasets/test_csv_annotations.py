"""Lists of images in CSV and JSON, tidy and untidy."""
import json
from pathlib import Path

import pytest

from ftcls.datasets.csv_annotations import Row, check_labels, read_rows
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


@pytest.mark.parametrize('name, text', [
    ('x.csv', 'path,cat,dog,width\na.jpg,1,0,7\nb.jpg,1.0,TRUE,8\nc.jpg,0,,9\n'),
    ('x.tsv', 'path\tcat\tdog\na.jpg\t1\t0\nb.jpg\t1\t1\nc.jpg\t\t0\n'),
    ('x.json', '[{"path": "a.jpg", "cat": 1, "dog": 0}, {"path": "b.jpg", "cat": true, "dog": 1}, {"path": "c.jpg"}]'),
    ('x.yaml', '- {path: a.jpg, cat: 1}\n- {path: b.jpg, cat: 1, dog: 1}\n- {path: c.jpg, dog: 0}\n'),
])
def test_columns_of_0_and_1_are_classes(tmp_path: Path, name: str, text: str, log_records: list) -> None:
    assert [row.labels for row in read(tmp_path, text, name)] == [('cat', ), ('cat', 'dog'), ()]
    assert any("columns of 0 and 1, 'cat', 'dog'" in text for _, text in log_records)


TABLE = 'path,label\nä.jpg,cat\n'


@pytest.mark.parametrize('name', ['x.csv', 'x.json', 'x.yaml'])
@pytest.mark.parametrize('content, message', [
    (TABLE.encode('utf-16'), r'line 1: byte 3 \(0x00\) is not text in UTF-8; .*iconv -f UTF-16 -t UTF-8'),
    (TABLE.encode('utf-16-le'), 'line 1: byte 1 .*UTF-16'),
    (TABLE.encode('utf-16-be'), 'line 1: byte 0 .*UTF-16'),
    (TABLE.encode('latin-1'), r'line 2: byte 11 \(0xe4\).*-f WINDOWS-1252'),
    ('path,label\n蚂蚁/1.jpg,蚂蚁\n'.encode('gbk'), r'line 2: byte 11 \(0xc2\).*-f GB18030'),
    (b'PK\x03\x04xl/workbook', 'is a spreadsheet, .*save the table as CSV'),
    (b'PAR1abc', 'save the table as CSV'),
])
def test_what_is_no_text_in_utf8(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, content, name)


@pytest.mark.parametrize('labels, classes, message', [
    (['1', '2', '3'], None, "line 4: label '3' is no class; .*they count from 1: subtract 1"),
    (['1', '2', '3'], 'abc', "line 4: label '3' is no class; allowed are 0 to 2, a class name.*they count from 1"),
    (['0', '1', '7'], None, "line 4: label '7' is no class; allowed are 0, 1, 2 … without gaps"),
    (['7', '207', '281'], None, "line 2: label '7' .*names that `classes` lists"),
    (['0', '9'], 'abc', "line 3: label '9' is no class; allowed are 0 to 2"),
    (['0', '4000000000'], None, "label '4000000000'"),
    (['0.0', '1.0'], None, "line 2: label '0.0' is no class"),
    (['0', '3.5'], 'abc', "line 3: label '3.5' is no class"),
    (['-1', '1'], None, "line 2: label '-1' is no class"),
    (['1 0 0', '0 1 0'], None, "label '1 0 0' is no class; .*in CSV a column of 0 and 1 for each class"),
])
def test_labels_that_are_no_classes(labels: list[str], classes: str | None, message: str) -> None:
    rows = {label: Row('a.jpg', (label, ), f'line {number}') for number, label in enumerate(labels, start=2)}
    with pytest.raises(DataError, match=message):
        check_labels('x.csv', rows, classes and tuple(classes))


@pytest.mark.parametrize(
    'labels, classes',
    [
        (['a', 'A'], None),  # letters
        (['1', '0'], None),
        (['1.0', '2.0'], ('1.0', '2.0')),
        (['1.0', '2.0'], ('1.0', )),  # the other is left out
        (['7', 'x'], None),
        (['0', '1', '3'], None),  # a class is rare
        (['0-9', '10-19', '20-29'], None),  # ages
        (['2020-01-01', '2020-01-02'], None),
        (['1', '2', '9'], ('1', '2')),  # numbers are names here; the other is left out
        (['Ants', 'ants'], ('Ants', 'ants')),
    ])
def test_labels_that_are_classes(labels: list[str], classes: tuple[str, ...] | None) -> None:
    check_labels('x.csv', {label: Row('a.jpg', (label, ), 'line 2') for label in labels}, classes)


@pytest.mark.parametrize('labels, said', [
    (['ants', 'bees', 'Ants'], "x.csv: 'ants' (line 2) and 'Ants' (line 4) differ only in case or spaces"),
    (['red ant', 'red_ant'], "'red_ant' (line 3) differ only"),
    (['cafe\u0301', 'caf\u00e9'], 'only in case or spaces'),
    (['ants', 'ants\u200b'], 'only in case or spaces'),
    (['m2', 'm²', 'a', 'A'], ''),
])
def test_labels_that_are_alike_are_warned_of(labels: list[str], said: str, log_records: list) -> None:
    rows = {label: Row('a.jpg', (label, ), f'line {number}') for number, label in enumerate(labels, start=2)}
    check_labels('x.csv', rows, None)
    assert [said in text for _, text in log_records] == [True] * bool(said)


@pytest.mark.parametrize('text', [
    'sep=;\npath;label\na.jpg;cat\n',
    '\ufeff"sep=,"\r\n"path","label"\r\n"a.jpg","cat"\r\n',
    '# made by hand\npath,label\n# cats\na.jpg,cat\n',
    'path,label\na.jpg,cat,,\n',
    'path,path,label\na.jpg,,cat\n',
])
def test_lines_and_columns_that_hold_nothing(tmp_path: Path, text: str) -> None:
    row, = read(tmp_path, text)
    assert (row.path, row.labels) == ('a.jpg', ('cat', ))


@pytest.mark.parametrize('text, message', [
    ('file,label\na,b\n', "no column is named path, .*among 'file', 'label'"),
    ('image,label\na.jpg,cat\n', "rename 'image' to path"),
    ('path label\na.jpg cat\n', "among 'path label'; let line 1 name the columns: `path,label`"),
    ('path,label,label,label\na.jpg,1,0,0\n', "line 2: .* are flags, not labels; write the classes"),
    ('path,class\na.jpg,cat\n', "no column of labels: name it label, .*there is 'class'"),
    ('path,sick,age\na.jpg,1,50\n', "no column of labels.*a column of 0 and 1 for each class"),
    ('foo,bar\na,b\n', "named path, img_path or filename among 'foo', 'bar'; let line 1"),
    ('a.jpg cat\n', 'lists no images; it needs a header'),
    ('a.jpg,cat\nb.jpg,dog\n', "among 'a.jpg', 'cat'; let line 1 name the columns: `path,label`"),
    ('path,label\na,b.jpg,cat\n', 'x.csv, line 2: 3 columns below a header of 2.*double quotes'),
    ('path,label\na.jpg,cat\n,cat\n', 'x.csv, line 3: has no path'),
    ('path,label\n"a.jpg,cat\n', 'x.csv, line 2: .*quote left open'),
    ('path,label\n', 'lists no images'),
    ('', 'lists no images'),
    (b'path,label\n\xe4.jpg,cat\n', r'line 2: byte 11 \(0xe4\) is not text in UTF-8; .*WINDOWS-1252'),
])
def test_wrong_csv(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, text)


@pytest.mark.parametrize('text, message', [
    ('[{"path": "a.jpg", ]', 'x.json: cannot be read as json: .*line 1'),
    ('{"metainfo": {}, "data_list": []}', 'OpenMMLab 2.0.*BaseDataset'),
    ('{"a.jpg": "cat"}', 'must be a list of'),
    ('["a.jpg"]', "entry 1: expected .*'a.jpg'"),
    ('[{"label": "cat"}]', "no column is named path, .*among 'label'"),
    ('[{"path": "a", "label": 1}, {"label": 1}]', 'entry 2: has no path'),
    ('[{"path": 3, "label": 1}]', 'as text under `path`, got 3'),
    ('[{"path": "a", "label": 0.5}]', 'a label is text .in quotes., an integer.*0.5'),
    ('{"path": "a"}\n{"path": "b"}', 'cannot be read as json: Extra data: line 2'),
    ('[]', 'lists no images'),
])
def test_wrong_json(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, text, 'x.json')


@pytest.mark.parametrize('text, message', [
    ('- path: a.jpg\n  label: !!python/object/apply:os.getcwd []\n',
     'x.yaml: cannot be read as yaml: could not determine a constructor .*line 2'),
    ('- {path: a.jpg, label: no}\n', 'entry 1: a label is text .in quotes., .*got False'),
    ('- path: a.jpg\n label: b\n', 'x.yaml: cannot be read as yaml: .*line 2'),
])
def test_wrong_yaml(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, text, 'x.yaml')


def test_missing(tmp_path: Path) -> None:
    (tmp_path / 'x.csv').touch()
    with pytest.raises(MissingFileError, match="did you mean 'x.csv'"):
        read_rows(str(tmp_path / 'xx.csv'))
