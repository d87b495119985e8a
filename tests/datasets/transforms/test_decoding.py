"""What files hold beside 8 bits of grey or RGB: it reaches the network, or the error names the setting."""
import struct
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from ftcls.datasets.survey import survey_images
from ftcls.datasets.transforms import LoadImageFromFile
from ftcls.registry import TRANSFORMS
from ftcls.utils import ConfigError, DataError

RNG = np.random.RandomState(0)
RGB = RNG.randint(0, 256, (12, 16, 3), dtype=np.uint8)
GREY = RGB[..., 0]
ALPHA = RNG.randint(0, 256, (12, 16), dtype=np.uint8)
RGBA = np.dstack([RGB, ALPHA])
BACKENDS = ('cv2', 'pillow')


def load(path: Path, **kwargs: object) -> np.ndarray:
    return LoadImageFromFile(**kwargs)({'img_path': str(path)})['img']


def write_tiff(path: Path, array: np.ndarray, extra: Sequence[int] = (), orientation: int = 1) -> Path:
    """Write (H, W) or (H, W, C) of any dtype as an uncompressed TIFF; ``extra``: kinds of channels after grey or RGB."""
    array = np.atleast_3d(array)
    height, width, channels = array.shape
    is_rgb = channels - len(extra) == 3
    kind = {'u': 1, 'i': 2, 'f': 3}[array.dtype.kind]
    values = {
        256: [width],
        257: [height],
        258: [8 * array.itemsize] * channels,
        259: [1],
        262: [1 + is_rgb],
        273: [0],
        274: [orientation],
        277: [channels],
        278: [height],
        279: [array.nbytes],
        338: extra,
        339: [kind] * channels
    }
    values = {tag: list(numbers) for tag, numbers in values.items() if len(numbers)}
    start = 8 + 2 + 12 * len(values) + 4
    values[273] = [start + sum(4 * len(numbers) for numbers in values.values())]
    entries, body = struct.pack('<H', len(values)), b''
    for tag, numbers in values.items():
        packed = struct.pack(f'<{len(numbers)}I', *numbers)
        place = packed if len(numbers) == 1 else struct.pack('<I', start + len(body))
        entries += struct.pack('<HHI', tag, 4, len(numbers)) + place
        body += packed
    body = body.ljust(values[273][0] - start, b'\0')
    path.write_bytes(b'II*\0' + struct.pack('<I', 8) + entries + struct.pack('<I', 0) + body + array.tobytes())
    return path


def over(colour: np.ndarray, alpha: np.ndarray, ground: int) -> np.ndarray:
    share = alpha[..., None] / 255.
    return np.floor(colour * share + ground * (1 - share) + 0.5).astype(np.uint8)


@pytest.mark.parametrize('name, values, suggested', [
    ('float 0..1', RNG.rand(12, 16).astype(np.float32), (0, 1)),
    ('float 0..1000', (1000 * RNG.rand(12, 16)).astype(np.float32), (0, 1023)),
    ('double', RNG.rand(12, 16), (0, 1)),
    ('half', RNG.rand(12, 16).astype(np.float16), (0, 1)),
    ('12 in 16 bit', RNG.randint(0, 4001, (12, 16)).astype(np.uint16), (0, 4095)),
    ('16 bit RGB', RNG.randint(0, 65536, (12, 16, 3)).astype(np.uint16), (0, 65535)),
    ('signed', RNG.randint(-1000, 401, (12, 16)).astype(np.int16), None),
    ('32 bit', RNG.randint(0, 70000, (12, 16)).astype(np.uint32), None),
    ('float RGB', RNG.rand(12, 16, 3).astype(np.float32), (0, 1)),
])
@pytest.mark.parametrize('backend', BACKENDS)
def test_more_than_8_bits_need_a_range_and_are_scaled_by_it(tmp_path: Path, name: str, values: np.ndarray,
                                                            suggested: tuple | None, backend: str) -> None:
    path = write_tiff(tmp_path / 'a.tif', values)
    wanted = suggested or (int(values.min()), int(values.max()))
    low = min(wanted[0], 0) if suggested is None and values.min() >= 0 else wanted[0]
    with pytest.raises(DataError, match='a.tif') as err:
        load(path, imdecode_backend=backend)
    assert f'value_range=({low}, {wanted[1]})' in str(err.value)
    img = load(path, value_range=(low, wanted[1]), imdecode_backend=backend)
    expected = np.atleast_3d((values.astype(np.float64) - low) / (wanted[1] - low) * 255)
    expected = np.broadcast_to(expected[..., ::-1], (12, 16, 3))
    assert img.dtype == np.uint8 and np.abs(img - expected).max() <= 0.51
    stored = load(path, color_type='unchanged', imdecode_backend=backend)
    assert stored.dtype == values.dtype and (stored[..., ::-1] == np.atleast_3d(values)).all()


