"""Images with masks: pairs, splits, and what is refused before training."""
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ftcls.datasets import BinarySegDataset, CarvanaDataset
from ftcls.registry import DATASETS
from ftcls.utils import ConfigError, DataError, MissingFileError

PIPELINE = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]


def make(root: Path, count: int = 10, mask_name: str = '{stem}_mask.png', folders: tuple = ('images', 'masks')) -> Path:
    rng = np.random.default_rng(0)
    for folder in folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
    for i in range(count):
        Image.fromarray(rng.integers(0, 256, (8, 12, 3), dtype=np.uint8)).save(root / folders[0] / f'{i}.png')
        mask = np.where(np.arange(12) < 3, 255, 0).astype(np.uint8)
        Image.fromarray(np.tile(mask, (8, 1))).save(root / folders[1] / mask_name.format(stem=i))
    return root


def test_reads_image_and_mask(tmp_path):
    dataset = BinarySegDataset(str(make(tmp_path)), pipeline=PIPELINE)
    assert dataset.CLASSES == ('background', 'foreground') and len(dataset) == 10
    sample = dataset[0]['data_samples']
    assert sample.gt_mask.dtype.is_floating_point is False and tuple(sample.gt_mask.shape) == (8, 12)
    assert sample.gt_mask[:, :3].eq(1).all() and sample.gt_mask[:, 3:].eq(0).all()
    assert sample.mask_path.endswith('0_mask.png')
    assert dataset.check_masks().describe() == '0 (75 %), 255 (25 %); foreground 25 %, ignored 0 %'
    assert dataset.class_counts() is None and "foreground='nonzero'" in repr(dataset)


@pytest.mark.parametrize('foreground, ignore, columns', [(255, None, (1, 0, 0)), (7, None, (0, 1, 0)),
                                                         (0, 7, (0, 255, 1)), ('nonzero', 255, (255, 1, 0))])
def test_values_of_foreground(tmp_path, foreground, ignore, columns):
    make(tmp_path, 1)
    Image.fromarray(np.uint8([[255, 7, 0] * 4] * 8)).save(tmp_path / 'masks' / '0_mask.png')
    dataset = BinarySegDataset(str(tmp_path), foreground=foreground, ignore_value=ignore, pipeline=PIPELINE)
    assert dataset[0]['data_samples'].gt_mask[0, :3].tolist() == list(columns)


def test_palette(tmp_path):
    """Carvana's GIFs: a pixel is what its colour in the palette says, whatever its index."""
    make(tmp_path, 1)
    mask = Image.fromarray(np.uint8([[0, 1] * 6] * 8), mode=None).convert('P')
    mask.putpalette([255, 255, 255, 0, 0, 0])
    mask.save(tmp_path / 'masks' / '0_mask.png')
    assert BinarySegDataset(str(tmp_path), pipeline=PIPELINE)[0]['data_samples'].gt_mask[0, :4].tolist() == [1, 0, 1, 0]
    by_index = BinarySegDataset(str(tmp_path), foreground=1, pipeline=PIPELINE)
    assert by_index[0]['data_samples'].gt_mask[0, :4].tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize('folders', [('imgs', 'masks'), ('train', 'train_masks')])
def test_carvana_in_both_layouts(tmp_path, folders):
    dataset = CarvanaDataset(str(make(tmp_path, 4, '{stem}_mask.gif', folders)), split='train', pipeline=PIPELINE)
    assert len(dataset) == 3 and dataset[0]['data_samples'].gt_mask[:, :3].eq(1).all()


def test_one_folder_for_both(tmp_path):
    assert len(BinarySegDataset(str(make(tmp_path, 3, folders=('all', 'all'))), img_dir='all', mask_dir='all')) == 3


def stems(root: Path, **kwargs) -> set[str]:
    return {Path(info['img_path']).stem for info in BinarySegDataset(str(root), **kwargs)}


