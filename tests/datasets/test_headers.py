"""What headers say: stored size, bits, channels, and what is wrong with a file that cannot be used."""
import io
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, features

from ftcls.datasets.headers import check_image, is_image, read_header, scan_headers
from ftcls.utils import DataError

RNG = np.random.default_rng(0)
RGB = Image.fromarray(RNG.integers(0, 256, (24, 32, 3), dtype=np.uint8))
GREY16 = Image.fromarray(RNG.integers(0, 4096, (24, 32), dtype=np.uint16))
FRAMES = [RGB.rotate(angle) for angle in (30, 60)]
TIFF_FRAMES = [frame.copy() for frame in FRAMES]  # Pillow leaves the settings of an encoder at an image


def write(path: Path, img: Image.Image = RGB, **options) -> Path:
    img.copy().save(path, **options)
    return path


# name, image, options of save, what the header says
FORMATS = [
    ('a.jpg', RGB, {}, dict(format='JPEG', mode='RGB', bits=8, channels=3)),
    ('progressive.jpg', RGB, dict(progressive=True), dict(format='JPEG')),
    ('cmyk.jpg', RGB.convert('CMYK'), {}, dict(mode='CMYK', channels=4)),
    ('grey.jpg', RGB.convert('L'), {}, dict(mode='L', channels=1)),
    ('a.jfif', RGB, {}, dict(format='JPEG')),
    ('two.mpo', RGB, dict(save_all=True, append_images=FRAMES), dict(format='MPO', has_pages=True)),
    ('a.png', RGB, {}, dict(format='PNG', bits=8, channels=3)),
    ('grey16.png', GREY16, {}, dict(mode='I;16', bits=16, channels=1)),
    ('alpha.png', RGB.convert('RGBA'), {}, dict(channels=4)),
    ('la.png', RGB.convert('LA'), {}, dict(channels=2)),
    ('palette.png', RGB.quantize(16), {}, dict(mode='P', bits=4, channels=1)),
    ('clear.png', RGB.quantize(16), dict(transparency=0), dict(mode='P')),
    ('bits.png', RGB.convert('1'), {}, dict(mode='1', bits=1)),
    ('frames.png', RGB, dict(save_all=True, append_images=FRAMES), dict(has_pages=True)),
    ('a.gif', RGB, {}, dict(format='GIF', has_pages=False)),
    ('frames.gif', RGB, dict(save_all=True, append_images=FRAMES), dict(has_pages=True)),
    ('a.webp', RGB, {}, dict(format='WEBP', has_pages=False)),
    ('frames.webp', RGB, dict(save_all=True, append_images=FRAMES), dict(has_pages=True)),
    ('a.bmp', RGB, {}, dict(format='BMP', channels=3)),
    ('a.tif', RGB, {}, dict(format='TIFF', channels=3, bits=8)),
    ('lzw.tif', RGB, dict(compression='tiff_lzw'), dict(format='TIFF')),
    ('big.tif', RGB, dict(big_tiff=True), dict(format='TIFF')),
    ('pages.tif', RGB, dict(save_all=True, append_images=TIFF_FRAMES), dict(has_pages=True)),
    ('grey16.tif', GREY16, {}, dict(mode='I;16', bits=16, channels=1)),
    ('float.tif', RGB.convert('F'), {}, dict(mode='F', bits=32, channels=1)),
    ('a.ppm', RGB, {}, dict(format='PPM', channels=3)),
    ('grey16.pgm', GREY16.convert('I'), {}, dict(mode='I')),
    ('a.tga', RGB, {}, dict(format='TGA')),
    ('a.jp2', RGB, {}, dict(format='JPEG2000')),
]


@pytest.mark.parametrize(('name', 'img', 'options', 'said'), FORMATS, ids=[case[0] for case in FORMATS])
def test_formats_of_pillow(tmp_path, name, img, options, said):
    header = read_header(write(tmp_path / name, img, **options))
    assert header.fault is None
    assert (header.width, header.height) == (32, 24)
    assert {key: getattr(header, key) for key in said} == said


