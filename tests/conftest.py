"""Fixtures for all tests: where the real data lies, no network, a quiet log."""
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope='session')
def real_data() -> Path:
    """The folder of real data (``FTCLS_REAL_DATA``, default ``../shared/data``); skips where it is absent."""
    folder = Path(os.environ.get('FTCLS_REAL_DATA', ROOT.parent / 'shared' / 'data'))
    if not folder.is_dir():
        pytest.skip(f'no real data at {folder}; set FTCLS_REAL_DATA to its place')
    return folder
