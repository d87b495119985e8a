"""Runs that are killed at random moments lose nothing and end as if they had not been."""
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork')
def test_five_kills() -> None:
    command = [sys.executable, 'benchmarks/kills.py', '--kills', '5', '--only', 'within epochs, keep 1']
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    name, kills, _, lost, differ = done.stdout.splitlines()[-1].rsplit(maxsplit=4)
    assert (name, kills, lost, differ) == ('within epochs, keep 1', '5', '0', '0')