# AVIF is left to the decoder
CUT = [
    'a.jpg', 'progressive.jpg', 'a.png', 'grey16.png', 'a.gif', 'a.webp', 'a.bmp', 'a.tif', 'lzw.tif', 'big.tif',
    'a.ppm', 'a.tga', 'a.jp2', 'frames.gif'
]


@pytest.mark.parametrize('name', CUT)
@pytest.mark.parametrize('share', [0.1, 0.6, 0.97])
def test_cut_off(tmp_path, name, share):
    img, options = next(case[1:3] for case in FORMATS if case[0] == name)
    path = write(tmp_path / name, img, **options)
    data = path.read_bytes()
    path.write_bytes(data[:int(share * len(data))])
    assert 'cut off' in read_header(path).fault


@pytest.mark.parametrize('name', ['a.jpg', 'a.png', 'a.gif', 'a.bmp', 'a.tif', 'a.webp'])
@pytest.mark.parametrize('extra', [b'\0' * 100, b'SEFH' + bytes(range(200)) * 30, b'\xff\xda' * 50])
def test_data_after_the_end_is_no_fault(tmp_path, name, extra):
    path = write(tmp_path / name)
    path.write_bytes(path.read_bytes() + extra)
    assert read_header(path).fault is None


def test_thumbnail_is_not_the_end(tmp_path):
    thumbnail = io.BytesIO()
    RGB.save(thumbnail, 'jpeg')
    path = write(tmp_path / 'a.jpg', exif=b'Exif\0\0' + thumbnail.getvalue())
    assert read_header(path).fault is None
    data = path.read_bytes()
    path.write_bytes(data[:-40])
    assert 'cut off' in read_header(path).fault


