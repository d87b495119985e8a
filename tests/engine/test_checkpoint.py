"""A run's checkpoints are kept apart from those of an earlier run in its folder."""
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from mmengine.runner import Runner

from ftcls.engine.hooks import DryRunFinished, DryRunHook

MakeRunner = Callable[..., Runner]


@pytest.fixture
def train(make_runner: MakeRunner) -> Callable[..., list[str]]:
    """Train with our CheckpointHook; returns the warnings."""

    def run(hooks: list = (), **kwargs: object) -> list[str]:
        checkpoint = dict(type='CheckpointHook', interval=1, save_best='top1')
        kwargs.setdefault('default_hooks', dict(logger=dict(type='LoggerHook', interval=2), checkpoint=checkpoint))
        runner = make_runner([dict(type='SafeCheckpointHook'), *hooks], **kwargs)
        said: list[str] = []
        handler = logging.Handler(logging.WARNING)
        handler.emit = lambda record: said.append(record.getMessage())
        runner.logger.addHandler(handler)
        runner.train()
        return [text for text in said if 'checkpoint files' in text]

    return run


def names(folder: Path) -> set[str]:
    return {f.name for f in folder.iterdir() if f.suffix == '.pth' or f.name == 'last_checkpoint'}


def test_a_new_run_sets_the_old_ones_aside(train, tmp_path):
    folder = tmp_path / 'run'
    assert train() == []
    (folder / 'best_top1_epoch_9.pth').write_bytes(b'x')
    (folder / 'iter_70.pth').write_bytes(b'x')
    os.utime(folder / 'iter_70.pth', (0, 0))
    (folder / 'my_own.pth').write_bytes(b'x')
    old = names(folder) - {'my_own.pth'}
    first = (folder / 'epoch_3.pth').read_bytes()
    warning, = train(epochs=1)
    aside = folder / 'earlier_run_1'
    assert names(aside) == old and (aside / 'epoch_3.pth').read_bytes() == first
    assert names(folder) == {'epoch_1.pth', 'best_top1_epoch_1.pth', 'last_checkpoint', 'my_own.pth'}
    assert (folder / 'last_checkpoint').read_text() == str(folder / 'epoch_1.pth')
    assert f'{folder} has {len(old)} checkpoint files of an earlier run' in warning
    assert f'--resume {aside}/epoch_3.pth' in warning and '--work-dir' in warning
    assert 'earlier_run_2' in train(epochs=1)[0]


def test_weights_may_come_from_the_folder_itself(train, tmp_path):
    train()
    assert len(train(epochs=1, load_from=str(tmp_path / 'run' / 'epoch_3.pth'))) == 1


def test_resuming_at_the_end_moves_nothing(train, tmp_path):
    train(epochs=2)
    old = names(tmp_path / 'run')
    assert train(epochs=3, resume=True) == []
    assert old - names(tmp_path / 'run') <= {next(n for n in old if n.startswith('best'))}
    assert not (tmp_path / 'run' / 'earlier_run_1').exists()


def test_resuming_before_the_end_moves_what_comes_after(train, tmp_path):
    folder = tmp_path / 'run'
    train()
    (folder / 'best_top1_epoch_3.pth').write_bytes(b'of the first time')
    warning, = train(epochs=2, resume=True, load_from=str(folder / 'epoch_1.pth'))
    assert 'past epoch_1, where this run resumes' in warning
    assert names(folder / 'earlier_run_1') >= {'best_top1_epoch_3.pth', 'epoch_2.pth', 'epoch_3.pth', 'last_checkpoint'}
    assert {'epoch_1.pth', 'epoch_2.pth'
            } <= names(folder) and not {'epoch_3.pth', 'best_top1_epoch_3.pth'} & names(folder)
    assert (folder / 'last_checkpoint').read_text() == str(folder / 'epoch_2.pth')


def test_the_pointer_names_the_point_until_the_next_checkpoint(train, tmp_path):
    folder = tmp_path / 'run'
    train()
    with pytest.raises(ArithmeticError):
        train([dict(type='MetricsRecordHook', stop_after=1)], losses={1: float('nan')}, resume=True,
              load_from=str(folder / 'epoch_1.pth'))  # yapf: disable
    assert (folder / 'last_checkpoint').read_text() == str(folder / 'epoch_1.pth')


def test_resuming_elsewhere_leaves_that_folder_whole(train, tmp_path):
    train(epochs=1)
    there = names(tmp_path / 'run')
    source = str(tmp_path / 'run' / 'epoch_1.pth')
    keep_one = dict(checkpoint=dict(type='CheckpointHook', interval=1, save_best='top1', max_keep_ckpts=1))
    new = dict(work_dir=str(tmp_path / 'new'), default_hooks=keep_one)
    assert train(epochs=3, resume=True, load_from=source, **new) == []
    assert names(tmp_path / 'run') == there and 'epoch_3.pth' in names(tmp_path / 'new')


def test_a_dry_run_moves_nothing(train, tmp_path):
    train()
    old = names(tmp_path / 'run')
    with pytest.raises(DryRunFinished):
        train([DryRunHook()])
    assert names(tmp_path / 'run') == old and not (tmp_path / 'run' / 'earlier_run_1').exists()
