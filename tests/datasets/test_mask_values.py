"""What masks hold is counted over all of them, and what their settings do not explain is refused with the setting that does."""
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from ftcls.datasets import BinarySegDataset
from ftcls.utils import DataError

PIPELINE = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]
DISC = cv2.circle(np.zeros((48, 64), np.uint8), (20, 24), 14, 1, -1)
CLASSES = DISC.copy()
CLASSES[:, 40:50], CLASSES[:, 60:] = 2, 3


def save(root: Path, mask: Image.Image, ending: str = '.png', **settings) -> BinarySegDataset:
    """Write two images with the same mask; return their dataset."""
    for folder in ('images', 'masks'):
        (root / folder).mkdir(exist_ok=True)
    for stem in 'ab':
        Image.new('RGB', mask.size, 'grey').save(root / 'images' / f'{stem}.png')
        mask.save(root / 'masks' / f'{stem}_mask{ending}')
    return BinarySegDataset(str(root), mask_name=f'{{stem}}_mask{ending}', pipeline=PIPELINE, **settings)


def truth(dataset: BinarySegDataset) -> np.ndarray:
    return dataset[0]['data_samples'].gt_mask.numpy()


def rgb(foreground: str, background: str = 'black') -> Image.Image:
    img = Image.new('RGB', (64, 48), background)
    img.paste(foreground, mask=Image.fromarray(255 * DISC))
    return img


def palette(mask: np.ndarray, **colours: tuple) -> Image.Image:
    img = Image.fromarray(mask).convert('P')
    table = np.zeros((256, 3), np.uint8)
    for index, colour in colours.items():
        table[int(index[1:])] = colour
    img.putpalette(table.ravel().tolist())
    return img


def soft() -> np.ndarray:
    return cv2.GaussianBlur(255 * DISC, (7, 7), 2)


def with_alpha(mode: str, colour: int) -> Image.Image:
    bands = [Image.new('L', (64, 48), colour)] * (len(mode) - 1)
    return Image.merge(mode, [*bands, Image.fromarray(255 * DISC)])


