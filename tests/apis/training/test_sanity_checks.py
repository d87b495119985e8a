"""What is tried before the first step leaves the process as it was, whatever goes wrong."""
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import default_collate, pseudo_collate
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from ftcls.apis import load_config, train
from ftcls.apis.training.loaders import build_datasets, build_loaders
from ftcls.apis.training.sanity_checks import _trial_batch, config_errors, describe_sizes, first_samples
from ftcls.models.backbones import LeNet5
from ftcls.registry import DATASETS, HOOKS, METRICS, MODELS, TRANSFORMS
from ftcls.utils import ConfigError

CONFIG = Path(__file__).resolve().parents[3] / 'configs' / 'tutorial' / 'lenet5_pretrain_digits.py'


@METRICS.register_module()
class Faulty(BaseMetric):
    """Looks for a field that no sample has."""
    default_prefix = 'faulty'

    def process(self, data_batch: dict, data_samples: list[dict]) -> None:
        self.results += [sample['gt_labels'] for sample in data_samples]

    def compute_metrics(self, results: list) -> dict[str, float]:
        return dict(count=len(results))


def test_a_metric_of_masks_is_refused_by_a_classifier(tmp_path: Path) -> None:
    cfg = load_config(CONFIG, {'val_evaluator': [dict(type='DiceMetric')], 'work_dir': str(tmp_path)})
    with pytest.raises(ConfigError, match="val_evaluator: DiceMetric cannot judge.*classes by Accuracy"):
        train(cfg)


def test_a_fault_in_a_metric_of_ones_own_is_found_before_the_first_step(tmp_path: Path) -> None:
    cfg = load_config(CONFIG, {'val_evaluator': [dict(type='Faulty')], 'work_dir': str(tmp_path)})
    with pytest.raises(ConfigError, match="val_evaluator: Faulty cannot judge.*KeyError: 'gt_labels'"):
        train(cfg)


def test_the_wrong_rule_is_refused_where_the_metric_is_found_out(tmp_path: Path) -> None:
    cfg = load_config(CONFIG, {'work_dir': str(tmp_path)})
    cfg.default_hooks = dict(checkpoint=dict(type='CheckpointHook', save_best='auto', rule='less'))
    with pytest.raises(ConfigError, match="CheckpointHook.rule='less': the larger 'accuracy/top1'.*leave rule out"):
        train(cfg)


@TRANSFORMS.register_module()
class Divides:
    """Divides by zero."""

    def __call__(self, results: dict) -> dict:
        return {**results, 'ratio': 1 // (len(results) * 0)}


@MODELS.register_module()
class Only64(LeNet5):
    """Takes images of one size, as vision transformers do."""
    img_size = 64

    def forward(self, x: torch.Tensor) -> tuple:
        assert x.shape[-1] == 64, f"Input height ({x.shape[-1]}) doesn't match model (64)."
        return super().forward(x)


@HOOKS.register_module()
class LateFailure(Hook):
    """Fails before the first step."""

    def before_train(self, runner: Runner) -> None:
        raise ZeroDivisionError('not mine')


def photos(root: Path, sizes: dict[str, tuple[int, int]]) -> Path:
    """Write grey noise: name to size (W, H)."""
    rng = np.random.default_rng(0)
    for name, (width, height) in sizes.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (height, width), dtype=np.uint8)).save(root / name)
    return root


def fitting(root: Path, train_steps: list[dict], val_steps: list[dict], **overrides: object) -> Config:
    """A config of a LeNet that takes any size, over photos 40x30 (W x H)."""
    data = photos(root, {f'{split}/{name}/{i}.png': (40, 30)
                         for split in ('train', 'val') for name in 'ab' for i in range(3)})  # yapf: disable
    cfg = load_config(CONFIG, {
        'work_dir': str(root / 'run'),
        'model.head.num_classes': 2,
        'data_preprocessor.num_classes': 2,
        **overrides
    })
    for split, steps in dict(train=train_steps, val=val_steps).items():
        pipeline = [dict(type='LoadImageFromFile', color_type='grayscale'), *steps, dict(type='PackInputs')]
        cfg[f'{split}_dataloader'].dataset = dict(
            type='CustomDataset', data_root=str(data), data_prefix=split, pipeline=pipeline)
        cfg[f'{split}_dataloader'].update(batch_size=2, num_workers=0)
    return cfg


def samples_of(cfg: Config) -> dict[str, list]:
    init_default_scope('ftcls')
    return first_samples(build_datasets(cfg, ['train', 'val'])[0])


SQUARE = [dict(type='Resize', scale=(32, 32))]


