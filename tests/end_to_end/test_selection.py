"""Which checkpoint is the best, and when a training stops early; after a kill too."""
import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from ftcls.apis import TrainOptions, train
from ftcls.engine.hooks import ProgressHook
from ftcls.utils import ConfigError

COUNT = itertools.count()


@pytest.fixture
def config(digits: Callable[..., Config]) -> Callable[..., Config]:
    """Two steps an epoch, a validation of 60 scans after each."""

    def make(**overrides: object) -> Config:
        return digits(**{
            'train_cfg.max_epochs': 6,
            'train_dataloader.dataset.indices': 80,
            'val_dataloader.dataset.indices': 60,
            'param_scheduler': [],
            'randomness.seed': 0,
            'experiment_name': f'selection{next(COUNT)}',  # two runs of one name and second would share a log
            **overrides
        })  # yapf: disable

    return make


def validations(work_dir: Path, name: str) -> list[float]:
    records = [json.loads(line) for line in (work_dir / 'metrics.jsonl').read_text().splitlines()]
    return [record[name] for record in records if record['kind'] == 'val']


class Killed(BaseException):
    """Stands for a kill."""


def train_until(monkeypatch: pytest.MonkeyPatch, iteration: int, cfg: Config, work_dir: Path) -> None:
    """Let a run die after so many iterations."""
    keep = ProgressHook.after_train_iter

    def after_train_iter(self: ProgressHook, runner: Runner, *args: object, **kwargs: object) -> None:
        keep(self, runner, *args, **kwargs)
        if runner.iter + 1 == iteration:
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(ProgressHook, 'after_train_iter', after_train_iter)
        train(cfg, TrainOptions(work_dir=str(work_dir)))


@pytest.mark.parametrize('monitor', ['accuracy/top1', 'loss'])
def test_early_stopping_counts_on_after_a_kill(config: Callable[..., Config], tmp_path: Path,
                                               monkeypatch: pytest.MonkeyPatch, monitor: str) -> None:
    """At a rate that changes no weight nothing gets better after the first validation; three more are waited for."""
    hook = dict(type='EarlyStoppingHook', monitor=monitor, patience=3)
    cfg = config(**{'optim_wrapper.optimizer.lr': 1e-30, 'custom_hooks': [hook]})
    train(cfg, TrainOptions(work_dir=str(tmp_path / 'whole')))
    assert len(validations(tmp_path / 'whole', monitor)) == 4
    train_until(monkeypatch, 7, cfg, tmp_path / 'cut')
    assert len(validations(tmp_path / 'cut', monitor)) == 3
    runner = train(cfg, TrainOptions(work_dir=str(tmp_path / 'cut'), resume=True))
    assert runner.epoch == 4 and len(validations(tmp_path / 'cut', monitor)) == 4
    # one that has stopped stays stopped
    runner = train(cfg, TrainOptions(work_dir=str(tmp_path / 'cut'), resume=True))
    assert runner.epoch == 4 and len(validations(tmp_path / 'cut', monitor)) == 4


def test_the_best_by_accuracy_and_by_loss(config: Callable[..., Config], tmp_path: Path,
                                          monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss the less the better, the accuracy the more; a run that was killed keeps the same ones."""
    cfg = config(**{
        'optim_wrapper.optimizer.lr': 0.05,
        'default_hooks.checkpoint.save_best': ['loss', 'accuracy/top1']
    })
    train(cfg, TrainOptions(work_dir=str(tmp_path / 'whole')))
    train_until(monkeypatch, 7, cfg, tmp_path / 'cut')
    train(cfg, TrainOptions(work_dir=str(tmp_path / 'cut'), resume=True))
    losses = validations(tmp_path / 'whole', 'loss')
    accuracies = validations(tmp_path / 'whole', 'accuracy/top1')
    assert losses[0] != min(losses) and len(set(accuracies)) > 1
    best = {
        f'best_loss_epoch_{1 + losses.index(min(losses))}.pth',
        f'best_accuracy_top1_epoch_{1 + accuracies.index(max(accuracies))}.pth'
    }
    for name in ('whole', 'cut'):
        assert {p.name for p in (tmp_path / name).glob('best_*')} == best
    for name in best:
        whole, cut = (torch.load(tmp_path / d / name, weights_only=True)['state_dict'] for d in ('whole', 'cut'))
        assert not [key for key in whole if not torch.equal(whole[key], cut[key])]


@pytest.mark.parametrize(('overrides', 'said'), [
    ({'custom_hooks': [dict(type='EarlyStoppingHook', monitor='accuracy/top_1')]},
     "EarlyStoppingHook.monitor='accuracy/top_1'.*did you mean 'accuracy/top1'"),
    ({'default_hooks.checkpoint.save_best': 'accuracy/top5'}, "save_best='accuracy/top5'.*did you mean 'accuracy/top1'"),
    ({'param_scheduler': [dict(type='ReduceOnPlateauLR', monitor='val_loss')]}, "monitor='val_loss'.*did you mean 'loss'"),
    ({'custom_hooks': [dict(type='EarlyStoppingHook', monitor='loss')], 'val_dataloader': None, 'val_cfg': None,
      'val_evaluator': None}, 'there is no validation to measure it'),
])  # yapf: disable
def test_a_metric_that_is_not_measured_is_refused(config: Callable[..., Config], tmp_path: Path, overrides: dict,
                                                  said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        train(config(**overrides), TrainOptions(work_dir=str(tmp_path)))
    assert not list(tmp_path.glob('*.pth')) and not (tmp_path / 'metrics.jsonl').exists()
