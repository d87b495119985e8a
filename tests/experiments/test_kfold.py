"""Cross-validation: what each fold trains and predicts, going on after a break, and what is refused."""
import csv
import json
import shutil
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from ftcls.apis import Workers, kfold
from ftcls.experiments.kfold import fold_config
from ftcls.utils import ConfigError

COUNTS = dict(cat=7, dog=5)


@pytest.fixture(scope='module')
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bright cats and dark dogs, to train and to validate on."""
    root = tmp_path_factory.mktemp('data')
    rng = np.random.default_rng(0)
    for split, more in (('train', 0), ('val', -2)):
        for name, count in COUNTS.items():
            (root / split / name).mkdir(parents=True)
            for i in range(count + more):
                level = rng.integers(0, 80, (32, 32, 3)) + (150 if name == 'cat' else 0)
                Image.fromarray(level.astype(np.uint8)).save(root / split / name / f'{i}.png')
    return root


def config(root: Path) -> Config:
    pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
    flip = [pipeline[0], dict(type='RandomFlip', prob=0.5), pipeline[1]]
    loader = dict(batch_size=4, num_workers=0, collate_fn=dict(type='default_collate'))
    val = dict(
        dataset=dict(type='CustomDataset', data_root=str(root), data_prefix='val', pipeline=pipeline),
        sampler=dict(type='DefaultSampler', shuffle=False),
        **loader)
    return Config(
        dict(
            model=dict(
                type='ImageClassifier',
                backbone=dict(type='LeNet5', num_classes=2, in_channels=3),
                head=dict(type='ClsHead')),
            data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),
            train_dataloader=dict(
                dataset=dict(type='CustomDataset', data_root=str(root), data_prefix='train', pipeline=flip),
                sampler=dict(type='BalancedSampler'),
                **loader),
            val_dataloader=val,
            test_dataloader=val,
            train_cfg=dict(by_epoch=True, max_epochs=1),
            val_cfg=dict(),
            test_cfg=dict(),
            val_evaluator=dict(type='Accuracy'),
            test_evaluator=dict(type='Accuracy'),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.05)),
            default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)),
            default_scope='ftcls'))


@pytest.fixture(scope='module')
def whole(root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A finished cross-validation of three folds, and its table."""
    out = tmp_path_factory.mktemp('whole')
    return out, kfold(config(root), 3, out, log=lambda line: None).table()


def rows(folder: Path) -> list[dict]:
    with (folder / 'out_of_fold.csv').open(newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


def test_each_picture_is_predicted_once_by_a_run_that_has_not_seen_it(whole: tuple, root: Path) -> None:
    out, table = whole
    predictions = rows(out)
    assert sorted(row['img_path'] for row in predictions) == sorted(str(p) for p in (root / 'train').glob('*/*.png'))
    assert Counter(row['label'] for row in predictions) == COUNTS
    for row in predictions:
        assert row['label'] == Path(row['img_path']).parent.name
        scores = {name: float(row[f'score {name}']) for name in COUNTS}
        assert row['predicted'] == max(scores, key=scores.get) and sum(scores.values()) == pytest.approx(1, abs=1e-4)
    results = json.loads((out / 'results.json').read_text())
    for fold, accuracy in results['scores'].items():
        own = [row for row in predictions if row['fold'] == fold]
        assert accuracy == pytest.approx(100 * np.mean([row['label'] == row['predicted'] for row in own]), abs=1e-3)
    assert results['mean'] == pytest.approx(np.mean(list(results['scores'].values())))
    assert results['std'] == pytest.approx(np.std(list(results['scores'].values()), ddof=1))
    right = sum(row['label'] == row['predicted'] for row in predictions)
    assert f'out of fold: {right} of 12 right' in table and table == (out / 'table.txt').read_text().rstrip('\n')
    assert (out / 'kfold.png').stat().st_size > 5000
    text = (out / 'fold1' / 'preflight.txt').read_text()
    assert 'train: 8 samples' in text and 'all but fold 1 of 3 (0 to 2), assigned with seed 0' in text
    assert 'TOO' not in text and 'val: 4 samples' in text


def test_it_goes_on_where_it_was_broken_off(whole: tuple, root: Path, tmp_path: Path) -> None:
    shutil.copytree(whole[0], tmp_path / 'copy')
    for fold in (0, 2):
        (tmp_path / 'copy' / f'fold{fold}' / 'result.json').unlink()
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / 'copy').rglob('*.pth')}
    said: list[str] = []
    again = kfold(config(root), 3, tmp_path / 'copy', log=said.append)
    assert [line.split(':')[0] for line in said] == ['fold 0', 'fold 0', 'fold 1', 'fold 2', 'fold 2']
    assert said[2].endswith('(made before)') and 'continues' in said[3]
    assert {path: path.stat().st_mtime_ns for path in made} == made
    assert again.table() == whole[1] and rows(tmp_path / 'copy') == rows(whole[0])
    with pytest.raises(ConfigError, match='fold0 is a run with other settings'):
        kfold(config(root), 3, tmp_path / 'copy', seed=1)


