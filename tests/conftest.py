"""Fixtures for all tests: where the real data lies, no log left open."""
import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.utils import manager as mmengine_manager
from mmengine.visualization import Visualizer

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope='session')
def real_data() -> Path:
    """The folder of real data (``FTCLS_REAL_DATA``, default ``../shared/data``); skips where it is absent."""
    folder = Path(os.environ.get('FTCLS_REAL_DATA', ROOT.parent / 'shared' / 'data'))
    if not folder.is_dir():
        pytest.skip(f'no real data at {folder}; set FTCLS_REAL_DATA to its place')
    return folder


@pytest.fixture(autouse=True)
def closed_logs() -> Iterator[None]:
    """Close the log files of a test's runs and forget MMEngine's global instances, so that no test meets another's."""
    yield
    for logger in MMLogger._instance_dict.values():
        for handler in logger.handlers:
            if isinstance(handler, logging.FileHandler):
                handler.close()
    for manager in (MMLogger, MessageHub, Visualizer, DefaultScope):
        manager._instance_dict.clear()


@pytest.fixture(autouse=True)
def free_lock() -> Iterator[None]:
    """Fail the test that leaves MMEngine's lock held: a later one that logs from a thread would wait for ever."""
    yield
    with suppress(RuntimeError):  # says that this thread does not hold it
        mmengine_manager._lock.release()
        pytest.fail('the lock on MMEngine\'s global instances is still held: something raised while one was built')


@pytest.fixture
def log_records() -> Iterator[list[tuple[int, str]]]:
    """The level and text of what goes to MMEngine's current logger, DEBUG included."""
    records: list[tuple[int, str]] = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append((record.levelno, record.getMessage()))
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel('DEBUG')
    logger.addHandler(handler)
    yield records
    logger.removeHandler(handler)
    logger.setLevel(level)
