"""The cache of decoded images: the same pixels, decoded once, never stale, shared by all workers."""
import os
import pickle
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, get_worker_info

from ftcls.datasets import BinarySegDataset, CustomDataset, Digits, KFoldDataset, image_cache
from ftcls.datasets.bad_samples import IS_DAMAGED
from ftcls.datasets.image_cache import CachedImages, CacheSettings
from ftcls.registry import DATASETS
from ftcls.utils import ConfigError, DataError
from ftcls.utils.array_file import SHARED_MEMORY

RNG = np.random.default_rng(0)
LOAD = dict(type='LoadImageFromFile')
PIPELINE = [LOAD, dict(type='PackInputs')]


def photo(height: int, width: int, channels: int = 3) -> Image.Image:
    """A smooth image, as JPEG keeps it well."""
    coarse = RNG.integers(0, 256, (8, 8, channels), dtype=np.uint8)
    return Image.fromarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Photos upright and turned, grey, with a palette, with alpha, in CMYK."""
    folder = tmp_path / 'data'
    for name in ('ant', 'bee'):
        (folder / name).mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    photo(60, 90).save(folder / 'ant' / '0.jpg')
    photo(60, 90).save(folder / 'ant' / '1.jpg', exif=exif)
    photo(50, 40).convert('L').save(folder / 'ant' / '2.png')
    photo(30, 30).convert('P').save(folder / 'bee' / '3.png')
    photo(70, 35, 4).save(folder / 'bee' / '4.png')
    photo(64, 48).convert('CMYK').save(folder / 'bee' / '5.jpg')
    return folder


def build(root: Path, cache: object = None, load: dict = LOAD, **settings) -> CustomDataset:
    if isinstance(cache, int):
        cache = dict(short_side=cache)
    if isinstance(cache, dict):
        cache = dict(folder=str(root.parent / 'cache'), **cache)
    return CustomDataset(data_root=str(root), pipeline=[load, *PIPELINE[1:]], cache=cache, **settings)


def is_cached(dataset: CustomDataset, index: int) -> bool:
    loader = dataset.pipeline.transforms[0]
    return isinstance(loader, CachedImages) and bool(loader.index[index, 3])


def assert_same(one: CustomDataset, other: CustomDataset) -> None:
    for ours, theirs in zip(one, other, strict=True):
        assert torch.equal(ours['inputs'], theirs['inputs']) and ours['inputs'].dtype == theirs['inputs'].dtype
        assert ours['data_samples'].metainfo == theirs['data_samples'].metainfo
        assert ours['data_samples'].gt_label == theirs['data_samples'].gt_label


@pytest.mark.parametrize('cache', ['ram', dict(type='disk')])
@pytest.mark.parametrize('load', [
    LOAD,
    dict(LOAD, color_type='grayscale'),
    dict(LOAD, alpha='keep', to_float32=True),
    dict(LOAD, color_type='color_ignore_orientation', imdecode_backend='pillow')
])
def test_the_pixels_are_those_of_the_files(root, cache, load):
    dataset = build(root, cache, load)
    assert_same(dataset, build(root, load=load))
    assert all(is_cached(dataset, index) for index in range(6))
    assert not list(SHARED_MEMORY.glob('ftcls-*/*.images'))


def test_images_are_reduced_to_the_short_side_and_not_enlarged(root):
    dataset, files = build(root, 40), build(root)
    assert '; short side 40' in dataset.build_cache()[0]
    shapes = [tuple(one['inputs'].shape[1:]) for one in dataset]
    assert shapes == [(40, 60), (60, 40), (50, 40), (30, 30), (70, 35), (53, 40)]
    for small, whole in zip(dataset, files):
        assert small['data_samples'].ori_shape == whole['data_samples'].ori_shape
        assert small['data_samples'].img_shape == tuple(small['inputs'].shape[1:])
    whole = Image.fromarray(files[0]['inputs'].permute(1, 2, 0).numpy())
    expected = np.asarray(whole.resize((60, 40), Image.Resampling.BILINEAR))  # Pillow's averages over what it shrinks
    assert np.array_equal(dataset[0]['inputs'].permute(1, 2, 0).numpy(), expected)


def test_what_is_not_8_bit_or_not_readable_is_read_from_its_file(root):
    cv2.imwrite(str(root / 'ant' / '2.png'), RNG.integers(0, 4096, (9, 9), dtype=np.uint16))
    (root / 'bee' / '3.png').write_bytes(b'nothing')
    load = dict(LOAD, color_type='unchanged')
    dataset = build(root, dict(type='disk'), load)
    assert '2 are read from their files' in dataset.build_cache()[0]
    assert torch.equal(dataset[2]['inputs'], build(root, load=load)[2]['inputs'])
    with pytest.raises(DataError, match='3.png'):
        dataset[3]


def test_the_default_folder_is_that_of_the_users_caches(monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', '/caches')
    assert CacheSettings().path == Path('/caches/ftcls/images')
    monkeypatch.delenv('XDG_CACHE_HOME')
    assert CacheSettings(folder=None).path == Path.home() / '.cache/ftcls/images'


def test_a_second_dataset_decodes_nothing(root, monkeypatch):
    build(root, dict(type='disk')).build_cache()
    monkeypatch.setattr(image_cache.LoadImageFromFile, 'read', None)
    dataset = build(root, dict(type='disk'))
    assert 'made before' in dataset.build_cache()[0] and len(list(dataset)) == 6
    folds = KFoldDataset(build(root, dict(type='disk')), num_splits=2)
    assert len([folds[index] for index in range(len(folds))]) == 3


@pytest.mark.parametrize('change', ['pixels', 'time', 'name', 'short_side', 'loader', 'cut', 'order'])
def test_a_stale_or_broken_cache_is_made_anew(root, change):
    build(root, 40).build_cache()
    path, load, short_side = root / 'ant' / '0.jpg', LOAD, 40
    if change == 'pixels':
        photo(60, 90).save(path)
    elif change == 'time':
        os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    elif change == 'name':
        shutil.move(path, root / 'ant' / '9.jpg')
    elif change == 'short_side':
        short_side = 41
    elif change == 'loader':
        load = dict(LOAD, imdecode_backend='pillow')
    elif change == 'cut':
        file, = (root.parent / 'cache').glob('*.images')
        file.write_bytes(file.read_bytes()[:-100])
    else:
        (root / 'ant').rename(root / 'cat')
    dataset = build(root, short_side, load)
    assert 'decoded in' in dataset.build_cache()[0]
    fresh = build(root, dict(short_side=short_side, type='ram'), load)
    assert_same(dataset, fresh)


def test_a_sample_is_never_given_the_pixels_of_another_file(root):
    dataset = build(root, dict(type='disk'))
    dataset.build_cache()
    dataset.get_subset_([4, 0])
    assert_same(dataset, build(root, indices=None).get_subset([4, 0]))


def test_damage_is_still_reported(root):
    path = root / 'ant' / '0.jpg'
    data = path.read_bytes()
    path.write_bytes(data[:-len(data) // 4] + b'\xff\xd9')
    for _ in range(2):  # decoded, then found
        dataset = build(root, dict(type='disk'))
        dataset.build_cache()
        assert dataset.marks.tolist() == [IS_DAMAGED, 0, 0, 0, 0, 0]


class _WhereFrom:
    """Add where the pixels came from."""

    def __call__(self, results: dict) -> dict:
        return dict(sum=int(results['img'].sum()), worker=get_worker_info().id)


def test_workers_read_what_the_main_process_has_decoded(root, monkeypatch):
    dataset = CustomDataset(data_root=str(root), pipeline=[LOAD, _WhereFrom()], cache='ram')
    with monkeypatch.context() as in_worker, pytest.raises(ConfigError, match='build_cache'):
        in_worker.setattr(image_cache, 'get_worker_info', lambda: 'a worker')
        dataset[0]
    dataset.build_cache()
    expected = [int(one['inputs'].sum()) for one in build(root)]
    shutil.rmtree(root)  # the files are not read any more
    found = list(DataLoader(dataset, None, num_workers=2, multiprocessing_context='fork'))
    assert [one['sum'] for one in found] == expected and {one['worker'] for one in found} == {0, 1}


def test_spawned_workers_get_no_copy_of_the_pixels(root):
    dataset = build(root, 'ram')
    assert_same(pickle.loads(pickle.dumps(dataset)), dataset)
    assert len(pickle.dumps(dataset)) < sum(one['inputs'].nbytes for one in dataset) / 2


def test_the_images_of_large_sets_are_decoded_by_workers(root, monkeypatch):
    monkeypatch.setattr(image_cache, '_FEW', 3)
    monkeypatch.setattr(image_cache, 'usable_cores', lambda: 2)
    numbers = torch.get_rng_state()
    dataset = build(root, dict(type='disk'))
    dataset.build_cache()
    assert torch.equal(torch.get_rng_state(), numbers)
    assert_same(dataset, build(root))


def test_masks_are_read_beside_cached_images(tmp_path):
    for name in ('img', 'mask'):
        (tmp_path / name).mkdir()
        for number in range(3):
            value = photo(20, 30) if name == 'img' else Image.fromarray(np.eye(20, 30, dtype=np.uint8) * 255)
            value.save(tmp_path / name / f'{number}.png')
    settings = dict(
        data_root=str(tmp_path),
        img_dir='img',
        mask_dir='mask',
        mask_name='{stem}.png',
        pipeline=[LOAD, dict(type='LoadAnnotations'), dict(type='PackSegInputs')])
    dataset = BinarySegDataset(cache='ram', **settings)
    assert 'masks are read from their files' in dataset.build_cache()[0]
    for ours, theirs in zip(dataset, BinarySegDataset(**settings), strict=True):
        assert torch.equal(ours['inputs'], theirs['inputs'])
        assert torch.equal(ours['data_samples'].gt_mask, theirs['data_samples'].gt_mask)
    with pytest.raises(ConfigError, match='short_side=9: masks keep their size'):
        BinarySegDataset(cache=dict(type='ram', short_side=9), **settings).build_cache()


@pytest.mark.parametrize(('cache', 'words'), [
    (dict(type='rom'), r"cache.type='rom'.*'ram'.*'disk'"),
    (dict(short_sid=3), "cache.short_sid.*did you mean 'short_side'"),
    (dict(short_side=0), 'cache.short_side=0.*at least 1'),
    (dict(limit=1e-6), 'may take 1e-06 GiB.*limit'),
])
def test_wrong_settings_are_refused(root, cache, words):
    with pytest.raises(ConfigError, match=words):
        build(root, cache).build_cache()


def test_datasets_that_cannot_have_a_cache_say_so(root):
    with pytest.raises(ConfigError, match='in memory already; remove cache'):
        Digits(cache='ram').build_cache()
    with pytest.raises(ConfigError, match='first step of the pipeline'):
        CustomDataset(data_root=str(root), pipeline=[lambda sample: sample], cache='ram').build_cache()
    with pytest.raises(ConfigError, match="cache='ROM'|cache.type='ROM'"):
        DATASETS.build(dict(type='CustomDataset', data_root=str(root), cache='ROM'))


def test_a_pipeline_that_enlarges_the_kept_images_is_noted(root):
    crop = dict(type='RandomResizedCrop', scale=48)
    dataset = CustomDataset(
        data_root=str(root), pipeline=[LOAD, crop, PIPELINE[1]], cache=dict(type='ram', short_side=40))
    assert 'NOTE: the pipeline asks for 48 pixels' in dataset.build_cache()[0]


def test_a_system_without_shared_memory(root, monkeypatch):
    monkeypatch.setattr(image_cache, 'SHARED_MEMORY', Path('/nowhere'))
    with pytest.raises(ConfigError, match="set type='disk'"):
        build(root, 'ram').build_cache()
