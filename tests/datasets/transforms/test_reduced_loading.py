"""JPEGs are decoded only as far as the next step needs: the same part of the image, of at least as many pixels."""
import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.dataset import Compose
from PIL import Image

from ftcls.apis.inference.inferencer import ValidationPipeline
from ftcls.apis.training.data_checks import check_images
from ftcls.datasets import BinarySegDataset, CustomDataset
from ftcls.datasets.headers import scan_headers
from ftcls.datasets.transforms import (LoadAnnotations, LoadImageFromFile, PackInputs, RandomFlip, RandomResizedCrop,
                                       Resize, ResizeEdge, image_ops)
from ftcls.datasets.transforms.decoder_errors import DAMAGED
from ftcls.datasets.transforms.decoding import decode_planned
from ftcls.datasets.transforms.image_ops import Plan, resize_image
from ftcls.datasets.transforms.loading import Pipeline, next_step

RNG = np.random.default_rng(0)


def photo(width: int = 640, height: int = 480) -> Image.Image:
    """An image with edges and some noise."""
    coarse = RNG.integers(0, 256, (9, 12, 3), dtype=np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(int)
    return Image.fromarray(np.clip(smooth + RNG.normal(0, 3, smooth.shape), 0, 255).astype(np.uint8))


@pytest.fixture(scope='module')
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp('photos') / 'a.jpg'
    photo().save(file, quality=92)
    return str(file)


def run(pipeline: type, path: str, *steps: object, seed: int = 0) -> tuple[dict, float]:
    """Return the sample, and the next number of the random generator."""
    np.random.seed(seed)
    return pipeline([LoadImageFromFile(), *steps])(dict(img_path=path)), np.random.rand()


@pytest.mark.parametrize('step', [
    RandomResizedCrop(64, backend='pillow'),
    RandomResizedCrop((40, 90), crop_ratio_range=(0.5, 1.), backend='pillow'),
    Resize((100, 70), backend='pillow'),
    Resize(scale_factor=0.2, backend='pillow'),
    Resize((200, 100), keep_ratio=True, backend='pillow', interpolation='bicubic'),
    ResizeEdge(64, backend='pillow'),
    ResizeEdge(59, edge='long', backend='pillow')
])
def test_result_is_that_of_the_whole_image(path: str, step: object, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []

    def resize(img: np.ndarray, size: tuple[int, int], *args: str) -> np.ndarray:
        taken.append((img.shape, size))
        return resize_image(img, size, *args)

    monkeypatch.setattr(image_ops, 'resize_image', resize)
    differences = []
    for seed in range(8):
        (expected, number), (reduced, other) = (run(kind, path, step, seed=seed) for kind in (Compose, Pipeline))
        assert number == other
        whole, part = taken[-2:]
        assert np.prod(part[0]) <= np.prod(whole[0]) and min(np.subtract(part[0][:2], part[1])) >= 0
        img = expected.pop('img').astype(int)
        differences.append(np.abs(img - reduced.pop('img')).mean())
        assert expected == reduced and reduced['ori_shape'] == (480, 640) and 'plan' not in reduced
    assert min(np.prod(part[0]) for part in taken[1::2]) < 480 * 640 / 4
    assert np.mean(differences) < 2 and max(differences) < 4


def test_nothing_changes_where_no_pixel_is_spare(path: str) -> None:
    """The rows below the part are left out; of the others, each pixel is the same."""
    for backend in ('cv2', 'pillow'):
        for seed in range(10):
            steps = RandomResizedCrop(300, backend=backend), RandomFlip(), PackInputs()
            expected, reduced = (run(kind, path, *steps, seed=seed)[0] for kind in (Compose, Pipeline))
            assert (expected['inputs'] == reduced['inputs']).all()
    assert path not in DAMAGED


@pytest.mark.parametrize('kind', ['444', '422', '420', '411', '440', 'grey', 'progressive', 'restarts'])
def test_rows_are_left_out_exactly(kind: str) -> None:
    img, buffer = photo(200, 160), io.BytesIO()
    if kind.isdigit():
        factor = getattr(cv2, f'IMWRITE_JPEG_SAMPLING_FACTOR_{kind}')
        data = cv2.imencode('.jpg', np.asarray(img), [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor])[1].tobytes()
    else:
        options = dict(restarts=dict(restart_marker_blocks=3), progressive=dict(progressive=True)).get(kind, {})
        (img.convert('L') if kind == 'grey' else img).save(buffer, 'JPEG', **options)
        data = buffer.getvalue()
    header, shapes = Image.open(io.BytesIO(data)), set()
    for reduction in (1, 2, 4, 8):
        flags = {1: 0, 2: 16, 4: 32, 8: 64}[reduction] | cv2.IMREAD_COLOR
        whole = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        for bottom in range(90, 161, 7):
            step = Resize((200 // reduction, (bottom - 30) // reduction - 1))
            step.box = lambda shape, bottom=bottom: (30, 0, bottom - 30, 200)
            stored = decode_planned(data, header, 'a.jpg', cv2.IMREAD_COLOR, step)
            assert stored.plan.reduction == reduction
            part = stored.plan.part(reduction)
            assert (stored.pixels[part] == whole[part]).all()
            shapes.add(stored.pixels.shape)
    assert (len(shapes) > 10) == (kind != 'progressive') and 'a.jpg' not in DAMAGED


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('color_type', ['color', 'grayscale', 'color_ignore_orientation'])
def test_orientation(tmp_path: Path, orientation: int, color_type: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    img = np.zeros((240, 320, 3), np.uint8)
    img[:100, :130] = (250, 120, 30)
    Image.fromarray(img).save(tmp_path / 'a.jpg', exif=exif)
    for step in (Resize((40, 30), backend='pillow'), RandomResizedCrop(32, crop_ratio_range=(.5, 1.))):
        np.random.seed(3)
        expected = step(LoadImageFromFile(color_type=color_type)(dict(img_path=tmp_path / 'a.jpg')))
        np.random.seed(3)
        loaded = LoadImageFromFile(color_type=color_type)(dict(img_path=tmp_path / 'a.jpg', next_step=step))
        assert loaded['plan'].reduction > 1 and loaded['img'].shape[0] < loaded['img_shape'][0] / 1.9
        reduced = step(loaded)
        assert np.abs(expected.pop('img').astype(int) - reduced.pop('img')).mean() < 6 and expected == reduced


def test_image_and_mask_stay_together(tmp_path: Path) -> None:
    for name in ('images', 'masks'):
        (tmp_path / name).mkdir()
    for number in range(4):
        mask = np.zeros((500, 420), np.uint8)
        mask[60:200 + 50 * number, 100:300] = 255
        Image.fromarray(np.dstack([mask] * 3)).save(tmp_path / 'images' / f'{number}.jpg')
        Image.fromarray(mask).save(tmp_path / 'masks' / f'{number}.png')
    loading = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]
    for step in (dict(type='Resize', scale=(64, 64)), dict(type='RandomResizedCrop', scale=64)):
        dataset = BinarySegDataset(data_root=str(tmp_path), mask_name='{stem}.png', pipeline=[*loading, step])
        assert next_step(dataset.pipeline.transforms) is dataset.pipeline.transforms[2]
        for sample in dataset:
            assert sample['img'].shape == (64, 64, 3) and sample['ori_shape'] == (500, 420)
            assert ((sample['img'][..., 0] > 127) == sample['gt_mask']).mean() > 0.97


class Halved(LoadImageFromFile):
    """One of a user."""

    def transform(self, results: dict) -> dict:
        """Take the left half."""
        results = super().transform(results)
        return dict(results, img=results['img'][:, :results['img'].shape[1] // 2])


class Noted(Resize):
    """One of a user."""

    def transform(self, results: dict) -> dict:
        """Note the size."""
        return super().transform(dict(results, seen=results['img'].shape))


@pytest.mark.parametrize('steps', [
    (LoadImageFromFile(reduce=False), Resize(32)),
    (LoadImageFromFile(imdecode_backend='pillow'), Resize(32)),
    (LoadImageFromFile(color_type='unchanged'), Resize(32)),
    (LoadImageFromFile(), Resize(32, interpolation='nearest')),
    (LoadImageFromFile(), Noted(32)),
    (LoadImageFromFile(), RandomFlip(), Resize(32)),
    (Halved(), Resize(32)),
    (LoadImageFromFile(), ),
    (),
])
def test_the_whole_image_is_decoded_for_others(path: str, steps: tuple) -> None:
    assert next_step(steps) is None
    samples = [kind(list(steps))(dict(img_path=path)) for kind in (Compose, Pipeline)]
    assert all((samples[0][key] == samples[1][key]) if key != 'img' else True for key in samples[0])
    if steps:
        np.random.seed(0)
        assert np.array_equal(*[kind(list(steps[:2]))(dict(img_path=path))['img']
                                for kind in (Compose, Pipeline)]) or isinstance(steps[1], RandomFlip)


@pytest.mark.parametrize('name', ['a.png', 'cmyk.jpg', 'a.gif', 'grey.png', 'a.webp'])
def test_other_kinds_are_decoded_whole(tmp_path: Path, name: str) -> None:
    mode = dict(cmyk='CMYK', grey='L').get(name.split('.')[0], 'RGB')
    photo(120, 90).convert(mode).save(tmp_path / name)
    step = Resize(10)
    loaded = LoadImageFromFile()(dict(img_path=tmp_path / name, next_step=step))
    assert 'plan' not in loaded and loaded['img'].shape == (90, 120, 3) and 'next_step' not in loaded


def test_options_of_loading_hold(path: str) -> None:
    step = Resize((64, 48), backend='pillow')
    for options in (dict(to_float32=True), dict(value_range=(50, 200)), dict(alpha='keep'),
                    dict(color_type='grayscale')):
        load = LoadImageFromFile(**options)
        whole, loaded = load(dict(img_path=path)), load(dict(img_path=path, next_step=step))
        assert loaded['img'].dtype == whole['img'].dtype and loaded['img'].shape[2] == whole['img'].shape[2]
        assert loaded['img'].shape[:2] == (60, 80)
        assert np.abs(step(whole)['img'].astype(float) - step(loaded)['img']).mean() < 3


def test_damage_is_noted_and_a_cut_off_file_refused(tmp_path: Path, path: str) -> None:
    data = Path(path).read_bytes()
    half = len(data) // 4
    (tmp_path / 'a.jpg').write_bytes(data[:half] + b'\xff\xd9' + data[half + 2:])
    load, step = LoadImageFromFile(ignore_empty=True), RandomResizedCrop(64, crop_ratio_range=(1., 1.))
    load(dict(img_path=tmp_path / 'a.jpg', next_step=step))
    assert 'Corrupt JPEG data' in DAMAGED.pop(str(tmp_path / 'a.jpg'))
    (tmp_path / 'a.jpg').write_bytes(data[:half])
    assert load(dict(img_path=tmp_path / 'a.jpg', next_step=step)) is None


def test_prediction_prepares_as_validation_does(tmp_path: Path, path: str) -> None:
    (tmp_path / 'a').mkdir()
    (tmp_path / 'a' / '0.jpg').write_bytes(Path(path).read_bytes())
    pipeline = [dict(type='LoadImageFromFile'), dict(type='ResizeEdge', scale=64), dict(type='PackInputs')]
    dataset = CustomDataset(data_root=str(tmp_path), pipeline=pipeline)
    prepare = ValidationPipeline(dict(test_dataloader=dict(dataset=dict(type='CustomDataset', pipeline=pipeline))))
    path = dataset.get_data_info(0)['img_path']
    assert (prepare(path)['inputs'] == dataset[0]['inputs']).all()
    assert prepare.read_to_draw(path).shape == (480, 640, 3)
    lines = check_images(dict(train=dataset), {h.path: h for h in scan_headers([str(tmp_path / 'a' / '0.jpg')])})
    assert 'decoded at down to 1/4' in lines['train'][-1] and 'reduce=False' in lines['train'][-1]
    dataset.pipeline.transforms[1].scale = 300
    lines = check_images(dict(train=dataset), {h.path: h for h in scan_headers([str(tmp_path / 'a' / '0.jpg')])})
    assert 'decoded at' not in str(lines)


def test_parts_of_a_reduced_image() -> None:
    plan = Plan((101, 203), (7, 9, 90, 180), (20, 41))
    assert plan.part() == (slice(7, 97), slice(9, 189)) and plan.part(4) == (slice(2, 24), slice(2, 47))
    assert plan.most_reduction() == 4
    assert Plan((101, 203), (7, 9, 90, 180), (24, 41)).most_reduction() == 2
    assert Plan((101, 203), (7, 9, 90, 180), (80, 41)).most_reduction() == 1


@pytest.mark.parametrize('channels', [1, 3, 4, 6])
def test_antialiased_pixels_are_within_a_grey_level_of_pillow(channels: int) -> None:
    img = np.asarray(photo(150, 101).resize((75, 60)))
    img = np.dstack([img, img])[..., :channels]
    img.flags.writeable = False
    for size in ((20, 30), (90, 31), (120, 150), (60, 75)):
        expected = [
            np.asarray(Image.fromarray(plane).resize(size[::-1], Image.Resampling.BILINEAR))
            for plane in np.moveaxis(img, 2, 0)
        ]
        resized = resize_image(img, size, 'bilinear', 'pillow')
        assert resized.shape == (*size, channels) and resized.dtype == np.uint8
        assert np.abs(np.stack(expected, 2).astype(int) - resized).max() <= 1
        assert resize_image(resize_image(img, size, 'bicubic', 'pillow'), (9, 9), 'bilinear', 'pillow').shape[0] == 9


def test_masks_may_be_read_in_between() -> None:
    step = Resize(32)
    assert next_step([LoadImageFromFile(), LoadAnnotations(), step]) is step