REFUSED = {
    'numbered from 1': (Image.fromarray(DISC + 1), '.png', {}, r'takes 100 %.* 1 \(80 %\), 2 \(20 %\).*foreground=2'),
    'classes': (Image.fromarray(CLASSES), '.png', {}, r'0 \(.*3 \(6.2 %\).*foreground=1 \(or a list.*ignore_value=3'),
    'three colours': (palette(CLASSES, p1=(255, 0, 0), p2=(0, 255, 0), p3=(0, 0, 255)).convert('RGB'), '.png', {},
                      "foreground='#ff0000' .*ignore_value='#0000ff'"),
    'soft': (Image.fromarray(soft()), '.png', {}, r'takes 3\d.* %.*threshold=127.*a_mask.png'),
    'soft, one value': (Image.fromarray(soft()), '.png', dict(foreground=255), 'takes 1[01].*threshold=127'),
    'probabilities': (Image.fromarray(soft() / np.float32(255)), '.tif', {}, 'threshold=0.5'),
    'JPEG': (Image.fromarray(255 * DISC), '.jpg', {}, 'threshold=127.*_mask.jpg'),
    'JPEG, of colours': (rgb('red'), '.jpg', {}, 'threshold=127'),
    'empty': (Image.fromarray(0 * DISC), '.png', {}, r'takes 0 %.*0 \(100 %\).*mask_dir'),
    'all ignored': (Image.fromarray(0 * DISC), '.png', dict(ignore_value=0, foreground=1), 'takes 0 %'),
    'full': (Image.fromarray(0 * DISC + 7), '.png', {}, 'takes 100 %'),
    'value that no mask has': (Image.fromarray(255 * DISC), '.png', dict(foreground=1), 'takes 0 %.*set foreground=255'),
    'colour that no mask has': (rgb('red', 'white'), '.png', dict(foreground='blue'), "takes 0 %.*foreground='#ff0000'"),
    'red on white': (rgb('red', 'white'), '.png', {}, r"takes 100 %.*'#ff0000' \(20"),
    'threshold': (Image.fromarray(DISC), '.png', dict(threshold=127), 'threshold=127 takes 0 %.*threshold=0.5'),
    'alpha': (with_alpha('RGBA', 0), '.png', {}, 'alpha=True'),
    'alpha, white': (with_alpha('LA', 255), '.png', {}, 'alpha=True'),
    'NaN': (Image.fromarray(np.where(DISC > 0, np.nan, np.float32(0))), '.tif', {}, 'NaN'),
    'void of a signed type': (Image.fromarray(np.where(CLASSES == 3, np.int32(-1), DISC)), '.tif', {},
                              'ignore_value=-1'),
    'instances': (Image.fromarray(np.uint16(range(64)) // 4 * np.ones((48, 1), np.uint16) + np.uint16(999) * DISC), '.png', {},
                  r'and \d+ more;.*threshold'),
    'no alpha': (Image.fromarray(255 * DISC), '.png', dict(alpha=True), 'alpha=True.*no alpha'),
}  # yapf: disable


@pytest.mark.parametrize('name', REFUSED)
def test_refused(tmp_path: Path, name: str) -> None:
    mask, ending, settings, text = REFUSED[name]
    with pytest.raises(DataError, match=text) as caught:
        save(tmp_path, mask, ending, **settings).check_masks()
    assert '\n' not in str(caught.value) and len(str(caught.value)) < 450 + 3 * len(str(tmp_path))


ACCEPTED = {
    '0 and 255': (Image.fromarray(255 * DISC), '.png', {}),
    '0 and 1': (Image.fromarray(DISC), '.bmp', {}),
    'one bit': (Image.fromarray(255 * DISC).convert('1'), '.png', {}),
    '16 bits': (Image.fromarray(np.uint16(65535) * DISC), '.png', dict(foreground=65535)),
    'float': (Image.fromarray(np.float32(DISC)), '.tif', dict(foreground=1)),
    'grey stored as RGB': (rgb('white'), '.png', {}),
    'red on black': (rgb('red'), '.png', {}),
    'red on white': (rgb('red', 'white'), '.png', dict(foreground='#FF0000')),
    'inverted': (Image.fromarray(255 * (1 - DISC)), '.png', dict(foreground=0)),
    'opaque': (rgb('white').convert('RGBA'), '.png', {}),
    'alpha': (with_alpha('RGBA', 0), '.png', dict(alpha=True)),
    'alpha and colour alike': (Image.merge('LA', [Image.fromarray(255 * DISC)] * 2), '.png', {}),
    'alpha left out': (Image.merge('LA', [Image.fromarray(255 * DISC), Image.linear_gradient('L').resize((64, 48))]), '.png',
                       dict(alpha=False)),
    'some classes': (Image.fromarray(1 + CLASSES), '.png', dict(foreground=[2])),
    'one ignored': (Image.fromarray(2 * DISC), '.gif', dict(ignore_value=9)),
    'soft': (Image.fromarray(soft()), '.png', dict(threshold=127)),
    'soft, inverted': (Image.fromarray(255 - soft()), '.png', dict(threshold=127, foreground=0)),
    'JPEG': (Image.fromarray(255 * DISC), '.jpg', dict(threshold=127)),
    'palette': (palette(DISC, p1=(1, 2, 3)), '.gif', {}),
    'palette, turned round': (palette(DISC, p0=(9, 9, 9)), '.png', dict(foreground='black')),
    'index': (palette(DISC, p0=(255, 255, 255), p1=(255, 255, 255)), '.png', dict(foreground=1)),
}  # yapf: disable


@pytest.mark.parametrize('name', ACCEPTED)
def test_accepted(tmp_path: Path, name: str) -> None:
    mask, ending, settings = ACCEPTED[name]
    dataset = save(tmp_path, mask, ending, **settings)
    values = dataset.check_masks()
    assert np.array_equal(truth(dataset), DISC) or (settings.get('threshold') and
                                                    (truth(dataset) != DISC).mean() < 0.02)
    assert values.kinds[1] == 2 * truth(dataset).sum() and values.pixels.total() == 2 * DISC.size


def test_tiff_of_64_bits(tmp_path: Path) -> None:
    dataset = save(tmp_path, Image.fromarray(DISC), '.tif')
    for stem, dtype in (('a', np.int64), ('b', np.float64)):
        tifffile.imwrite(tmp_path / 'masks' / f'{stem}_mask.tif', DISC.astype(dtype))
    assert dataset.check_masks().describe() == '0 (80 %), 1 (20 %); foreground 20 %, ignored 0 %'
    assert np.array_equal(truth(dataset), DISC)


SPREAD = np.uint8(250 * DISC) + np.uint8([[10 * (i // 6) for i in range(64)]] * 48) * (np.arange(48) > 40)[:, None]


@pytest.mark.parametrize('mask, settings, text', [
    (np.where(DISC, 254, 0) + (np.arange(64) % 2), {}, 'set threshold=127 '),
    (np.where(np.arange(64) % 2, 254 * DISC, 255 * DISC), {}, 'set threshold=127 '),
    (np.where(np.arange(64) > 50, 255, DISC), {}, 'set foreground=1 .*ignore_value=255 '),
    (np.where(np.arange(64) > 60, 1, 255 * DISC), {}, 'ignore_value=255 .*or a threshold'),
    (SPREAD, dict(foreground=250), None),
    (CLASSES * 80, dict(foreground=240), None),
], ids=lambda value: str(value)[-30:])  # yapf: disable
def test_soft_values_and_classes(tmp_path: Path, mask: np.ndarray, settings: dict, text: str | None) -> None:
    dataset = save(tmp_path, Image.fromarray(mask.astype(np.uint8)), **settings)
    if text is None:
        assert 'foreground' in dataset.check_masks().describe()
        return
    with pytest.raises(DataError, match=text):
        dataset.check_masks()


@pytest.mark.parametrize('void', [255, '#e0e0c0'])
@pytest.mark.parametrize('colour', [(128, 0, 0), (255, 255, 255)], ids=str)
def test_void_of_a_palette_is_its_index_or_its_colour(tmp_path: Path, void: int | str, colour: tuple) -> None:
    mask = DISC.copy()
    mask[:3] = 255
    dataset = save(tmp_path, palette(mask, p1=colour, p255=(224, 224, 192)), ignore_value=void)
    assert np.array_equal(truth(dataset), mask)
    assert 'ignored 6.2 %' in dataset.check_masks().describe()


def test_palettes_and_grey_levels_are_not_mixed(tmp_path: Path) -> None:
    dataset = save(tmp_path, palette(DISC, p1=(255, 255, 255)), foreground=1)
    dataset.check_masks()
    Image.fromarray(255 * DISC).save(tmp_path / 'masks' / 'b_mask.png')
    with pytest.raises(DataError, match='foreground=1: .*a_mask.png has a palette.*give a colour'):
        dataset.check_masks()
    dataset = BinarySegDataset(str(tmp_path), foreground='white', pipeline=PIPELINE)
    assert '255 (20 %); foreground 20 %' in dataset.check_masks().describe()
    assert np.array_equal(truth(dataset), DISC)


def test_what_never_occurs_is_said(tmp_path: Path) -> None:
    described = save(tmp_path, Image.fromarray(CLASSES), foreground=[1, 7], ignore_value=255).check_masks().describe()
    assert 'foreground=7 never occurs; ignore_value=255 never occurs' in described


def test_one_empty_mask_is_fine_and_a_stray_value_is_named(tmp_path: Path) -> None:
    dataset = save(tmp_path, Image.fromarray(255 * DISC))
    Image.fromarray(0 * DISC).save(tmp_path / 'masks' / 'b_mask.png')
    assert 0 < dataset.check_masks().kinds[1] == 255 * DISC.sum() // 255
    Image.fromarray(DISC).save(tmp_path / 'masks' / 'b_mask.png')
    with pytest.raises(DataError, match=r'0 \(80 %\), 1 \(10 %\), 255'):
        dataset.check_masks()


TURNS: dict[int, Callable] = {
    2: np.fliplr, 3: lambda m: np.rot90(m, 2), 4: np.flipud, 5: np.transpose, 6: lambda m: np.rot90(m, -1),
    7: lambda m: np.rot90(m, 2).T, 8: np.rot90,
}  # yapf: disable


def photo(root: Path, orientation: int, mask: np.ndarray, own: int | None = None, **settings) -> BinarySegDataset:
    """Write two photos of the disc, with an orientation that turns it, and a mask for each."""
    exif = Image.Exif()
    for folder, ending, values, tag in (('images', '.jpg', DISC[:, :48] if mask.shape == (48, 48) else DISC,
                                         orientation), ('masks', '_mask.png', mask, own)):
        (root / folder).mkdir(exist_ok=True)
        exif[0x112] = tag or 1
        for stem in 'ab':
            Image.fromarray(255 * values).save(root / folder / f'{stem}{ending}', exif=exif, quality=95)
    return BinarySegDataset(str(root), **{'pipeline': PIPELINE, **settings})


def agree(dataset: BinarySegDataset) -> bool:
    dataset.check_masks()
    sample = dataset[0]
    return np.array_equal(sample['inputs'][0].numpy() > 127, sample['data_samples'].gt_mask.numpy() == 1)


@pytest.mark.parametrize('orientation', TURNS)
def test_masks_of_turned_photos(tmp_path: Path, orientation: int) -> None:
    shown = np.ascontiguousarray(TURNS[orientation](DISC))
    assert agree(photo(tmp_path, orientation, DISC, mask_orientation='image'))
    assert agree(photo(tmp_path, orientation, shown, mask_orientation='own'))
    assert agree(photo(tmp_path, orientation, DISC, own=orientation))
    if orientation >= 5:
        assert agree(photo(tmp_path, orientation, DISC)) and agree(photo(tmp_path, orientation, shown))
        with pytest.raises(DataError, match=f'48x64 .*EXIF orientation {orientation}.*64x48'):
            photo(tmp_path, orientation, DISC, mask_orientation='own').check_masks()
    else:
        with pytest.raises(DataError, match=f"EXIF orientation {orientation}.*mask_orientation='image'.*'own'"):
            photo(tmp_path, orientation, DISC).check_masks()


def test_square_photos_and_photos_as_stored(tmp_path: Path) -> None:
    square = DISC[:, :48]
    with pytest.raises(DataError, match=r"both ways fit.* mask_orientation='image'.*and 1 more"):
        photo(tmp_path, 6, square).check_masks()
    as_stored = [dict(type='LoadImageFromFile', color_type='color_ignore_orientation'), *PIPELINE[1:]]
    for own in (None, 6):
        assert agree(photo(tmp_path, 6, square, own, pipeline=as_stored))
        assert agree(photo(tmp_path, 6, DISC, own, pipeline=as_stored))