def test_split_is_disjoint_and_stable(tmp_path):
    make(tmp_path, 20)
    train, val = (stems(tmp_path, split=split) for split in ('train', 'val'))
    assert len(val) == 6 and len(train) == 14 and not train & val
    assert stems(tmp_path, split='val', split_seed=1) != val
    (tmp_path / 'images' / 'notes.txt').write_text('no picture')
    (tmp_path / 'masks' / '.DS_Store').write_text('')
    assert stems(tmp_path, split='val') == val
    make(tmp_path, 24)  # four more pictures: round(24 * 0.3) = 7 in val
    later = stems(tmp_path, split='val')
    assert len(later) == 7 and len(later & val) >= 4
    assert len(stems(tmp_path, split='val', val_fraction=1e-9)) == 1
    assert len(stems(tmp_path, split='train', val_fraction=1 - 1e-9)) == 1


def _pages(root: Path) -> None:
    Image.new('L', (12, 8)).save(
        root / 'masks' / '3_mask.png', save_all=True, append_images=[Image.new('L', (12, 8), 1)])


def _small(root: Path) -> None:
    Image.new('L', (12, 7)).save(root / 'masks' / '3_mask.png')


def _empty(root: Path) -> None:
    for file in (root / 'images').iterdir():
        file.unlink()


WRONG = {
    'missing': (lambda root: (root / 'masks' / '3_mask.png').unlink(), DataError, r'3\.png has no mask .*3_mask\.png'),
    'several missing': (lambda root: [(root / 'masks' / f'{i}_mask.png').unlink() for i in (3, 4)], DataError,
                        'and 1 more'),
    'misnamed': (lambda root: (root / 'masks' / '3_mask.png').rename(root / 'masks' / '3_msk.png'), DataError,
                 'did you mean .3_msk.png'),
    'orphan': (lambda root: (root / 'images' / '3.png').unlink(), DataError, r'3_mask\.png is a mask without an image'),
    'size': (_small, DataError, r'3\.png is 12x8 pixels .*, its mask .*3_mask\.png 12x7'),
    'pages': (_pages, DataError, r'3_mask\.png has 2 pages'),
    'empty': (_empty, DataError, 'images. has no images'),
    'no folder': (lambda root: (root / 'masks').rename(root / 'mask'), MissingFileError, "did you mean 'mask'"),
    'no picture': (lambda root: (root / 'images' / '3.png').write_text('text'), DataError, r'3\.png is text, not an image'),
    'two of a name': (lambda root: Image.new('L', (12, 8)).save(root / 'images' / '3.jpg'), DataError, 'the same mask'),
}  # yapf: disable


@pytest.mark.parametrize('name', WRONG)
def test_wrong_data_is_named_before_training(tmp_path, name):
    spoil, error, text = WRONG[name]
    spoil(make(tmp_path))
    with pytest.raises(error, match=text) as caught:
        BinarySegDataset(str(tmp_path)).check_masks()
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('arguments, text', [
    (dict(mask_name='mask.png'), 'mask_name'), (dict(foreground='whitish'), 'foreground'), (dict(split='test'), 'split'),
    (dict(val_fraction=1.), 'val_fraction'), (dict(foreground=1, ignore_value=1), 'ignore_value'),
    (dict(classes=['a', 'b', 'c']), 'two'), (dict(ignore_value='#12'), 'ignore_value'), (dict(foreground=[]), 'foreground'),
    (dict(foreground=[1, 2], ignore_value=2), 'ignore_value'), (dict(foreground=255, threshold=1), "'nonzero'.* or 0"),
    (dict(threshold='half'), 'threshold'), (dict(alpha='white'), 'alpha'), (dict(mask_orientation='up'), 'mask_orient'),
])  # yapf: disable
def test_wrong_arguments(tmp_path, arguments, text):
    with pytest.raises(ConfigError, match=text):
        DATASETS.build(dict(type='BinarySegDataset', data_root=str(make(tmp_path)), **arguments))


def test_membranes(real_data):
    sets = [BinarySegDataset(str(real_data / 'membrane'), foreground=0, split=split, val_fraction=1 / 6)
            for split in ('train', 'val')]  # yapf: disable
    assert [len(one) for one in sets] == [20, 4]
    assert sets[0].check_masks().describe() == '0 (22.6 %), 255 (77.4 %); foreground 22.6 %, ignored 0 %'
