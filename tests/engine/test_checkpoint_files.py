"""What is on the disk at each moment: the old checkpoint until the new one is whole, and nothing that is broken."""
import errno
import logging
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ftcls.engine.hooks import CheckpointHook, DivergedError, DryRunFinished, DryRunHook, disk_space
from ftcls.engine.mmengine_compat import AtomicLocalBackend
from ftcls.utils import CheckpointError
from ftcls.utils.checkpoint.folder import is_whole

MakeRunner = Callable[..., Runner]


@pytest.fixture
def run(make_runner: MakeRunner) -> Callable[..., Runner]:
    """Train with our CheckpointHook."""

    def train(hooks: list = (), checkpoint: dict | None = None, **kwargs: Any) -> Runner:
        settings = dict(dict(type='CheckpointHook', interval=1, save_best='top1'), **checkpoint or {})
        default_hooks = dict(logger=dict(type='LoggerHook', interval=2), checkpoint=settings)
        runner = make_runner([dict(type='SafeCheckpointHook'), *hooks], default_hooks=default_hooks, **kwargs)
        runner.train()
        return runner

    return train


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.glob('*.pth')}


@pytest.mark.parametrize('keep', [1, 2])
def test_a_whole_checkpoint_is_there_at_every_write(run: Callable, tmp_path: Path, keep: int,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    folder, seen, put = tmp_path / 'run', [], AtomicLocalBackend.put

    def look(self: AtomicLocalBackend, obj: bytes, filepath: str | Path) -> None:
        whole = {name for name in names(folder) if is_whole(folder / name)}
        pointer = folder / 'last_checkpoint'
        seen.append((Path(filepath).name, whole, pointer.exists() and Path(pointer.read_text()).name))
        put(self, obj, filepath)

    monkeypatch.setattr(AtomicLocalBackend, 'put', look)
    run(checkpoint=dict(max_keep_ckpts=keep), epochs=4, losses={2: -1.})
    for name, whole, pointer in seen[1:]:
        assert pointer in whole or name == 'last_checkpoint'
        if name.startswith('best') and any(
                other.startswith('best') for *_, pair in [(0, seen[0][1])] for other in pair):
            assert any(other.startswith('best') for other in whole)
    regular = {name for name in names(folder) if not name.startswith('best')}
    assert regular == {f'epoch_{epoch}.pth' for epoch in range(5 - keep, 5)}
    assert len(names(folder)) == keep + 1


def test_full_disk_keeps_the_checkpoint_before(run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, fsync, calls = tmp_path / 'run', os.fsync, []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(CheckpointError, match=r'MiB\) cannot be written: No space.*--work-dir.*--resume'):
        run(checkpoint=dict(max_keep_ckpts=1), epochs=9)
    pointer = Path((folder / 'last_checkpoint').read_text())
    assert is_whole(pointer) and not list(folder.glob('.*.part'))


class BreakWeights(Hook):
    """Makes a weight NaN at an iteration, as an update without a finite gradient does."""

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if runner.iter == 4:
            runner.model.head.weight.data[0, 0] = float('nan')


def test_broken_weights_are_not_saved(run: Callable, tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match='weights are NaN or infinite at iteration 6 .*lr.*clip_grad'):
        run([BreakWeights()], checkpoint=dict(max_keep_ckpts=1))
    assert 'epoch_1.pth' in names(tmp_path / 'run') and 'epoch_2.pth' not in names(tmp_path / 'run')


def test_expected_infinity_is_saved(run: Callable, make_runner: MakeRunner, tmp_path: Path) -> None:
    model = make_runner().model
    model.register_buffer('mask', torch.tensor([0., -torch.inf]))
    run(model=model, epochs=1)
    assert 'epoch_1.pth' in names(tmp_path / 'run')


def test_leftovers_of_a_killed_run_go(run: Callable, tmp_path: Path) -> None:
    folder, keep_one = tmp_path / 'run', dict(max_keep_ckpts=1)
    run(epochs=2, checkpoint=keep_one)
    content = torch.load(folder / 'epoch_2.pth', weights_only=True)
    superseded = content['message_hub']['runtime_info']['superseded']
    assert superseded == ['epoch_1.pth']
    best, = (name for name in names(folder) if name.startswith('best'))
    superseded += ['best_top1_epoch_0.pth', best]  # as if a kill had come before they were removed
    torch.save(content, folder / 'epoch_2.pth')
    draft, users, other = (folder / name for name in (f'.a.pth.{"0" * 32}.part', '.mine.part', 'best_loss_epoch_0.pth'))
    for file in (folder / 'epoch_1.pth', folder / 'best_top1_epoch_0.pth', draft, users, other):
        file.write_bytes(b'x')
    run(epochs=2, checkpoint=keep_one, resume=True)
    assert names(folder) == {'epoch_2.pth', best, other.name}
    assert users.exists() and not draft.exists()


def test_a_dry_run_removes_nothing(run: Callable, tmp_path: Path) -> None:
    run(epochs=2)
    before = names(tmp_path / 'run')
    with pytest.raises(DryRunFinished):
        run([DryRunHook()], checkpoint=dict(max_keep_ckpts=1), resume=True)
    assert names(tmp_path / 'run') == before


class SaveNow(Hook):
    """Saves as after a signal."""
    priority = 'LOWEST'

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if runner.iter in (3, 4):
            hook = next(hook for hook in runner.hooks if isinstance(hook, CheckpointHook))
            hook.save_now(runner)
            assert Path(hook.last_ckpt).name == f'iter_{runner.iter + 1}.pth' and is_whole(hook.last_ckpt)
            assert Path((Path(runner.work_dir) / 'last_checkpoint').read_text()) == Path(hook.last_ckpt)


def test_save_now(run: Callable, tmp_path: Path) -> None:
    run([SaveNow()], checkpoint=dict(save_best=None))
    assert names(tmp_path / 'run') == {'epoch_1.pth', 'epoch_2.pth', 'epoch_3.pth'}


def test_another_folder_for_checkpoints(run: Callable, tmp_path: Path) -> None:
    run(epochs=1, checkpoint=dict(out_dir=str(tmp_path / 'out')))
    assert 'epoch_1.pth' in names(tmp_path / 'out' / 'run') and not names(tmp_path / 'run')


@pytest.mark.parametrize(('free', 'error'), [(100, True), (1500, False), (10**9, None)])
def test_space_is_compared_before_the_first_step(run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                 caplog: pytest.LogCaptureFixture, free: int, error: bool) -> None:
    # 58 weights of 4 bytes and as many of momentum: 464 bytes; 232 without momentum. 3 epochs and best: 3 x 464 + 2 x 232
    monkeypatch.setattr(disk_space.shutil, 'disk_usage', lambda path: SimpleNamespace(free=free))
    said: list[str] = []
    monkeypatch.setattr(logging.Logger, 'warning', lambda self, text, *args: said.append(text))
    if error:
        with pytest.raises(CheckpointError, match='has 0.0 MiB free.*max_keep_ckpts.*--work-dir'):
            run()
        assert not names(tmp_path / 'run')
    else:
        run()
        assert any('MiB free' in text for text in said) == (error is False)
