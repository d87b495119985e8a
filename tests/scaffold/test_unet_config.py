"""From a folder of images and masks to the config of a U-Net."""
import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ftcls.apis import TrainOptions, load_config, new_config, train
from ftcls.scaffold.mask_folders import find_masks
from ftcls.utils import ConfigError, DataError

ROOT = Path(__file__).resolve().parents[2]


def write(place: Path, layout: str, values: tuple[int, ...] = (), size: tuple[int, int] = (40, 36)) -> None:
    """Write six files of noise; ``{i}`` in the layout is their number, ``values`` are those of a mask."""
    rng = np.random.default_rng(0)
    for i in range(6):
        path = place / layout.format(i=i)
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (size[1], size[0] + 8 * (i % 2), 3), dtype=np.uint8)
        Image.fromarray(rng.choice(values, pixels.shape[:2]).astype(np.uint8) if values else pixels).save(path)


def make(place: Path, **kwargs: object) -> tuple[dict, str]:
    """Write a config for the folder; return it, and what is said."""
    done = new_config(place, place.parent / 'new.py', device='cpu', **kwargs)
    return load_config(done.path), '\n'.join(done.describe())


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path / 'data'


LAYOUTS = [
    (['images/{i}.jpg', 'masks/{i}_mask.png'], dict(train=('images', 'masks')), '{stem}_mask.png'),
    (['Imgs/{i}.jpg', 'Labels/{i}.png'], dict(train=('Imgs', 'Labels')), '{stem}.png'),
    (['image/1{i}.jpg', 'label/seg-1{i}.gif'], dict(train=('image', 'label')), 'seg-{stem}.gif'),
    (['train/images/{i}.jpg', 'train/masks/{i}.png', 'Valid/imgs/{i}.jpg', 'Valid/gt/{i}.png'],
     dict(train=('train/images', 'train/masks'), val=('Valid/imgs', 'Valid/gt')), '{stem}.png'),
    (['images/train/{i}.jpg', 'masks/train/{i}.png', 'images/val/{i}.jpg', 'masks/val/{i}.png'],
     dict(train=('images/train', 'masks/train'), val=('images/val', 'masks/val')), '{stem}.png'),
    (['train/0{i}.jpg', 'train_masks/0{i}_mask.gif'], dict(train=('train', 'train_masks')), '{stem}_mask.gif'),
    (['x{i}.jpg', 'x{i}_mask.png'], dict(train=('', '')), '{stem}_mask.png'),
    (['train/x{i}.jpg', 'train/x{i}-seg.png', 'val/x{i}.jpg', 'val/x{i}-seg.png'],
     dict(train=('train', 'train'), val=('val', 'val')), '{stem}-seg.png'),
    (['train_images/{i}.jpg', 'train_masks/{i}.png', 'val_images/{i}.jpg', 'val_masks/{i}.png'],
     dict(train=('train_images', 'train_masks'), val=('val_images', 'val_masks')), '{stem}.png'),
    (['images/1{i}.jpg', 'images/masks/mask_1{i}.png'], dict(train=('images', 'images/masks')), 'mask_{stem}.png'),
    (['1{i}.jpg', 'ground truth/1{i}.png'], dict(train=('', 'ground truth')), '{stem}.png'),
    (['images/1{i}.jpg', 'images/1{i}_mask.png'], dict(train=('images', 'images')), '{stem}_mask.png'),
]  # yapf: disable


@pytest.mark.parametrize('files, splits, mask_name', LAYOUTS)
def test_layouts(place, files, splits, mask_name):
    for number, layout in enumerate(files):
        write(place, layout, (0, 255) if number % 2 else ())
    cfg, said = make(place)
    for split in ('train', 'val'):
        dataset = cfg[f'{split}_dataloader'].dataset
        folders = splits.get(split, splits['train'])
        assert (dataset.img_dir, dataset.mask_dir, dataset.mask_name) == (*folders, mask_name)
        assert dataset.get('split') == (None if 'val' in splits else split)
    assert cfg.test_dataloader == cfg.val_dataloader and 'WARNING' not in said
    assert cfg.val_dataloader.batch_size == 1 and '40x36, 48x36' in said


