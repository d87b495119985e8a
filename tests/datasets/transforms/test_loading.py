"""Reading pictures of all kinds, whole and broken."""
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ftcls.datasets.transforms import LoadImageFromFile
from ftcls.registry import TRANSFORMS
from ftcls.utils import ConfigError, DataError, MissingFileError

RNG = np.random.RandomState(0)
RGB = RNG.randint(0, 256, (30, 40, 3), dtype=np.uint8)
BACKENDS = ('cv2', 'pillow')


def load(path: Path, **kwargs: object) -> dict:
    return LoadImageFromFile(**kwargs)({'img_path': str(path)})


def smooth() -> Image.Image:
    """A picture that JPEG keeps well."""
    y, x = np.mgrid[:64, :80]
    return Image.fromarray(np.stack([2 * x, 3 * y, x + y], axis=2).astype(np.uint8))


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('ending', ['png', 'bmp', 'ppm', 'tif'])
def test_lossless_files_come_as_bgr(tmp_path: Path, backend: str, ending: str) -> None:
    path = tmp_path / f'ä ö 図.{ending}'
    Image.fromarray(RGB).save(path)
    results = load(path, imdecode_backend=backend)
    assert results['img'].dtype == np.uint8 and (results['img'] == RGB[..., ::-1]).all()
    assert results['channel_order'] == 'bgr'
    assert results['img_shape'] == results['ori_shape'] == (30, 40)


@pytest.mark.parametrize('backend', BACKENDS)
def test_jpeg_cmyk_and_webp(tmp_path: Path, backend: str) -> None:
    picture = smooth()
    picture.save(tmp_path / 'a.jpg', quality=95)
    picture.convert('CMYK').save(tmp_path / 'b.jpg', quality=95)
    picture.save(tmp_path / 'c.webp', lossless=True)
    for name, tolerance in (('a.jpg', 6), ('b.jpg', 8), ('c.webp', 0)):
        img = load(tmp_path / name, imdecode_backend=backend)['img'].astype(int)
        assert np.abs(img - np.asarray(picture)[..., ::-1]).max() <= tolerance, name


@pytest.mark.parametrize('backend', BACKENDS)
def test_odd_modes_become_three_channels(tmp_path: Path, backend: str) -> None:
    palette = Image.fromarray(RGB).quantize(16)
    cases = {
        'palette.png': (palette, np.asarray(palette.convert('RGB'))[..., ::-1]),
        'bit.png': (Image.fromarray(RGB[..., 0] > 127), np.repeat(np.uint8(255) * (RGB[..., :1] > 127), 3, axis=2)),
        'grey.png': (Image.fromarray(RGB[..., 0]), np.repeat(RGB[..., :1], 3, axis=2)),
    }
    for name, (picture, expected) in cases.items():
        picture.save(tmp_path / name)
        img = load(tmp_path / name, imdecode_backend=backend)['img']
        assert img.shape == (30, 40, 3) and img.dtype == np.uint8, name
        assert (img == expected).all(), name


@pytest.mark.parametrize('backend', BACKENDS)
def test_first_frame_of_a_gif(tmp_path: Path, backend: str) -> None:
    frames = [Image.new('RGB', (8, 6), color) for color in ('red', 'blue')]
    frames[0].save(tmp_path / 'a.gif', save_all=True, append_images=frames[1:])
    assert (load(tmp_path / 'a.gif', imdecode_backend=backend)['img'] == (0, 0, 255)).all()


@pytest.mark.parametrize('backend', BACKENDS)
def test_orientation_is_applied(tmp_path: Path, backend: str) -> None:
    picture = smooth()
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    picture.save(tmp_path / 'a.jpg', exif=exif, quality=95)
    turned = np.asarray(picture.rotate(-90, expand=True))[..., ::-1].astype(int)
    img = load(tmp_path / 'a.jpg', imdecode_backend=backend)['img']
    assert np.abs(img - turned).max() <= 6
    ignored = load(tmp_path / 'a.jpg', imdecode_backend=backend, color_type='color_ignore_orientation')
    assert ignored['img_shape'] == (64, 80)


def test_color_types(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / 'a.png')
    assert load(tmp_path / 'a.png', color_type='grayscale')['img'].shape == (30, 40, 1)
    results = load(tmp_path / 'a.png', to_float32=True)
    assert results['img'].dtype == np.float32 and results['img'].max() > 1
    deep = RNG.randint(0, 65536, (3, 4)).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / 'b.png')
    assert (load(tmp_path / 'b.png', color_type='unchanged')['img'][..., 0] == deep).all()
    with pytest.raises(ConfigError, match="did you mean 'color'"):
        TRANSFORMS.build(dict(type='LoadImageFromFile', color_type='colour'))
    with pytest.raises(ConfigError, match='imdecode_backend'):
        TRANSFORMS.build(dict(type='LoadImageFromFile', imdecode_backend='turbojpeg'))


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('ending', ['jpg', 'png', 'gif', 'bmp', 'tif', 'webp'])
def test_cut_off_files_are_named(tmp_path: Path, backend: str, ending: str) -> None:
    path = tmp_path / f'cut.{ending}'
    Image.fromarray(np.kron(RGB, np.ones((4, 4, 1), np.uint8))).save(path)
    data = path.read_bytes()
    for part in (0.5, 0.95):
        path.write_bytes(data[:int(len(data) * part)])
        if ending == 'gif' and part > 0.9:
            continue  # whether the last few rows count is the decoder's affair
        with pytest.raises(DataError, match=f'cut.{ending}'):
            load(path, imdecode_backend=backend)


@pytest.mark.parametrize('content', [b'', b'<html>not a picture</html>', b'\xff\xd8\xff'])
def test_not_a_picture(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / 'a.jpg'
    path.write_bytes(content)
    with pytest.raises(DataError, match='a.jpg'):
        load(path)
    assert load(path, ignore_empty=True) is None


def test_bytes_after_the_end_of_a_jpeg_are_no_fault(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    smooth().save(buffer, 'JPEG')
    (tmp_path / 'a.jpg').write_bytes(buffer.getvalue())
    (tmp_path / 'b.jpg').write_bytes(buffer.getvalue() + b'a camera put this here')
    assert (load(tmp_path / 'a.jpg')['img'] == load(tmp_path / 'b.jpg')['img']).all()


def test_absent_file_and_key(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match='absent.jpg'):
        load(tmp_path / 'absent.jpg')
    with pytest.raises(DataError, match='cannot read'):
        load(tmp_path)
    with pytest.raises(ConfigError, match="LoadImageFromFile needs 'img_path'"):
        LoadImageFromFile()({})


def test_real_gif_and_all_hymenoptera(real_data: Path) -> None:
    (path, ) = (real_data / 'hymenoptera').rglob('*.gif')
    with Image.open(path) as picture:
        expected = np.asarray(picture.convert('RGB'))[..., ::-1]
    assert (load(path)['img'] == expected).all()
