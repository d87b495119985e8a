"""The frozen part of a model computed once: the same results as without, told in the preflight, refused by name."""
import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from torch.utils.data import DataLoader

from ftcls.apis import test as evaluate
from ftcls.apis import train
from ftcls.apis.training.train import TrainOptions
from ftcls.datasets.features import StoredFeatures, Views
from ftcls.engine.hooks import FeatureCacheHook
from ftcls.experiments.kfold import kfold
from ftcls.models.frozen_prefix import FrozenPrefix
from ftcls.registry import DATASETS, MODELS, TRANSFORMS
from ftcls.signals import RunStopped
from ftcls.utils import ConfigError

_TIMES = ('time', 'data_time', 'memory', 'eta')
_RESIZE, _PACK = dict(type='Resize', scale=32), dict(type='PackInputs')
Digits = Callable[..., Config]


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep features in the test's folder, and of short runs too; return it."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.setattr('ftcls.engine.hooks.feature_cache._LEAST', 0)
    return tmp_path / 'cache' / 'ftcls' / 'features'


@TRANSFORMS.register_module()
class Blank:
    """A step of a user's."""

    def __call__(self, results: dict) -> dict:
        return results


def _train(cfg: Config, folder: Path, **options: Any) -> tuple[dict[str, torch.Tensor], list[dict], list[str]]:
    """Return the weights, what was logged without times, and the lines of the preflight on features."""
    runner = train(cfg, TrainOptions(work_dir=str(folder), seed=3, **options))
    logged = []
    for file in sorted(folder.glob('*/vis_data/scalars.json')):
        logged += [json.loads(line) for line in file.read_text().splitlines()]
    lines = (folder / 'preflight.txt').read_text().splitlines()
    logged = [{key: value for key, value in one.items() if key not in _TIMES} for one in logged]
    return dict(runner.model.state_dict()), logged, [line[10:] for line in lines if 'feature_cache' in line]


def _log(folder: Path) -> str:
    return next(folder.glob('*/*.log')).read_text()


def _assert_same(one: tuple, other: tuple) -> None:
    assert one[1] == other[1] and one[1]
    assert one[0].keys() == other[0].keys()
    assert all(torch.equal(value, other[0][name]) for name, value in one[0].items())


def test_a_long_computation_says_how_far_it_is(digits: Digits, tmp_path: Path, own_home: Path,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('ftcls.datasets.features.LONGEST_SILENCE', 0.)
    cfg = digits(feature_cache=dict(views=2), **{'model.backbone.frozen_stages': 2})
    _train(cfg, tmp_path / 'run')
    images = len(DATASETS.build(cfg.train_dataloader.dataset))
    log = _log(tmp_path / 'run')
    assert f'for {2 * images:,} images (2 views of {images:,})' in log
    assert f'feature_cache: {cfg.train_dataloader.batch_size} of {2 * images:,} images' in log


@pytest.mark.parametrize('frozen', [0, 2])
def test_features_give_the_same_training(digits: Digits, tmp_path: Path, own_home: Path, frozen: int) -> None:
    settings = {'model.backbone.frozen_stages': frozen}
    whole = _train(digits(feature_cache=False, **settings), tmp_path / 'whole')
    assert not whole[2] and not own_home.exists()
    cut = _train(digits(**settings), tmp_path / 'cut')
    _assert_same(whole, cut)
    assert [line.split(': ')[:2] for line in cut[2]] == [['feature_cache, train', 'on'], ['feature_cache, val', 'on']]
    assert len(list(own_home.glob('*.features'))) == 2
    again = _train(digits(**settings), tmp_path / 'again')
    _assert_same(whole, again)
    for lines, said in ((cut[2], 'is computed once'), (again[2], 'was computed before')):
        assert all(said in line for line in lines)
    assert [_log(tmp_path / name).count('feature_cache: computing') for name in ('cut', 'again')] == [2, 0]


def test_photos_are_decoded_as_in_training(tmp_path: Path) -> None:
    """Also those of which the decoder reads only the part that the next step needs."""
    for number in range(6):
        (tmp_path / 'data' / f'class_{number % 2}').mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 256, (200, 300, 3), np.uint8)
        cv2.imwrite(str(tmp_path / 'data' / f'class_{number % 2}' / f'{number}.jpg'), noise)
    steps = [dict(type='LoadImageFromFile'), dict(type='ResizeEdge', scale=40), dict(type='CenterCrop', crop_size=32)]
    dataset = DATASETS.build(
        dict(type='CustomDataset', data_root=str(tmp_path / 'data'), pipeline=[*steps, dict(type='PackInputs')]))
    assert all(torch.equal(Views(dataset)[number]['inputs'], dataset[number]['inputs']) for number in range(6))
    assert Views(dataset)[0]['drawn'] == ''