def run(cfg, tmp_path):
    """Make a step of training and a pass of validation."""
    for split in ('train', 'val'):
        cfg[f'{split}_dataloader'].update(num_workers=0, persistent_workers=False)
    train(cfg, TrainOptions(dry_run=True, work_dir=str(tmp_path / 'work')))


def test_the_config_runs(place, tmp_path):
    write(place, 'imgs/{i}.jpg')
    write(place, 'masks/{i}.png', (0, 1))
    (place / 'notes').mkdir()
    cfg, said = make(place, seed=3)
    assert 'WARNING folders without images and masks, left out: notes' in said
    assert cfg.train_dataloader.dataset.split_seed == 3 and cfg.train_dataloader.batch_size == 4
    assert cfg.train_dataloader.dataset.pipeline[2] == dict(type='RandomCrop', crop_size=32, pad_if_needed=True)
    assert 'sides of up to' not in Path('new.py').read_text()
    run(cfg, tmp_path)


def test_membrane(real_data, tmp_path):
    done = new_config(real_data / 'membrane', tmp_path / 'new.py', device='cpu')
    cfg = load_config(done.path)
    assert cfg.model.backbone.in_channels == 1 and cfg.data_preprocessor.mean == [125.15]
    assert cfg.train_dataloader.dataset.pipeline[0] == dict(type='LoadImageFromFile', color_type='grayscale')
    assert 'for the reverse give `--masks foreground=0`' in '\n'.join(done.describe())
    said = '313 epochs, at rate 0.003, at least 1500 steps, in batches of 4 crops of 192 pixels; channels, rate and batches'
    assert f'{said} are those of configs/unet/unet_membrane.py' in '\n'.join(done.describe())
    recipe = load_config(ROOT / 'configs/unet/unet_membrane.py')
    assert (cfg.model, cfg.optim_wrapper) == (recipe.model, recipe.optim_wrapper)
    assert cfg.train_dataloader.dataset.pipeline[2].crop_size == recipe.train_dataloader.dataset.pipeline[2].crop_size
    assert cfg.train_dataloader.batch_size == recipe.train_dataloader.batch_size
    steps = [one.train_cfg.max_epochs * (24 - count) for one, count in ((cfg, 5), (recipe, 4))]
    assert steps[0] == pytest.approx(steps[1], rel=0.02)
    run(cfg, tmp_path)


def test_large_images_are_made_smaller(place):
    write(place, 'images/{i}.jpg', size=(600, 20))
    write(place, 'masks/{i}.png', (0, 255), size=(600, 20))
    cfg, _ = make(place)
    assert cfg.val_dataloader.batch_size == 1
    assert cfg.val_dataloader.dataset.pipeline[2] == dict(type='ResizeEdge', scale=512, edge='long')
    assert cfg.train_dataloader.dataset.pipeline[3].crop_size == 16


@pytest.mark.parametrize('values, masks, said', [
    ((0, 1, 2), [], 'set foreground=1 .*--masks NAME=VALUE'),
    ((1, 2), [], 'takes 100 %.*--masks'),
    ((0, ), [], 'takes 0 %'),
    ((0, 1, 2), ['foreground=2'], ''),
    ((0, 1, 255), ['foreground=1', 'ignore_value=255'], ''),
])
def test_what_the_masks_mean(place, values, masks, said):
    write(place, 'images/{i}.jpg')
    write(place, 'masks/{i}.png', values)
    if said:
        with pytest.raises(DataError, match=said):
            make(place, masks=masks)
        return
    cfg, _ = make(place, masks=masks)
    for item in masks:
        name, value = item.split('=')
        assert cfg.train_dataloader.dataset[name] == cfg.val_dataloader.dataset[name] == int(value)


