"""The scan before training: every bad file by name, in the list too; what turns out later is reported once."""
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from ftcls.apis.training import file_scan
from ftcls.apis.training.file_scan import BadSampleHook, scan_files
from ftcls.datasets import CustomDataset
from ftcls.datasets.bad_samples import IS_BAD, IS_DAMAGED
from ftcls.utils import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ('ant', 'bee'):
        (tmp_path / 'data' / name).mkdir(parents=True)
        for number in range(6):
            Image.fromarray(np.full((8, 8, 3), 9 * number, np.uint8)).save(tmp_path / 'data' / name / f'{number}.png')
    return tmp_path


def build(folder: Path, **settings) -> CustomDataset:
    pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
    return CustomDataset(data_root=str(folder / 'data'), pipeline=pipeline, **settings)


def lines(folder: Path) -> list[list[str]]:
    return [line.split('\t') for line in (folder / 'work' / 'bad_samples.txt').read_text().splitlines()]


def test_nothing_is_wrong(folder):
    (folder / 'work').mkdir()
    (folder / 'work' / 'bad_samples.txt').write_text('of an earlier run')
    headers, notes = scan_files(dict(train=build(folder), val=build(folder)), str(folder / 'work'))
    assert len(headers) == 12
    assert notes[0].startswith('12 files in ') and notes[0].endswith(' s, all readable')
    assert not (folder / 'work' / 'bad_samples.txt').exists()


def test_every_bad_file_is_listed_and_the_first_are_named(folder):
    for number in range(6):
        (folder / 'data' / 'bee' / f'{number}.png').write_bytes(b'')
    (folder / 'data' / 'ant' / '0.png').write_text('<html>404')
    with pytest.raises(DataError) as err:
        scan_files(dict(train=build(folder, classes=['ant']), val=build(folder)), str(folder / 'work'))
    text = str(err.value)
    assert 'train_dataloader.dataset: 1 of 6 files cannot be used' in text and 'ant/0.png is text' in text
    assert 'val_dataloader.dataset: 6 of 6 files' in text and 'and 1 more' in text and "on_bad_sample='skip'" in text
    assert len(lines(folder)) == 7 and lines(folder)[6][::2] == ['val', 'is empty (0 bytes)']
    assert scan_files(dict(train=build(folder, check=False)), str(folder / 'work')) == ({}, [])


def test_strange_names_are_listed(folder):
    for name in ('li\nne.png', os.fsdecode(b'sur\xff.png')):
        (folder / 'data' / 'bee' / name).write_bytes(b'')
    with pytest.raises(DataError, match=r'2 of 14 files'):
        scan_files(dict(train=build(folder)), str(folder / 'work'))
    assert [Path(line[1]).name for line in lines(folder)] == [r'li\nne.png', r'sur\udcff.png']


def test_what_a_dataset_leaves_out_is_said(folder):
    (folder / 'data' / 'bee' / '1.png').write_bytes(b'')
    _, notes = scan_files(dict(test=build(folder, on_bad_sample='skip')), str(folder / 'work'))
    assert "test: the samples of 1 bad file are left out (on_bad_sample='skip')" in notes[1]
    assert lines(folder) == [['test', str(folder / 'data' / 'bee' / '1.png'), 'is empty (0 bytes)']]


def test_what_turns_out_later_is_reported_once_over_all_processes(folder, monkeypatch):
    elsewhere = torch.zeros(12, dtype=torch.int32)
    elsewhere[3] = IS_DAMAGED
    monkeypatch.setattr(file_scan, 'all_reduce', lambda marks, op: marks.copy_(torch.maximum(marks, elsewhere)))
    said = []
    monkeypatch.setattr(file_scan, 'warn', said.append)
    dataset, hook = build(folder), BadSampleHook()
    dataset.marks[0] = IS_BAD
    (folder / 'work').mkdir()
    runner = SimpleNamespace(work_dir=str(folder / 'work'), train_dataloader=SimpleNamespace(dataset=dataset))
    hook.after_train_epoch(runner)
    assert len(said) == 2 and '1 unreadable image' in said[0] and 'ant/0.png' in said[0]
    assert '1 damaged image' in said[1] and 'ant/3.png' in said[1]
    hook.after_train_epoch(runner)
    dataset.marks[1] |= IS_BAD
    hook.after_train_epoch(runner)
    assert len(said) == 3 and 'ant/1.png' in said[2] and 'ant/0.png' not in said[2]
    assert [Path(line[1]).name for line in lines(folder)] == ['0.png', '3.png', '1.png']
