"""One training per folder: a second is refused, a killed one leaves nothing that counts."""
import json
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
import sys, time
from ftcls.utils.run_lock import run_lock
with run_lock(sys.argv[1]):
    print('held', flush=True)
    time.sleep(60)
"""


def test_second_training_is_refused_at_once_and_a_killed_one_is_not_in_the_way(tmp_path: Path,
                                                                               digits: Callable[..., Config]) -> None:
    process = subprocess.Popen([sys.executable, '-c', HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == 'held\n'
        before = sorted(tmp_path.iterdir())
        options = TrainOptions(work_dir=str(tmp_path))
        said = f'process {process.pid} on {socket.gethostname()}.*--work-dir'
        with pytest.raises(RunningError, match=said):
            train(digits(**{'train_dataloader.dataset.type': 'Digits'}), options)
        assert sorted(tmp_path.iterdir()) == before
    finally:
        process.kill()
        process.communicate()
    assert (tmp_path / '.run.lock').exists()
    with run_lock(tmp_path):
        assert json.loads((tmp_path / '.run.lock').read_text())['pid'] == os.getpid()
    assert list(tmp_path.glob('*')) == []


def test_two_threads_of_a_process(tmp_path: Path) -> None:
    with run_lock(tmp_path):
        with pytest.raises(RunningError, match=f'process {os.getpid()} on'):
            with run_lock(tmp_path):
                pass
    with run_lock(tmp_path):
        pass
    assert not tmp_path.exists(), 'an empty folder is not left behind'


@pytest.mark.parametrize('text, is_refused', [
    ('{"host": "elsewhere", "pid": 7, "started": "yesterday"}', True),
    ('{"host": "elsewhere", "pid": 7, "started": "yesterday"}', False),
    ('{"host": "elsewhere"}', False),
    ('[1]', False),
    ('half of a no', False),
], ids=['alive', 'silent', 'incomplete', 'list', 'garbage'])  # yapf: disable
def test_note_of_another_host(text: str, is_refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, '_BEAT', .1)
    file = tmp_path / '.run.lock'
    file.write_text(text)
    if not is_refused:
        with run_lock(tmp_path):
            assert json.loads(file.read_text())['pid'] == os.getpid()
        return
    sleep = module.time.sleep
    monkeypatch.setattr(module.time, 'sleep', lambda seconds: (sleep(seconds), os.utime(file)))
    with pytest.raises(RunningError, match=r'process 7 on elsewhere.*remove .*\.run\.lock'):
        with run_lock(tmp_path):
            pass


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('')
    with pytest.raises(ConfigError, match='work_dir=.*cannot be written: Not a directory.*--work-dir'):
        with run_lock(tmp_path / 'file' / 'run'):
            pass
