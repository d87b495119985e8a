"""One training per folder: a second is refused, a killed one leaves nothing that counts."""
import errno
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from mmengine.config import Config

from ftcls.apis import TrainOptions, train
from ftcls.utils import ConfigError
from ftcls.utils import run_lock as module
from ftcls.utils.errors import RunningError
from ftcls.utils.run_lock import run_lock

HOLD = """
import os, sys, time
from ftcls.utils.run_lock import run_lock
with run_lock(sys.argv[1]):
    if os.fork() == 0:  # as a worker, which outlives a killed process
        print('forked', os.getpid(), flush=True)
        time.sleep(60)
    time.sleep(60)
"""


def test_second_training_is_refused_at_once_and_a_killed_one_is_not_in_the_way(tmp_path: Path,
                                                                               digits: Callable[..., Config]) -> None:
    process = subprocess.Popen([sys.executable, '-c', HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    child = int(process.stdout.readline().split()[1])
    try:
        before = sorted(tmp_path.iterdir())
        options = TrainOptions(work_dir=str(tmp_path))
        said = f'process {process.pid} on {socket.gethostname()}.*--work-dir'
        with pytest.raises(RunningError, match=said):
            train(digits(**{'train_dataloader.dataset.type': 'Digits'}), options)
        assert sorted(tmp_path.iterdir()) == before
        process.kill()
        process.wait()
        with run_lock(tmp_path):
            assert f'process {os.getpid()} on' in (tmp_path / '.run.note').read_text()
    finally:
        os.kill(child, 9)
        process.kill()
        process.communicate()
    assert list(tmp_path.glob('*')) == []


def test_two_threads_of_a_process(tmp_path: Path) -> None:
    with run_lock(tmp_path):
        with pytest.raises(RunningError, match=f'process {os.getpid()} on'):
            with run_lock(tmp_path):
                pass
    with run_lock(tmp_path):
        pass
    assert not tmp_path.exists(), 'an empty folder is not left behind'


@pytest.mark.parametrize('left', ['process 7 on elsewhere, since yesterday', ''])
def test_note_that_a_killed_run_has_left(left: str, tmp_path: Path) -> None:
    for name in ('.run.note', '.run.lock'):
        (tmp_path / name).write_text(left)
    with run_lock(tmp_path):
        pass
    assert not tmp_path.exists()


@pytest.mark.parametrize('error', [OSError(errno.ENOLCK, 'No locks available'), NotImplementedError('flock')])
def test_file_system_without_locks(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    def acquire(self: object, timeout: float) -> None:
        raise error

    monkeypatch.setattr(module.FileLock, 'acquire', acquire)
    with run_lock(tmp_path / 'run'):
        pass


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('')
    with pytest.raises(ConfigError, match='work_dir=.*cannot be written: Not a directory.*--work-dir'):
        with run_lock(tmp_path / 'file' / 'run'):
            pass
