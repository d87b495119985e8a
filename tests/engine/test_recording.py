"""``metrics.jsonl`` against the losses that a plain loop sees; fresh, resumed and failing runs."""
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ftcls.engine.recording import DivergedError, LossWatch, MetricsFile, to_json
from ftcls.registry import HOOKS
from ftcls.utils import ConfigError, MissingFileError
from ftcls.visualization import read_records

MakeRunner = Callable[..., Runner]
RECORD = dict(type='MetricsRecordHook')


class LossTap(Hook):
    """Note each iteration's loss and learning rate."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        self.losses.append(outputs['loss'].item())


def lines(runner: Runner) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (Path(runner.work_dir) / 'metrics.jsonl').read_text().splitlines()]


def test_records_of_a_run_by_epochs(make_runner: MakeRunner) -> None:
    tap = LossTap()
    runner = make_runner([RECORD, tap], param_scheduler=dict(type='MultiStepLR', milestones=[2], gamma=0.1))
    runner.train()
    records = lines(runner)
    # 3 iterations an epoch, the logger's interval is 2.
    places = [(r['kind'], r['epoch'], r['iter'], r['step']) for r in records]
    assert places == [(kind, epoch, it, 3 * (epoch - 1) + it) for epoch in (1, 2, 3)
                      for kind, it in (('train', 2), ('train', 3), ('val', 3))]
    train = [r for r in records if r['kind'] == 'train']
    assert [r['iters'] for r in train] == [2, 1] * 3
    windows = np.split(np.array(tap.losses), [2, 3, 5, 6, 8])
    assert [r['loss'] for r in train] == pytest.approx([window.mean() for window in windows])
    assert [r['lr'] for r in train] == pytest.approx([0.1] * 4 + [0.01] * 2)
    assert all('margin' in r for r in train)
    times = [r['time'] for r in records]
    assert times == sorted(times) and times[0] >= 0


def test_a_validation_keeps_all_metrics(make_runner: MakeRunner) -> None:
    runner = make_runner([RECORD])
    runner.train()
    record = [r for r in lines(runner) if r['kind'] == 'val'][-1]
    assert record['loss'] == 0.25
    assert record['per_class'] == [1, None]
    assert record['metric/time'] == 7
    assert 0 <= record['top1'] <= 100
    assert 'matrix' not in record
    assert "leaves out the metric 'matrix': 1600 numbers" in Path(runner.logger.log_file).read_text()


def test_groups_with_another_rate_have_their_own(make_runner: MakeRunner) -> None:
    rules = dict(custom_keys={'backbone': dict(lr_mult=0.1), 'head.bias': dict(decay_mult=0.)})
    optimizer = dict(type='SGD', lr=0.1, weight_decay=0.1)
    runner = make_runner([RECORD], optim_wrapper=dict(optimizer=optimizer, paramwise_cfg=rules))
    runner.train()
    rates = {key: value for key, value in lines(runner)[0].items() if key.startswith('lr')}
    assert rates == {'lr': 0.1, 'lr/backbone': pytest.approx(0.01)}


def test_records_of_a_run_by_iterations(make_runner: MakeRunner) -> None:
    runner = make_runner([dict(type='MetricsRecordHook', interval=4)],
                         train_cfg=dict(by_epoch=False, max_iters=7, val_interval=3),
                         train_dataloader=dict(
                             dataset=make_runner().train_dataloader.dataset,
                             batch_size=4,
                             sampler=dict(type='InfiniteSampler', shuffle=False),
                             collate_fn=dict(type='default_collate')),
                         log_processor=dict(by_epoch=False))
    runner.train()
    records = lines(runner)
    assert [(r['kind'], r['epoch'], r['iter'], r['step']) for r in records] == [('train', 1, 3, 3), ('val', 1, 3, 3),
                                                                                ('train', 2, 1, 4), ('train', 2, 3, 6),
                                                                                ('val', 2, 3, 6), ('train', 3, 1, 7),
                                                                                ('val', 3, 1, 7)]
    assert sum(r.get('iters', 0) for r in records) == 7


def without_time(records: list[dict]) -> list[dict]:
    return [{key: value for key, value in record.items() if key != 'time'} for record in records]


def test_a_resumed_run_leaves_the_file_of_an_uninterrupted_one(make_runner: MakeRunner, tmp_path: Path) -> None:
    hooks = [RECORD, dict(type='SafeCheckpointHook')]
    keep = dict(checkpoint=dict(type='CheckpointHook', interval=1), logger=dict(type='LoggerHook', interval=2))
    rules = dict(
        optimizer=dict(type='SGD', lr=0.1, momentum=0.9), paramwise_cfg=dict(custom_keys={'head': dict(lr_mult=2)}))
    first = make_runner(hooks, default_hooks=keep, optim_wrapper=rules)
    first.train()
    whole = lines(first)
    weights = first.model.state_dict()
    # The run was killed in the third epoch while it wrote a line; it resumes after the second.
    path = Path(first.work_dir) / 'metrics.jsonl'
    path.write_text(path.read_text() + '{"kind": "tra')
    again = make_runner(
        hooks, default_hooks=keep, optim_wrapper=rules, resume=True, load_from=str(tmp_path / 'run' / 'epoch_2.pth'))
    again.train()
    assert without_time(lines(again)) == without_time(whole)
    assert [(r['kind'], r['step']) for r in lines(again)] == [(r['kind'], r['step']) for r in whole]
    assert all(torch.equal(weights[name], value) for name, value in again.model.state_dict().items())
    assert not path.with_name('metrics.jsonl.1').exists()
    assert not path.with_name('metrics.jsonl.draft').exists()
    assert 'dropped 4 records past iteration 6' in Path(again.logger.log_file).read_text()


def test_a_fresh_run_keeps_the_earlier_file(make_runner: MakeRunner) -> None:
    runs = []
    for _ in range(3):
        runner = make_runner([RECORD], epochs=1)
        runner.train()
        runs.append(lines(runner))
    folder = Path(runner.work_dir)
    assert read_records(folder / 'metrics.jsonl') == runs[2]
    assert read_records(folder / 'metrics.jsonl.1') == runs[0]
    assert read_records(folder / 'metrics.jsonl.2') == runs[1]


def test_a_validation_alone_writes_nothing(make_runner: MakeRunner) -> None:
    runner = make_runner([RECORD])
    runner.val()
    assert not (Path(runner.work_dir) / 'metrics.jsonl').exists()


def test_a_loss_that_stays_nan_stops_the_run(make_runner: MakeRunner) -> None:
    nan = float('nan')
    runner = make_runner([dict(type='MetricsRecordHook', interval=1)], losses={5: nan})
    with pytest.raises(
            DivergedError,
            match=r'loss is nan at iteration 7 \(3 in a row not finite, from iteration 5\) with '
            r'learning rate 0.1; the last finite loss was [\d.]+ at iteration 4'):
        runner.train()
    train = [r for r in lines(runner) if r['kind'] == 'train']
    assert [r['loss'] is None for r in train] == [False] * 4 + [True] * 3
    assert Path(runner.logger.log_file).read_text().count('the training loss is nan at iteration 5') == 1


def test_it_can_be_told_to_go_on(make_runner: MakeRunner) -> None:
    runner = make_runner([dict(type='MetricsRecordHook', stop_after=None)], losses={1: float('inf')})
    runner.train()
    assert lines(runner)[-1]['step'] == 9


def test_skipped_updates_do_not_count_and_do_not_last_for_ever(log_lines: list[str]) -> None:
    watch = LossWatch(patience=2)
    for iteration in range(1, 33):
        watch.update(float('inf'), iteration, 0.1, skipped=True)
    with pytest.raises(DivergedError, match='33 in a row not finite, from iteration 1.*no loss of this run was finite'):
        watch.update(float('inf'), 33, 0.1, skipped=True)
    watch = LossWatch(patience=2)
    watch.update(float('nan'), 1, 0.1)
    watch.update(0.5, 2, 0.1)
    watch.update(float('nan'), 3, 0.1)
    with pytest.raises(DivergedError):
        watch.update(float('nan'), 4, 0.1)


@pytest.mark.parametrize('kwargs', [dict(interval=0), dict(interval=1.5), dict(stop_after=0)])
def test_wrong_arguments(kwargs: dict) -> None:
    with pytest.raises(ConfigError, match=f'MetricsRecordHook.*{next(iter(kwargs))}'):
        HOOKS.build(dict(type='MetricsRecordHook', **kwargs))


def test_to_json() -> None:
    value = dict(
        a=torch.tensor(1.5), b=np.float32(2), c=[float('inf'), np.int64(3)], d=(True, None, 'x'), e=np.zeros(2))
    assert to_json(value) == dict(a=1.5, b=2, c=[None, 3], d=[True, None, 'x'], e=[0, 0])
    for bad in (object(), torch.zeros(1001), list(range(1001))):
        with pytest.raises(TypeError):
            to_json(bad)


def test_cutting_a_file_that_is_not_there(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / 'metrics.jsonl')
    assert file.cut_after(3) == 0
    assert file.move_old() is None
    with pytest.raises(MissingFileError):
        read_records(file.path)