def test_a_resumed_run_is_the_same(digits: Digits, tmp_path: Path) -> None:
    settings = {'model.backbone.frozen_stages': 2, 'default_hooks.checkpoint.max_keep_ckpts': -1}
    settings |= {'train_cfg.max_epochs': 4, 'param_scheduler.T_max': 4}
    through = _train(digits(**settings), tmp_path / 'through')
    resumed = _train(digits(**settings), tmp_path / 'resumed', resume=str(tmp_path / 'through' / 'epoch_2.pth'))
    assert ': on: ' in resumed[2][0]
    assert all(torch.equal(value, resumed[0][name]) for name, value in through[0].items())


def test_unfreezing_ends_it(digits: Digits, tmp_path: Path) -> None:
    settings = {'custom_hooks': [dict(type='LinearProbeFineTuneHook', probe=2)], 'train_cfg.max_epochs': 3}
    whole = _train(digits(feature_cache=False, **settings), tmp_path / 'whole')
    cut = _train(digits(**settings), tmp_path / 'cut')
    _assert_same(whole, cut)
    assert ': on: ' in cut[2][0]
    assert 'feature_cache: off' in _log(tmp_path / 'cut')
    settings['default_hooks.checkpoint.max_keep_ckpts'] = -1
    asked = _train(digits(feature_cache=dict(dtype='float32'), **settings), tmp_path / 'asked')
    _assert_same(whole, asked)
    resumed = _train(
        digits(feature_cache=dict(dtype='float32'), **settings),
        tmp_path / 'resumed',
        resume=str(tmp_path / 'asked' / 'epoch_2.pth'))
    assert all(torch.equal(value, resumed[0][name]) for name, value in whole[0].items())
    # the hooks of the training do not keep its checkpoint from being tested
    metrics = evaluate(digits(**settings), str(tmp_path / 'asked' / 'epoch_3.pth'), work_dir=str(tmp_path / 'test'))
    assert 0 <= metrics['accuracy/top1'] <= 100


@pytest.mark.parametrize('settings, reason', [
    ({
        'train_dataloader.dataset.pipeline': [_RESIZE, dict(type='RandomFlip', prob=.5), _PACK]
    }, 'RandomFlip'),
    ({
        'train_dataloader.dataset.pipeline': [_RESIZE,
                                              dict(type='torchvision/RandomRotation', degrees=9), _PACK]
    }, 'RandomRotation'),
    ({
        'train_dataloader.dataset.pipeline': [_RESIZE, dict(type='torchvision/ColorJitter', hue=.1), _PACK]
    }, 'one of Resize, ColorJitter, PackInputs'),
    ({
        'train_dataloader.dataset.pipeline': [_RESIZE, dict(type='Blank'), _PACK]
    }, r'random steps in the pipeline: Blank \(not part of ftcls: may be random\); .* feature_cache.views=K'),
    ({
        'model.train_cfg': dict(augments=dict(type='Mixup', alpha=.8))
    }, 'model.train_cfg or data_preprocessor.batch_augments mixes the images of a batch; remove it'),
    ({
        'train_cfg': dict(by_epoch=False, max_iters=8, val_interval=8, _delete_=True)
    }, 'iterations'),
    ({
        'model.backbone.frozen_stages': -1
    }, 'nothing is frozen from the image on, backbone.features.0.weight is trained; set model.freeze; or remove'),
])
def test_what_it_cannot_do_is_named(digits: Digits, tmp_path: Path, settings: dict, reason: str) -> None:
    settings = {'model.backbone.frozen_stages': 2, **settings}
    with pytest.raises(ConfigError, match=rf'feature_cache.*{reason}'):
        _train(digits(feature_cache=dict(dtype='float32'), **settings), tmp_path / 'asked')
    lines = _train(digits(**settings), tmp_path / 'auto')[2]
    if 'frozen' in reason:
        assert not lines
    else:
        assert re.search(f'train: .*{reason}', lines[0]) and 'val: on' in lines[1]


