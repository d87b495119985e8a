"""`class_weight='balanced'`, `BalancedSampler`, `ClassBalancedDataset`: in a run, in its preflight, where refused."""
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image
from sklearn.utils.class_weight import compute_class_weight

from ftcls.apis import TrainOptions, load_config
from ftcls.apis import test as run_test
from ftcls.apis import train, validate_config
from ftcls.config.resolve import EvalOptions, Facts, balanced_weights, resolve
from ftcls.models.losses import CrossEntropyLoss
from ftcls.utils import ConfigError


@pytest.fixture
def uneven(tmp_path: Path) -> Config:
    """A run of one epoch over 12 cats and 3 dogs."""
    for name, count in (('cat', 12), ('dog', 3)):
        (tmp_path / 'data' / name).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(np.full((32, 32, 3), 20 * i, np.uint8)).save(tmp_path / 'data' / name / f'{i}.png')
    pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
    dataset = dict(type='CustomDataset', data_root=str(tmp_path / 'data'), pipeline=pipeline)
    loader = dict(batch_size=5, num_workers=0, collate_fn=dict(type='default_collate'))
    return Config(
        dict(
            model=dict(
                type='ImageClassifier',
                backbone=dict(type='LeNet5', num_classes=2, in_channels=3),
                head=dict(type='ClsHead', loss=dict(type='CrossEntropyLoss', class_weight='balanced'))),
            data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),
            train_dataloader=dict(dataset=dataset, sampler=dict(type='DefaultSampler', shuffle=True), **loader),
            test_dataloader=dict(dataset=dataset, sampler=dict(type='DefaultSampler', shuffle=False), **loader),
            train_cfg=dict(by_epoch=True, max_epochs=1),
            test_cfg=dict(),
            test_evaluator=dict(type='Accuracy'),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
            work_dir=str(tmp_path / 'run'),
            default_scope='ftcls'))


def preflight(cfg: Config) -> str:
    train(cfg, TrainOptions(seed=0))
    return (Path(cfg.work_dir) / 'preflight.txt').read_text()


def test_weights_are_scikit_learns() -> None:
    labels = np.repeat([0, 1, 2], [30, 10, 5])
    expected = compute_class_weight('balanced', classes=np.arange(3), y=labels)
    assert list(balanced_weights(dict(a=30, b=10, c=5)).values()) == pytest.approx(expected.tolist(), abs=1e-4)
    assert balanced_weights(dict(a=30, b=0, c=10)) == dict(a=0.6667, b=1., c=2.)


def test_weights_of_a_run(uneven: Config) -> None:
    runner = train(uneven, TrainOptions(seed=0))
    assert uneven.model.head.loss.class_weight == 'balanced'  # the caller's config is left alone
    assert runner.model.head.loss_module.class_weight == [0.625, 2.5]
    text = (Path(uneven.work_dir) / 'preflight.txt').read_text()
    assert 'class_weight of model.head.loss: cat 0.625, dog 2.5 (balanced)' in text
    (saved, ) = Path(uneven.work_dir).glob('*.py')
    assert load_config(saved).model.head.loss.class_weight == [0.625, 2.5]
    # the config as it was needs no training set to be tested
    uneven.train_dataloader.dataset.data_root = 'nowhere'
    metrics = run_test(uneven, str(next(Path(uneven.work_dir).glob('epoch_1.pth'))))
    assert 0 < metrics['loss'] < 2


def test_an_untrained_balance_is_said_to_be_without_effect(uneven: Config) -> None:
    resolved = resolve(uneven, EvalOptions())
    assert resolved.cfg.model.head.loss.class_weight is None
    assert "model.head.loss: class_weight='balanced' weighs" in resolved.notes[0]


def test_sampler_in_the_preflight(uneven: Config) -> None:
    uneven.train_dataloader.sampler = dict(type='BalancedSampler')
    uneven.model.head.loss = dict(type='LabelSmoothLoss', label_smooth_val=0.1, class_weight='balanced')
    text = preflight(uneven)
    assert 'BalancedSampler draws 7.5 per class and epoch (each image of dog 2.5 times, cat 0.62 times)' in text
    assert 'NOTE: the sampler balances the classes, and the weights do so once more' in text


def test_repeated_rare_classes_in_the_preflight(uneven: Config) -> None:
    dataset = uneven.train_dataloader.dataset
    uneven.train_dataloader.dataset = dict(type='ClassBalancedDataset', oversample_thr=0.8, dataset=dataset)
    text = preflight(uneven)
    assert 'train: 18 samples (cat 12, dog 6); 15 samples, some repeated (oversample_thr 0.8)' in text
    assert 'cat 0.75, dog 1.5 (balanced)' in text


def test_without_counts_it_is_refused(uneven: Config) -> None:
    with pytest.raises(ConfigError, match=r"model.head.loss.class_weight='balanced': no counts of the training set"):
        resolve(uneven, TrainOptions(), Facts(class_counts={}))
    with pytest.raises(ConfigError, match="class_weight='balanced': .*training set.*give a list"):
        CrossEntropyLoss(class_weight='balanced')(torch.zeros(1, 2), torch.tensor([0]))


def test_other_words_are_refused(uneven: Config) -> None:
    uneven.model.head.loss.class_weight = 'balancd'
    with pytest.raises(ConfigError, match="model.head.loss.class_weight=.*did you mean 'balanced'"):
        validate_config(uneven)