@pytest.mark.parametrize('ending', ['png', 'pgm', 'tif', 'npy'])
def test_16_bit_grey_of_every_format(tmp_path: Path, ending: str) -> None:
    deep = RNG.randint(0, 4096, (12, 16)).astype(np.uint16)
    path = tmp_path / f'a.{ending}'
    np.save(path, deep) if ending == 'npy' else cv2.imwrite(str(path), deep)
    with pytest.raises(DataError, match=r'value_range=\(0, 4095\)'):
        load(path)
    img = load(path, color_type='grayscale', value_range=(0, 4095))
    assert len(np.unique(img)) > 100 and np.abs(img[..., 0] - deep / 4095 * 255).max() <= 0.51


def test_values_outside_the_range_are_clipped(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / 'a.tif', np.array([[-500, -100, 150, 400, 900]], np.int16))
    assert load(path, value_range=(-100, 400))[0, :, 0].tolist() == [0, 0, 128, 255, 255]


def test_a_range_for_more_bits_refuses_8_bits_and_one_for_8_bits_stretches(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / 'a.png')
    with pytest.raises(DataError, match='a.png has 8 bits'):
        load(tmp_path / 'a.png', value_range=(0, 4095))
    stretched = load(tmp_path / 'a.png', value_range=(50, 200))
    assert np.abs(stretched[..., ::-1] - np.clip((RGB - 50.) / 150 * 255, 0, 255)).max() <= 0.51


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    values = RNG.rand(12, 16).astype(np.float32)
    values[0, :3] = value
    path = str(write_tiff(tmp_path / 'a.tif', values))
    for options in ({}, dict(value_range=(0, 1)), dict(color_type='unchanged')):
        with pytest.raises(DataError, match='a.tif has NaN or infinity in 1.6%'):
            load(path, **options)
        with pytest.raises(DataError, match='a.tif has NaN or infinity in 1.6%'):
            survey_images([path], LoadImageFromFile(**options))


@pytest.mark.parametrize('kind', ['png', 'webp', 'tif', 'bmp', 'png of 16 bit'])
def test_alpha(tmp_path: Path, kind: str) -> None:
    path, options = tmp_path / f'a.{kind[:4].strip()}', {}
    if kind == 'tif':
        write_tiff(path, RGBA, extra=(2, ))
    elif kind == 'png of 16 bit':
        cv2.imwrite(str(path), RGBA[..., [2, 1, 0, 3]].astype(np.uint16) * 257)
        options = dict(value_range=(0, 65535))
    elif kind == 'bmp':
        cv2.imwrite(str(path), RGBA[..., [2, 1, 0, 3]])
    else:
        Image.fromarray(RGBA).save(path, lossless=True, exact=True)
    bgr = RGB[..., ::-1]
    for alpha, expected in dict(white=over(bgr, ALPHA, 255), black=over(bgr, ALPHA, 0), drop=bgr).items():
        assert (load(path, alpha=alpha, **options) == expected).all(), alpha
    assert (load(path, alpha='keep', **options) == np.dstack([bgr, ALPHA])).all()
    assert (load(path, **options) == over(bgr, ALPHA, 255)).all()


def test_alpha_of_grey_palette_and_single_colours(tmp_path: Path) -> None:
    Image.fromarray(np.dstack([GREY, ALPHA]), 'LA').save(tmp_path / 'la.png')
    grey = over(GREY[..., None], ALPHA, 255)
    assert (load(tmp_path / 'la.png') == np.repeat(grey, 3, axis=2)).all()
    assert (load(tmp_path / 'la.png', color_type='grayscale') == grey).all()
    palette = Image.fromarray(RGB).quantize(8)
    indices = np.asarray(palette)
    expected = np.asarray(palette.convert('RGB')).copy()[..., ::-1]
    expected[indices == 3] = 255
    for name in ('p.png', 'p.gif'):
        palette.save(tmp_path / name, transparency=3)
        assert (load(tmp_path / name) == expected).all(), name
    Image.fromarray(GREY).save(tmp_path / 'key.png', transparency=int(GREY[0, 0]))
    assert (load(tmp_path / 'key.png')[..., 0] == np.where(GREY == GREY[0, 0], 255, GREY)).all()
    write_tiff(tmp_path / 'la.tif', np.dstack([GREY, ALPHA]), extra=(2, ))
    assert (load(tmp_path / 'la.tif', color_type='grayscale') == grey).all()


def test_colours_that_alpha_has_multiplied_are_divided_by_it(tmp_path: Path) -> None:
    multiplied = (RGB * (ALPHA[..., None] / 255.)).round().astype(np.uint8)
    for dtype, factor, options in ((np.uint8, 1, {}), (np.uint16, 257, dict(value_range=(0, 65535)))):
        pixels = np.dstack([multiplied, ALPHA]).astype(dtype) * factor
        img = load(write_tiff(tmp_path / 'a.tif', pixels.astype(dtype), extra=(1, )), **options).astype(int)
        assert np.abs(img[..., ::-1] - (multiplied + 255. - ALPHA[..., None])).max() <= 1