def test_views_are_drawn_once_and_given_in_turn(digits: Digits, tmp_path: Path, own_home: Path) -> None:
    pipeline = [_RESIZE, dict(type='RandomCrop', crop_size=32, padding=4), _PACK]
    settings = {
        'model.backbone.frozen_stages': 2,
        'train_dataloader.dataset.pipeline': pipeline,
        'train_cfg.max_epochs': 4,
        'feature_cache': dict(views=2, dtype='float16', folder=str(own_home))
    }
    first = _train(digits(**settings), tmp_path / 'first')
    said = ['(2 views of each image, float16, 0.1 MiB in ', '(float16, 0.0 MiB in ']
    assert all(text in line for text, line in zip(said, first[2], strict=True))
    sizes = sorted(file.stat().st_size for file in own_home.glob('*.features'))
    assert len(sizes) == 2 and sizes[1] > 2 * 320 * 120 * 2
    _assert_same(first, _train(digits(**settings), tmp_path / 'again'))


def test_a_full_disk_is_said(digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('ftcls.utils.array_file._free_bytes', lambda folder: 1000)
    settings = {'model.backbone.frozen_stages': 2}
    lines = _train(digits(**settings), tmp_path / 'auto')[2]
    assert all('GiB are needed' in line for line in lines)
    with pytest.raises(ConfigError, match='feature_cache.*GiB are needed'):
        _train(digits(feature_cache=dict(), **settings), tmp_path / 'asked')


def test_a_short_run_does_without(digits: Digits, tmp_path: Path, own_home: Path) -> None:
    settings = {'model.backbone.frozen_stages': 2, 'train_cfg.max_epochs': 1, 'train_dataloader.dataset.indices': 80}
    assert all('too short' in line for line in _train(digits(**settings), tmp_path / 'auto')[2])
    assert not own_home.exists()


def test_a_dry_run_says_how_much_would_be_stored(digits: Digits, tmp_path: Path, own_home: Path) -> None:
    cfg = digits(feature_cache=dict(folder=None), **{'model.backbone.frozen_stages': 2})
    lines = _train(cfg, tmp_path / 'dry', dry_run=True)[2]
    assert all(f'a run stores float32, 0.1 MiB in {own_home}' in line for line in lines) and len(lines) == 2
    assert not own_home.exists()
    with pytest.raises(ConfigError, match='/proc/missing cannot be used .*; give another folder; or remove'):
        cfg = digits(feature_cache=dict(folder='/proc/missing'), **{'model.backbone.frozen_stages': 2})
        _train(cfg, tmp_path / 'dry', dry_run=True)


def test_views_that_are_all_alike_are_said(digits: Digits, tmp_path: Path) -> None:
    cfg = digits(feature_cache=dict(views=2), **{'model.backbone.frozen_stages': 2})
    lines = _train(cfg, tmp_path / 'dry', dry_run=True)[2]
    assert '2 views of each image, all alike as far as looked at, float32' in lines[0] and ' alike' not in lines[1]


def test_a_signal_ends_the_computation(digits: Digits, tmp_path: Path, own_home: Path,
                                       monkeypatch: pytest.MonkeyPatch) -> None:
    write = StoredFeatures.write

    def interrupted(*args: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        write(*args)

    monkeypatch.setattr(StoredFeatures, 'write', interrupted)
    with pytest.raises(RunStopped, match='^SIGINT: stopped while features were computed, before the first step$'):
        _train(digits(**{'model.backbone.frozen_stages': 2}), tmp_path / 'run')
    assert not list(own_home.glob('*.features*'))


def test_a_backbone_without_stages_is_named() -> None:
    head = dict(type='LinearClsHead', num_classes=2, in_channels=16)
    model = MODELS.build(
        dict(
            type='ImageClassifier', backbone=dict(type='ResNet', depth=18, base_channels=2, stem_channels=2),
            head=head))
    assert FrozenPrefix(model).obstacle() == 'backbone.conv1.weight is trained'
    model.backbone.stages = None
    reason = 'backbone.conv1.weight is trained, and ResNet has no stages() of which some could be frozen'
    assert FrozenPrefix(model).obstacle() == reason


@pytest.mark.parametrize('length, drop_last, note', [
    (90, False, 'the last batch of 10 images rounds otherwise, by 3e-02'),
    (90, True, ''),
    (80, False, ''),
])
def test_a_batch_that_rounds_otherwise_is_said(length: int, drop_last: bool, note: str) -> None:
    hook = FeatureCacheHook()
    hook._prefix = SimpleNamespace(compute=lambda batch: torch.full((len(batch), 2), len(batch) / 1024))
    loader = DataLoader(range(length), 40, drop_last=drop_last, collate_fn=list)
    assert note in hook._rounding([{}, {}], loader) and bool(note) == bool(hook._rounding([{}, {}], loader))


@pytest.mark.slow
def test_folds_share_a_file(digits: Digits, tmp_path: Path, own_home: Path) -> None:
    cfg = digits(**{'model.backbone.frozen_stages': 2, 'train_dataloader.dataset.indices': 80})
    result = kfold(cfg, 2, tmp_path / 'folds', log=lambda line: None)
    assert not result.failures
    assert len(list(own_home.glob('*.features'))) == 2


@pytest.mark.parametrize('backbone, name', [
    (dict(type='ResNet', depth=18, frozen_stages=2), 'stem and 2 stages'),
    (dict(type='ResNet', depth=18, out_indices=(0, 3), frozen_stages=1), 'stem and 1 stage'),
    (dict(type='TorchvisionBackbone', model_name='mobilenet_v3_small', frozen_stages=2), 'stem and 2 stages'),
    (dict(type='TIMMBackbone', model_name='vit_tiny_patch16_224', img_size=64, frozen_stages=3), 'stem and 3 stages'),
    (dict(type='TIMMBackbone', model_name='vit_tiny_patch16_224', img_size=64, frozen_stages=12), 'backbone and neck'),
])
def test_any_backbone_is_cut(backbone: dict, name: str) -> None:
    channels = 192 if 'vit' in str(backbone) else {'ResNet': 512}.get(backbone['type'], 576)
    head = dict(type='LinearClsHead', num_classes=3, in_channels=channels)
    model = MODELS.build(
        dict(type='ImageClassifier', backbone=backbone, neck=dict(type='GlobalAveragePooling'), head=head))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    prefix = FrozenPrefix(model)
    assert prefix.name == name
    batch = dict(inputs=list(torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)), data_samples=None)
    with torch.no_grad():
        prefix.check(batch)
        logits = model(model.data_preprocessor(batch)['inputs'])
        with prefix.installed():
            given = model.data_preprocessor(dict(batch, inputs=list(prefix.example), features=True))
            assert torch.equal(model(given['inputs']), logits)
            assert torch.equal(model(model.data_preprocessor(batch)['inputs']), logits)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_what_needs_earlier_maps_too_is_refused() -> None:
    model = MODELS.build(
        dict(
            type='ImageSegmentor',
            backbone=dict(type='UNet', base_channels=4, frozen_stages=1),
            head=dict(type='PixelHead')))
    batch = dict(inputs=list(torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)), data_samples=None)
    with torch.no_grad(), pytest.raises(RuntimeError):
        FrozenPrefix(model).check(batch)


def test_a_frozen_part_records_no_graph() -> None:
    model = MODELS.build(dict(type='ResNet', depth=18, frozen_stages=2)).train()
    outputs = []
    for layer in (model.layer2, model.layer3):
        layer.register_forward_hook(lambda module, args, output: outputs.append(output))
    model(torch.rand(2, 3, 64, 64))
    assert outputs[0].grad_fn is None and outputs[1].grad_fn is not None
