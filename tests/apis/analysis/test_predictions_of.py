"""What a run keeps of its validation and its test: of which checkpoint, and when the images go through the model anew."""
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config

from ftcls import apis
from ftcls.apis.analysis import predictions as module
from ftcls.evaluation.predictions import Predictions
from ftcls.utils import ConfigError

CONFIG = Path(__file__).resolve().parents[3] / 'configs' / 'tutorial' / 'lenet5_pretrain_digits.py'
SHORT = {
    'train_cfg.max_epochs': 2, 'param_scheduler.T_max': 2, 'train_dataloader.batch_size': 40,
    'train_dataloader.dataset.indices': 320, 'randomness.seed': 0
}  # yapf: disable


def digits(**overrides: object) -> Config:
    return apis.load_config(CONFIG, {**SHORT, **overrides})


@pytest.fixture(scope='module')
def work_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two epochs, the second of which is the best one."""
    folder = tmp_path_factory.mktemp('run')
    apis.train(digits(), apis.TrainOptions(work_dir=str(folder)))
    return folder


@pytest.fixture
def no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail the test in which images go through a model."""
    monkeypatch.setattr(module, 'get_model', lambda *args: pytest.fail('predictions are computed again'))


def test_best_validation_is_kept(work_dir: Path, no_pass: None) -> None:
    found = apis.predictions_of(work_dir)
    records = [json.loads(line) for line in (work_dir / 'metrics.jsonl').read_text().splitlines()]
    best = max(record['accuracy/top1'] for record in records if record['kind'] == 'val')
    assert found.split == 'val' and (work_dir / found.checkpoint).name.startswith('best_')
    assert 100 * np.mean(found.labels == found.predicted) == pytest.approx(best)
    assert found.scores.sum(axis=1) == pytest.approx(1)


def test_other_checkpoint_needs_one_pass(work_dir: Path) -> None:
    kept = apis.predictions_of(work_dir)
    other = apis.predictions_of(work_dir, work_dir / 'epoch_1.pth', device='cpu')
    assert not np.array_equal(other.scores, kept.scores) and np.array_equal(other.labels, kept.labels)
    assert Predictions.load(work_dir / 'predictions' / 'val.npz').checkpoint == kept.checkpoint
    best = apis.predictions_of(work_dir, work_dir / kept.checkpoint)
    assert np.array_equal(best.scores, kept.scores)


def test_other_data_need_one_pass(work_dir: Path) -> None:
    cfg, checkpoint = apis.resolve_model(work_dir, True, ['val_dataloader.dataset.indices=20'])
    assert len(apis.predictions_of(cfg, checkpoint).paths) == 20
    assert len(apis.predictions_of(work_dir).paths) > 20


def test_missing_damaged_and_old_files_are_made_again(work_dir: Path, tmp_path: Path) -> None:
    kept = apis.predictions_of(work_dir)
    moved = Path(shutil.copytree(work_dir, tmp_path / 'moved'))
    file = moved / 'predictions' / 'val.npz'
    file.unlink()
    again = apis.predictions_of(moved, device='cpu')
    np.testing.assert_allclose(again.scores, kept.scores, atol=1e-5)
    assert file.is_file()
    file.write_bytes(b'damaged')
    apis.predictions_of(moved, device='cpu')
    again.scores[:] = 0
    again.save(file)
    os.utime(file, (0, 0))  # the checkpoint is of a later run
    np.testing.assert_allclose(apis.predictions_of(moved, device='cpu').scores, kept.scores, atol=1e-5)


def test_split_that_there_is_not(work_dir: Path) -> None:
    with pytest.raises(ConfigError, match='tset_dataloader'):
        apis.predictions_of(work_dir, split='tset')


def test_averaged_weights_without_best_checkpoint(tmp_path: Path, no_pass: None) -> None:
    """The last checkpoint has the averaged weights; the trained ones are measured after them."""
    hooks = [dict(type='EMAHook', momentum=0.5, evaluate_on_origin=True)]
    cfg = digits(custom_hooks=hooks, **{'default_hooks.checkpoint.save_best': None})
    runner = apis.train(cfg, apis.TrainOptions(work_dir=str(tmp_path)))
    found = apis.predictions_of(tmp_path)
    assert found.checkpoint == 'epoch_2.pth'
    assert 100 * np.mean(found.labels == found.predicted) == pytest.approx(
        runner.message_hub.get_scalar('val/accuracy/top1').current())


def test_trained_weights_are_not_those_of_the_checkpoint(tmp_path: Path) -> None:
    cfg = digits(custom_hooks=[dict(type='EMAHook', evaluate_on_ema=False)], **{'train_cfg.max_epochs': 1})
    apis.train(cfg, apis.TrainOptions(work_dir=str(tmp_path)))
    assert not (tmp_path / 'predictions').exists()


def test_iterations_and_a_test(tmp_path: Path, no_pass: None) -> None:
    cfg = digits(param_scheduler=[])
    cfg.train_cfg = dict(by_epoch=False, max_iters=12, val_interval=6)
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=6)
    cfg.train_dataloader.sampler = dict(type='InfiniteSampler', shuffle=True)
    apis.train(cfg, apis.TrainOptions(work_dir=str(tmp_path)))
    found = apis.predictions_of(tmp_path)
    metrics = apis.test(cfg, str(tmp_path / found.checkpoint), work_dir=str(tmp_path))
    tested = apis.predictions_of(tmp_path, split='test')
    assert (tested.split, tested.checkpoint) == ('test', found.checkpoint)
    assert 100 * np.mean(tested.labels == tested.predicted) == pytest.approx(metrics['accuracy/top1'])


def test_too_many_scores_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('ftcls.engine.hooks.predictions._MOST_SCORES', 1000)
    apis.train(digits(**{'train_cfg.max_epochs': 1}), apis.TrainOptions(work_dir=str(tmp_path)))
    assert not (tmp_path / 'predictions').exists()
    assert 'predictions are not kept' in next(tmp_path.glob('*/*.log')).read_text()