@pytest.mark.parametrize('train_steps, val_steps, shown, warned', [
    (SQUARE, SQUARE, 'train 32×32, val 32×32', False),
    (SQUARE, [dict(type='Resize', scale=64)], 'train 32×32, val 64×64', False),
    ([dict(type='RandomResizedCrop', scale=(64, 32))], [dict(type='Resize', scale=(64, 32))], 'train 64×32, val 32×64',
     True),
    ([dict(type='RandomCrop', crop_size=(28, 20))], [dict(type='CenterCrop', crop_size=(28, 20))],
     'train 28×20, val 20×28', True),
    (SQUARE, [dict(type='Resize', scale=(96, 32))], 'train 32×32, val 32×96', True),
    (SQUARE, [dict(type='ResizeEdge', scale=32)], 'train 32×32, val 32×42', False),
    (SQUARE, [dict(type='Resize', scale=(32, 32), keep_ratio=True)], 'train 32×32, val 24×32', False),
    (SQUARE, [], 'train 32×32, val 30×40', False),
])  # yapf: disable
def test_sizes_of_train_and_val(tmp_path: Path, log_records: list, train_steps: list, val_steps: list, shown: str,
                                warned: bool) -> None:
    cfg = fitting(tmp_path, train_steps, val_steps)
    lines = describe_sizes(cfg, samples_of(cfg))
    assert lines[0] == f'sizes (height×width): {shown}' and len(lines) == 1 + warned
    if warned:
        keys = [f'{split}_dataloader.dataset.pipeline.1.' for split in ('train', 'val')]
        assert all(key in lines[1] for key in keys) and lines[1].removeprefix('WARNING ') in [t for _, t in log_records]


def test_images_of_several_sizes_are_found_by_their_files(tmp_path: Path) -> None:
    cfg = fitting(tmp_path, SQUARE, [])
    photos(tmp_path, {'val/a/1.png': (50, 30), 'val/b/1.png': (40, 20)})
    samples = samples_of(cfg)
    assert describe_sizes(cfg, samples) == ['sizes (height×width): train 32×32, val 20×40 to 30×50']
    loader = build_loaders(Config(dict(cfg, default_scope='ftcls')), build_datasets(cfg, ['val'])[0])['val']
    with pytest.raises(ConfigError, match=r'val_dataloader.*1x(20x40|30x40) .*Resize.*val_dataloader.batch_size=1'):
        _trial_batch(loader, samples['val'], 'val')
    loader.collate_fn = pseudo_collate
    assert len(_trial_batch(loader, samples['val'], 'val')['inputs']) == 2
    alone = DataLoader(loader.dataset, batch_size=1, collate_fn=lambda samples: samples[0]['inputs'][None])
    assert _trial_batch(alone, samples['val'], 'val').shape[0] == 1


@DATASETS.register_module()
class Tuples(Dataset):
    """Images and labels as torchvision gives them; one image has another size."""
    metainfo = dict(classes=('a', 'b'))

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        side = 40 if index == 5 else 32
        return torch.zeros(1, side, side), index % 2


def test_foreign_samples_are_tried_too(tmp_path: Path) -> None:
    cfg = fitting(tmp_path, SQUARE, SQUARE)
    cfg.train_dataloader.dataset = dict(type='Tuples')
    cfg.train_dataloader.collate_fn = dict(type='default_collate')
    with pytest.raises(ConfigError, match='train_dataloader.collate_fn: .*1x32x32 and 1x40x40'):
        train(cfg)
    cfg.train_dataloader.batch_size = 1
    with pytest.raises(ConfigError, match='train_dataloader: .*AttributeError.*must be dict.inputs='):
        train(cfg)


def test_a_batch_sampler_may_make_batches_of_one_size(tmp_path: Path) -> None:
    cfg = fitting(tmp_path, SQUARE, [])
    photos(tmp_path, {'val/a/1.png': (50, 30)})
    dataset = build_datasets(cfg, ['val'])[0]['val']
    loader = DataLoader(dataset, batch_sampler=[[0, 2], [1]], collate_fn=default_collate)
    assert _trial_batch(loader, first_samples(dict(val=dataset))['val'], 'val')['inputs'].shape[0] == 1


def test_the_size_that_a_backbone_takes_is_named(tmp_path: Path) -> None:
    cfg = fitting(tmp_path, SQUARE, SQUARE, **{'model.backbone': dict(type='Only64', _delete_=True)})
    with pytest.raises(
            ConfigError,
            match=r'train_dataloader.*1x32x32.*match model \(64\).*64x64 only.*'
            r'pipeline\.1\.scale=\(32, 32\)') as caught:
        train(cfg)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize('change, where', [
    (lambda cfg: cfg.val_dataloader.dataset.pipeline.insert(1, dict(type='Divides')), 'val_dataloader.dataset'),
    (lambda cfg: cfg.update(custom_hooks=[dict(type='LateFailure')]), 'before the first step'),
], ids=['transform', 'hook'])  # yapf: disable
def test_an_error_in_code_of_ones_own_names_its_line(tmp_path: Path, change: Callable, where: str) -> None:
    cfg = fitting(tmp_path, SQUARE, SQUARE)
    change(cfg)
    with pytest.raises(ConfigError, match=rf'{where}.*ZeroDivisionError.*{re.escape(__file__)}:\d+.*FTCLS_TRACEBACK'):
        train(cfg)


def test_a_defect_of_ftcls_is_no_fault_of_the_config(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('ftcls.apis.training.sanity_checks._INSTALLED', ('/', '<'))
    monkeypatch.setattr('ftcls.apis.training.sanity_checks._PACKAGE', str(Path(__file__).parent))
    with pytest.raises(KeyError), config_errors('model'):
        raise KeyError('a')
    with pytest.raises(ConfigError, match='sample: KeyError'), config_errors('sample', keep_own=False):
        raise KeyError('a')