def test_orientation(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    header = read_header(write(tmp_path / 'a.jpg', exif=exif))
    assert (header.orientation, header.width, header.height) == (6, 32, 24)


CONTENTS = [(b'', 'is empty'), (b'\0' * 5000, 'not an image'),
            (b'\n <!DOCTYPE html>\n<html>Not found', "text, not an image: it begins with '<!DOCTYPE html> <html>"),
            (b'version https://git-lfs.github.com/spec/v1\noid sha256:1', 'git-lfs'),
            ('Größe: keine'.encode(), 'not an image'), (bytes(128) + b'DICM\2', 'not an image'),
            (bytes(range(128, 256)), 'not an image'), (b'\xff\xd8\xff\xe0\0\x10JFIF', 'cut off'),
            (b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n', 'EPS'),
            (b'\0\0\0\x18ftypheic\0\0\0\0mif1heic', "'heic'")]


@pytest.mark.parametrize(('data', 'fault'), CONTENTS, ids=[case[1] for case in CONTENTS])
def test_no_image(tmp_path, data, fault):
    (tmp_path / 'a.jpg').write_bytes(data)
    assert fault in read_header(tmp_path / 'a.jpg').fault


def test_paths_that_are_no_files(tmp_path):
    os.mkfifo(tmp_path / 'pipe.jpg')
    (tmp_path / 'link.jpg').symlink_to(tmp_path / 'gone.jpg')
    (tmp_path / 'loop.jpg').symlink_to(tmp_path / 'loop.jpg')
    faults = [
        header.fault for header in scan_headers(
            [str(tmp_path / name) for name in ('pipe.jpg', 'link.jpg', '', 'gone.jpg', 'a\0b', 'loop.jpg')])
    ]
    assert 'regular' in faults[0]
    assert 'gone.jpg, which does not exist' in faults[1]
    assert 'folder' in faults[2]
    assert all('cannot be read' in fault for fault in faults[3:5])
    assert 'link' in faults[5]


def test_bomb_is_not_decoded(tmp_path, monkeypatch):
    path = write(tmp_path / 'bomb.png', Image.new('1', (20_000, 20_000)))
    assert path.stat().st_size < 60_000
    assert 'more than 178,956,970 pixels' in read_header(path).fault
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 10**9)
    assert read_header(path).fault is None
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    assert 'more than 178,956,970 pixels' in read_header(write(tmp_path / 'a.tif')).fault


def test_channels_that_pillow_has_no_mode_for(tmp_path):
    path = tmp_path / 'a.tif'
    if not cv2.imwrite(str(path), RNG.integers(0, 999, (24, 32, 4), dtype=np.uint16)):
        pytest.skip('OpenCV writes no 16-bit TIFF of four channels')
    header = read_header(path)
    assert (header.format, header.channels, header.bits, header.fault) == ('TIFF', 4, 16, None)


def test_bigtiff_of_many_channels(tmp_path):
    array = RNG.integers(0, 999, (24, 32, 12), dtype=np.uint16)
    tifffile.imwrite(tmp_path / 'a.tif', array, photometric='minisblack', planarconfig='contig', bigtiff=True)
    header = read_header(tmp_path / 'a.tif')
    assert (header.fault, header.width, header.channels, header.bits) == (None, 32, 12, 16)


def test_preview_of_a_raw_file_is_not_taken_for_the_image(tmp_path):
    preview = np.zeros((24, 32, 3), np.uint8)
    with tifffile.TiffWriter(tmp_path / 'a.nef') as writer:  # as Nikon, Sony and Adobe lay it out
        writer.write(preview, subfiletype=1, subifds=1, photometric='rgb')
        writer.write(np.zeros((240, 320), np.uint16))
    assert "camera's raw file" in read_header(tmp_path / 'a.nef').fault
    with pytest.raises(DataError, match='raw file'):
        check_image((tmp_path / 'a.nef').read_bytes(), 'a.nef')
    with tifffile.TiffWriter(tmp_path / 'pyramid.tif') as writer:
        writer.write(preview, subifds=1, photometric='rgb')
        writer.write(preview[::2, ::2], subfiletype=1, photometric='rgb')
    assert read_header(tmp_path / 'pyramid.tif').fault is None


@pytest.mark.parametrize('name', ['a.dds', 'a.avif', 'a.webp', 'a.tga', 'a.ico', 'frames.gif', 'a.j2k'])
def test_decoding_whole_files_is_no_fault(tmp_path, name):
    if name == 'a.avif' and not features.check('avif'):
        pytest.skip('this Pillow reads no AVIF')
    assert read_header(write(tmp_path / name), decode=True).fault is None


def test_depth_that_pillow_does_not_say_is_unknown(tmp_path):
    cv2.imwrite(str(tmp_path / 'a.jp2'), RNG.integers(0, 65536, (24, 32, 3), dtype=np.uint16))
    (tmp_path / 'a.ppm').write_bytes(b'P6 4 4 65535\n' + bytes(96))
    assert read_header(tmp_path / 'a.jp2').bits == read_header(tmp_path / 'a.ppm').bits == 0


def test_what_must_not_be_decoded(tmp_path, monkeypatch):
    with pytest.raises(DataError, match='EPS'):
        check_image(CONTENTS[8][0], 'a.jpg')
    path = write(tmp_path / 'a.jpg')
    check_image(path.read_bytes(), str(path))
    with pytest.raises(DataError, match='cut off'):
        check_image(path.read_bytes()[:-40], str(path))
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    with pytest.raises(DataError, match=r'a\.jpg.* has more than 178,956,970 pixels.*FTCLS_MAX_PIXELS'):
        check_image(path.read_bytes(), 'a.jpg')


def test_images_by_content(tmp_path):
    for name in ('a.jpg', 'a.png', 'a.tif', 'a.webp', 'a.gif', 'a.bmp', 'a.jp2', 'a.ppm'):
        assert is_image(str(write(tmp_path / name).rename(tmp_path / f'{name}.part')))
    for name, data in dict(a=b'', b=b'RIFF1234WAVE', c=b'BM is a text', d=CONTENTS[9][0], e=b'P1 of 3').items():
        (tmp_path / name).write_bytes(data)
        assert not is_image(str(tmp_path / name))
    os.mkfifo(tmp_path / 'pipe')
    assert not is_image(str(tmp_path / 'pipe')) and is_image('gone.JPG')


def test_decoding_finds_what_headers_do_not_show(tmp_path):
    path = write(tmp_path / 'a.png')
    data = path.read_bytes()
    path.write_bytes(data[:300] + bytes(100) + data[400:])
    assert read_header(path).fault is None
    assert 'cannot be decoded' in read_header(path, decode=True).fault
