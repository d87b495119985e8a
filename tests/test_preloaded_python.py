"""The interpreter that the tests of tools use ends, is ended and is set like a fresh one."""
import os
import signal
import subprocess
from pathlib import Path

import pytest
from preloaded_python import preloaded_python

ALIKE = dict(os.environ, OMP_NUM_THREADS='1')


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run([preloaded_python(), *arguments],
                          env=dict(ALIKE, **environment),
                          capture_output=True,
                          text=True)


def test_arguments_folder_and_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path('tool.py').write_text('import neighbour, os, sys; print(sys.argv, os.environ["OWN"], __name__); sys.exit(3)')
    Path('neighbour.py').write_text('import sys; assert "torch" in sys.modules; print("said", file=sys.stderr)')
    done = run('tool.py', 'a b', OWN='value')
    assert (done.returncode, done.stdout) == (3, "['tool.py', 'a b'] value __main__\n") and done.stderr == 'said\n'
    assert run('-c', 'raise ValueError("why")').stderr.endswith('ValueError: why\n')


def test_output_is_buffered_unless_asked() -> None:
    code = 'import os, sys; assert "torch" in sys.modules; print("said"); os._exit(0)'
    assert run('-c', code).stdout == '' and run('-u', '-c', code).stdout == 'said\n'


def test_signals_go_both_ways() -> None:
    assert run('-c', 'import os; os.kill(os.getpid(), 9)').returncode == -signal.SIGKILL
    process = subprocess.Popen([preloaded_python(), '-c', 'print(flush=True); import time; time.sleep(60)'],
                               env=ALIKE,
                               stdout=subprocess.PIPE)
    assert process.stdout.read(1) == b'\n'
    process.terminate()
    assert process.wait(30) == -signal.SIGTERM
    process.stdout.close()


@pytest.mark.parametrize('arguments, environment', [(('-W', 'error'), {}), ((), {'OMP_NUM_THREADS': '2'})])
def test_what_a_copy_could_not_do_is_done_by_a_fresh_one(arguments: tuple, environment: dict) -> None:
    done = run(*arguments, '-c', 'import sys; print("torch" in sys.modules)', **environment)
    assert done.stdout == 'False\n', done.stderr
