"""What is found in the images of a dataset, and that it is named."""
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from ftcls.datasets.headers import scan_headers
from ftcls.datasets.survey import survey_images
from ftcls.datasets.transforms import LoadImageFromFile

RNG = np.random.RandomState(0)
RGB = RNG.randint(0, 256, (24, 32, 3), dtype=np.uint8)
DEEP = RNG.randint(0, 4001, (24, 32)).astype(np.uint16)
DEEP[0, 0], DEEP[0, 1] = 0, 4000


def lines(path: Path, *files: str, **options: object) -> list[str]:
    return survey_images([str(path / name) for name in files], LoadImageFromFile(**options)).lines


def test_photos_need_one_line(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / 'a.jpg')
    Image.fromarray(RGB[:12]).save(tmp_path / 'b.png')
    Image.fromarray(RGB[..., 0]).save(tmp_path / 'grey.jpg')
    opaque = np.dstack([RGB, np.full((24, 32), 255, np.uint8)])
    Image.fromarray(opaque).save(tmp_path / 'opaque.png')
    assert lines(tmp_path, 'a.jpg') == ['32x24 RGB, 8 bit']
    assert lines(tmp_path, 'a.jpg', 'b.png') == ['32x12 to 32x24 RGB, 8 bit']
    assert lines(tmp_path, 'a.jpg', 'grey.jpg') == ['32x24 RGB, 8 bit (1 of 2), grey, 8 bit (1 of 2)']
    assert lines(tmp_path, 'a.jpg', color_type='grayscale') == ['32x24 RGB, 8 bit, read as grey (color_type)']
    assert lines(tmp_path, 'opaque.png') == ['32x24 RGB and alpha, 8 bit']


def test_more_bits(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / 'a.png'), DEEP)
    survey = survey_images([str(tmp_path / 'a.png')], LoadImageFromFile())
    assert survey.value_range == (0, 4095)
    assert 'grey, 16 bit, 0..4000 (for example' in survey.fault and 'value_range=(0, 4095)' in survey.fault
    assert lines(tmp_path, 'a.png', color_type='unchanged') == ['32x24 grey, 16 bit, 0..4000, as stored']
    assert lines(
        tmp_path, 'a.png', value_range=(0, 4095)) == ['32x24 grey, 16 bit, 0..4000, scaled by value_range=(0, 4095)']
    first, clipped = lines(tmp_path, 'a.png', value_range=(0, 1000))
    assert 'value_range=(0, 1000)' in first and 'clipped' in clipped and 'a.png' in clipped
    cv2.imwrite(str(tmp_path / 'dark.png'), DEEP // 32)  # 0 to 125 of 4095 are 0 to 8 of 255
    _, flat = lines(tmp_path, 'dark.png', value_range=(0, 4095))
    assert flat.startswith('WARNING') and 'dark.png' in flat and 'contrast' in flat


@pytest.mark.parametrize('alpha', ['white', 'black', 'drop', 'keep'])
def test_transparency_is_named(tmp_path: Path, alpha: str) -> None:
    Image.fromarray(np.dstack([RGB, RGB[..., 0]])).save(tmp_path / 'a.png')
    first, note = lines(tmp_path, 'a.png', alpha=alpha)
    assert first == '32x24 RGB and alpha, 8 bit' and f'alpha={alpha!r}' in note and 'a.png' in note


def test_what_headers_tell_is_read_outside_of_the_sample(tmp_path: Path) -> None:
    paths = [str(tmp_path / f'{number:02}.png') for number in range(40)]
    for path in paths:
        Image.fromarray(RGB).save(path)
    Image.fromarray(np.dstack([RGB, RGB[..., 0]])).save(paths[1])
    survey = survey_images(paths, LoadImageFromFile(), {header.path: header for header in scan_headers(paths)})
    assert any('1 of 17 images have transparent pixels' in line and '01.png' in line for line in survey.lines)


def test_channels_and_pages_that_are_left_out_are_named(tmp_path: Path) -> None:
    np.save(tmp_path / 'a.npy', np.dstack([RGB, RGB[..., 0]]))
    first, note = lines(tmp_path, 'a.npy')
    assert first == '32x24 4 channels, 8 bit' and "color_type='unchanged'" in note
    assert lines(tmp_path, 'a.npy', color_type='unchanged') == ['32x24 4 channels, 8 bit']
    frames = [Image.fromarray(np.roll(RGB, i, axis=0)) for i in range(3)]
    for name in ('a.tif', 'a.gif', 'a.webp'):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        assert 'pages or frames' in lines(tmp_path, name)[1], name


def test_constant_images_are_named_and_broken_ones_left_to_others(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / 'a.png')
    Image.fromarray(np.full_like(RGB, 77)).save(tmp_path / 'blank.png')
    (tmp_path / 'broken.png').write_bytes(b'\x89PNG and no more')
    first, warning = lines(tmp_path, 'a.png', 'blank.png', 'broken.png')
    assert first == '32x24 RGB, 8 bit' and warning.startswith('WARNING 1 of 2') and 'blank.png' in warning


@pytest.mark.parametrize('folder', ['hymenoptera', 'trashnet', 'membrane'])
def test_no_false_alarm(real_data: Path, folder: str) -> None:
    files = sorted(
        str(path) for path in (real_data / folder).rglob('*')
        if path.suffix in ('.jpg', '.png') and 'mask' not in path.name and 'label' not in str(path))
    survey = survey_images(files, LoadImageFromFile())
    assert len(survey.lines) == 1 and not survey.fault