def test_an_unknown_orientation_and_a_colour_key_of_16_bits_change_nothing(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 9
    Image.fromarray(RGB).save(tmp_path / 'a.webp', exif=exif, lossless=True)
    assert (load(tmp_path / 'a.webp') == RGB[..., ::-1]).all()
    deep = RNG.randint(0, 4096, (12, 16)).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / 'a.png', transparency=5)
    assert (load(tmp_path / 'a.png', color_type='unchanged')[..., 0] == deep).all()


def test_a_black_drawing_on_transparent_ground_is_seen(tmp_path: Path) -> None:
    drawing = np.zeros((12, 16, 4), np.uint8)
    drawing[4:6, :, 3] = 255
    Image.fromarray(drawing).save(tmp_path / 'a.png')
    img = load(tmp_path / 'a.png')
    assert (img[4:6] == 0).all() and (img[:4] == 255).all()


def test_opaque_alpha_changes_nothing(tmp_path: Path) -> None:
    Image.fromarray(np.dstack([RGB, np.full((12, 16), 255, np.uint8)])).save(tmp_path / 'a.png')
    assert (load(tmp_path / 'a.png') == RGB[..., ::-1]).all()
    Image.fromarray(RGB).save(tmp_path / 'b.png')
    kept = load(tmp_path / 'b.png', alpha='keep')
    assert kept.shape == (12, 16, 4) and (kept[..., 3] == 255).all()


@pytest.mark.parametrize('channels', [2, 4, 5, 9])
@pytest.mark.parametrize('ending', ['tif', 'npy'])
def test_any_number_of_channels(tmp_path: Path, channels: int, ending: str) -> None:
    bands = RNG.randint(0, 256, (12, 16, channels), dtype=np.uint8)
    path = tmp_path / f'a.{ending}'
    if ending == 'npy':
        np.save(path, bands)
    else:
        write_tiff(path, bands, extra=[0] * (channels - (3 if channels > 3 else 1)))
    results = LoadImageFromFile(color_type='unchanged')({'img_path': str(path)})
    if channels == 4:
        assert results['channel_order'] == 'bgr' and (results['img'] == bands[..., [2, 1, 0, 3]]).all()
        assert (load(path) == bands[..., 2::-1]).all()
        return
    assert results['channel_order'] == 'rgb' and (results['img'] == bands).all()
    with pytest.raises(DataError, match=f"has {channels} channels.*color_type='unchanged'.*in_channels={channels}"):
        load(path)


TURNS = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.T,
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).T,
    8: np.rot90
}


@pytest.mark.parametrize('number', TURNS)
@pytest.mark.parametrize('backend', BACKENDS)
def test_orientation(tmp_path: Path, number: int, backend: str) -> None:
    deep = RNG.randint(0, 256, (12, 16)).astype(np.uint16)
    options = dict(color_type='grayscale', imdecode_backend=backend)
    path = write_tiff(tmp_path / 'a.tif', deep, orientation=number)
    assert (load(path, value_range=(0, 255), **options)[..., 0] == TURNS[number](deep)).all()
    write_tiff(path, GREY, orientation=number)
    assert (load(path, **options)[..., 0] == TURNS[number](GREY)).all()
    exif = Image.Exif()
    exif[0x0112] = number
    Image.fromarray(np.dstack([GREY, ALPHA]), 'LA').save(tmp_path / 'a.png', exif=exif)
    assert (load(tmp_path / 'a.png', alpha='drop', **options)[..., 0] == TURNS[number](GREY)).all()


def test_arguments_that_cannot_be_met() -> None:
    with pytest.raises(ConfigError, match='value_range.*below'):
        TRANSFORMS.build(dict(type='LoadImageFromFile', value_range=(255, 0)))
    with pytest.raises(ConfigError, match="alpha='drop'.*unchanged"):
        TRANSFORMS.build(dict(type='LoadImageFromFile', color_type='unchanged', alpha='drop'))
    with pytest.raises(ConfigError, match="did you mean 'white'"):
        TRANSFORMS.build(dict(type='LoadImageFromFile', alpha='whit'))


def test_npy_does_not_unpickle(tmp_path: Path) -> None:
    np.save(tmp_path / 'a.npy', np.array([dict()], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match='a.npy'):
        load(tmp_path / 'a.npy')
    np.save(tmp_path / 'labels.npy', np.arange(5))
    with pytest.raises(DataError, match=r'labels.npy.*\(5,\) int64'):
        load(tmp_path / 'labels.npy')


@pytest.mark.parametrize('part', [0.5, 0.9])
def test_cut_off_deep_files_are_named(tmp_path: Path, part: float) -> None:
    path = write_tiff(tmp_path / 'cut.tif', RNG.randint(0, 4096, (64, 64)).astype(np.uint16))
    path.write_bytes(path.read_bytes()[:int(8000 * part)])
    with pytest.raises(DataError, match='cut.tif'):
        load(path, value_range=(0, 4095))