def test_folds_over_several_machines(whole: tuple, root: Path, tmp_path: Path) -> None:
    for fold in (0, 2):  # another machine's shard
        shutil.copytree(whole[0] / f'fold{fold}', tmp_path / f'fold{fold}')
    kfold(config(root), 3, tmp_path, workers=Workers(shard=(1, 2)), log=lambda line: None)
    assert (tmp_path / 'fold1' / 'result.json').is_file() and not (tmp_path / 'table.txt').exists()
    gathered = kfold(config(root), 3, tmp_path, workers=Workers(gather=True), log=lambda line: None)
    assert gathered.table() == whole[1]


def test_configs_of_the_folds(root: Path) -> None:
    cfg = config(root)
    train = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(type='ClassBalancedDataset', oversample_thr=0.9, dataset=train)
    one = fold_config(cfg, 1, 4, seed=3, pool=True)
    cut = dict(type='KFoldDataset', fold=1, num_splits=4, seed=3)
    flip, plain = train.pipeline, cfg.val_dataloader.dataset.pipeline
    val = cfg.val_dataloader.dataset
    own, other = one.train_dataloader.dataset.datasets
    assert own == dict(type='ClassBalancedDataset', oversample_thr=0.9, dataset=dict(dataset=train, **cut))
    assert other == dict(dataset={**val, 'pipeline': flip}, **cut)
    assert one.val_dataloader.dataset == dict(
        type='ConcatDataset',
        datasets=[dict(dataset={
            **leaf, 'pipeline': plain
        }, test_mode=True, **cut) for leaf in (train, val)])
    assert one.test_dataloader is None and cfg.test_dataloader is not None


def test_pooled(root: Path, tmp_path: Path) -> None:
    result = kfold(config(root), 2, tmp_path, pool=True, log=lambda line: None)
    assert len(rows(tmp_path)) == 12 + 8 and len(result.scores) == 2
    cfg = config(root)
    cfg.val_dataloader.dataset.data_prefix = 'train'
    with pytest.raises(ConfigError, match='--pool: 12 images listed more than once'):
        kfold(cfg, 2, tmp_path / 'again', pool=True)


def test_a_fold_that_fails_is_named(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules['ftcls.experiments.run']
    whole_train = module.train

    def fail(cfg: Config, options: object, hooks: object) -> object:
        if cfg.train_dataloader.dataset.fold == 1:
            raise torch.OutOfMemoryError('no memory')
        return whole_train(cfg, options, hooks)

    monkeypatch.setattr(module, 'train', fail)
    result = kfold(config(root), 2, tmp_path, log=lambda line: None)
    assert result.failures == {'fold 1': 'OutOfMemoryError: no memory'} and list(result.scores) == [0]
    assert 'FAILED  fold 1: OutOfMemoryError' in (tmp_path / 'table.txt').read_text()


@pytest.mark.parametrize('folds, edit, message', [
    (1, {}, '--folds 1: must be at least 2'),
    (6, {}, '--folds 6: some classes have fewer images than there are folds: dog 5'),
    (2, dict(val_dataloader=None), 'val_dataloader: missing'),
    (2, {'val_evaluator.topk': '1'}, 'val_evaluator.topk'),
    (2, {'metric': 'acc'}, "--metric='acc': the validation measures accuracy/top1"),
])  # yapf: disable
def test_what_cannot_be(folds: int, edit: dict, message: str, root: Path, tmp_path: Path) -> None:
    cfg, metric = config(root), edit.pop('metric', None)
    cfg.merge_from_dict(edit)
    with pytest.raises(ConfigError, match=message):
        kfold(cfg, folds, tmp_path, metric=metric, log=lambda line: None)
