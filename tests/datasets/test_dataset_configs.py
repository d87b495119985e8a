"""The base configs of the datasets: every part of them can be built."""
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from ftcls.registry import DATASETS, TRANSFORMS

CONFIGS = sorted((Path(__file__).parents[2] / 'configs' / '_base_' / 'datasets').glob('*.py'))


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_parts(path: Path) -> None:
    config = Config.fromfile(str(path), lazy_import=False)
    dataset = DATASETS.get(config.dataset_type)
    if dataset.METAINFO:
        assert config.data_preprocessor.num_classes == len(dataset.METAINFO['classes'])
    assert len(config.data_preprocessor.mean) == len(config.data_preprocessor.std)
    for split in ('train', 'val', 'test'):
        loader = config[f'{split}_dataloader']
        assert loader.dataset.type == config.dataset_type
        assert not loader.get('persistent_workers') or loader.num_workers > 0
        assert loader.sampler == dict(type='DefaultSampler', shuffle=split == 'train')
        steps = [TRANSFORMS.build(step) for step in loader.dataset.pipeline]
        assert type(steps[-1]).__name__ == 'PackInputs'
    assert config.val_evaluator.type == 'Accuracy'


def test_digits_loader_gives_batches() -> None:
    config = Config.fromfile(str(next(path for path in CONFIGS if path.stem == 'digits')), lazy_import=False)
    loader_config = config.val_dataloader
    loader_config.dataset = DATASETS.build(loader_config.dataset)
    loader = Runner.build_dataloader(loader_config, seed=0)
    batch = next(iter(loader))
    assert batch['inputs'].shape == (179, 1, 32, 32) and len(batch['data_samples']) == 179
    pixels = DATASETS.build(config.train_dataloader.dataset)
    values = [pixels[index]['inputs'].float() for index in range(len(pixels))]
    mean = sum(value.mean().item() for value in values) / len(values)
    assert abs(mean - config.data_preprocessor.mean[0]) < 0.01


def test_worker_processes_draw_by_the_seed() -> None:
    """Two runs of the same seed give the same pictures; two workers do not draw the same numbers."""
    config = dict(
        batch_size=4,
        num_workers=2,
        collate_fn=dict(type='default_collate'),
        sampler=dict(type='DefaultSampler', shuffle=False))
    pipeline = [dict(type='RandomResizedCrop', scale=8), dict(type='torchvision/ColorJitter', brightness=0.5),
                dict(type='PackInputs')]  # yapf: disable
    runs = []
    for seed in (0, 0, 1):
        dataset = DATASETS.build(dict(type='Digits', pipeline=pipeline, indices=[5] * 16))
        runs.append(
            torch.cat([batch['inputs'] for batch in Runner.build_dataloader(dict(config, dataset=dataset), seed=seed)]))
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])
    assert len({picture.numpy().tobytes() for picture in runs[0]}) > 12  # of 16 crops of one picture