@pytest.mark.parametrize('files, kwargs, said', [
    (['images/img{i}.jpg', 'masks/mask{i}.png'
      ], {}, "no mask image in masks is named like an image in images .'mask0.png'.*'img0.jpg'"),
    (['images/{i}.jpg', 'masks/{i}.png'], dict(backbone='resnet18'), '--backbone, --weights, --time: .* U-Net'),
    (['a/{i}.jpg', 'b/{i}.jpg'], dict(masks=['foreground=1']), '--masks foreground=1: '),
    (['images/{i}.jpg', 'masks/{i}.png'], dict(masks=['foregroud=1']), "did you mean 'foreground'"),
])
def test_what_cannot_be(place, files, kwargs, said):
    for number, layout in enumerate(files):
        write(place, layout, (0, 255) if number % 2 else ())
    with pytest.raises((ConfigError, DataError), match=said):
        make(place, **kwargs)


def test_letters_of_the_word_mask_are_no_names(place):
    for name in 'task':
        write(place, f'images/{name}.png')
        write(place, f'masks/mask_{name}.png', (0, 255))
    assert make(place)[0].train_dataloader.dataset.mask_name == 'mask_{stem}.png'


def test_classes_about_masks_are_classes_and_images_without_masks_are_named(place):
    for split, name in itertools.product(('train', 'val'), ('mask', 'no_mask', 'labels')):
        write(place, f'{split}/{name}/{{i}}.jpg')
    write(place, 'readme.png')
    assert find_masks(place) is None
    shutil.rmtree(place)
    for name in ('images/train', 'masks/train', 'images/test'):
        write(place, f'{name}/{{i}}.png')
    assert find_masks(place).left_out == ['images/test']


def test_boxes_are_no_masks(place):
    write(place, 'images/{i}.jpg')
    (place / 'labels').mkdir()
    with pytest.raises(DataError, match='no mask image in labels .*it is empty'):
        make(place)
    (place / 'labels' / '0.txt').write_text('0 0.5 0.5 0.1 0.1')
    with pytest.raises(DataError, match=r"labels .*'\.txt' and .*boxes and polygons are not supported"):
        make(place)


def test_images_of_16_bits(place, tmp_path):
    rng = np.random.default_rng(0)
    write(place, 'masks/{i}.png', (0, 255))
    for folder in ('data/images', 'classes/a', 'classes/b'):
        (tmp_path / folder).mkdir(parents=True)
        for i in range(6):
            pixels = rng.integers(0, 4000, (36, 40 + 8 * (i % 2)), dtype=np.uint16)
            Image.fromarray(pixels).save(tmp_path / folder / f'{i}.png')
    cfg, said = make(place)
    assert 'grey, 16 bit, ' in said and 'scaled by value_range=(0, 4095)' in said
    expected = dict(type='LoadImageFromFile', value_range=(0, 4095))
    assert cfg.train_dataloader.dataset.pipeline[0] == dict(expected, color_type='grayscale')
    done = new_config('classes', 'classes.py', 'resnet18', device='cpu')
    cfg = load_config(done.path)
    assert 'grey, 16 bit, ' in '\n'.join(done.describe())
    assert cfg.train_dataloader.dataset.pipeline[0] == cfg.val_dataloader.dataset.pipeline[0] == expected


def test_a_folder_around_the_splits_is_named(place):
    write(place, 'pets/train/a/{i}.png')
    with pytest.raises(DataError, match='its one folder .pets. has folders in it; give --data .*pets'):
        make(place)


def test_classes_of_other_names_in_val_are_refused(place):
    for name in ('train/ants', 'train/bees', 'val/Ants', 'val/Bees'):
        write(place, f'{name}/{{i}}.png')
    with pytest.raises(DataError, match='val has images of Ants, Bees, and training of ants, bees; the folders'):
        make(place)
