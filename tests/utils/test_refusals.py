"""Refusals say what is wrong in words that fit: what does not exist, what is no image, what was meant."""
from pathlib import Path

import pytest

from ftcls.apis import export_model, load_config, predict_files, write_report
from ftcls.datasets.transforms.decoding import open_pillow
from ftcls.utils import ConfigError, DataError, MissingFileError


def test_absent_work_dirs(tmp_path: Path) -> None:
    (tmp_path / 'ants').mkdir()
    (tmp_path / 'resnets').mkdir()  # nearer than the models of such a name
    for call in (load_config, lambda folder: write_report([folder])):
        for name, near in (('ant', 'ants'), ('resnest', 'resnets')):
            with pytest.raises(
                    MissingFileError, match=rf"{name} (is no .*|does not exist); did you mean '(\S+/)?{near}'"):
                call(tmp_path / name)
    with pytest.raises(MissingFileError, match=rf"did you mean '{tmp_path}/resnets'\?$"):
        load_config(tmp_path / 'resnest')
        with pytest.raises(MissingFileError, match=r"'.*' has: ants$"):
            call(tmp_path / 'other')


def test_text_among_images_and_no_images() -> None:
    with pytest.raises(DataError, match='README.md: it is text, not an image: .*; replace or remove it'):
        open_pillow(b'# Readme\nof words', 'README.md')
    with pytest.raises(DataError, match=r'the standard input \(-\) is empty'):
        predict_files('nothing', [])


@pytest.mark.parametrize('word, meant', [('onxx', 'onnx'), ('ONNX', 'onnx'), ('torch_script', 'torchscript')])
def test_formats(word: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"--to='{word}'; did you mean '{meant}'"):
        export_model('nothing', to=word)
