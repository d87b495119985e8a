"""Fixtures for all tests: where the real data lies, small configs, tools in processes of their own, no log left open."""
import logging
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.utils import manager as mmengine_manager
from mmengine.visualization import Visualizer
from PIL import Image
from preloaded_python import preloaded_python

from ftcls.apis import get_model, load_config
from ftcls.engine.hooks import CurvesHook
from ftcls.utils.plain_files import imports

ROOT = Path(__file__).resolve().parent.parent

# Test processes share the cores: with a thread per core in each of two, a training takes nearly twice as long.
os.environ.setdefault('OMP_NUM_THREADS', '1')
torch.set_num_threads(int(os.environ['OMP_NUM_THREADS']))


@pytest.fixture(scope='session')
def real_data() -> Path:
    """The folder of real data (``FTCLS_REAL_DATA``, default ``../shared/data``); skips where it is absent."""
    folder = Path(os.environ.get('FTCLS_REAL_DATA', ROOT.parent / 'shared' / 'data'))
    if not folder.is_dir():
        pytest.skip(f'no real data at {folder}; set FTCLS_REAL_DATA to its place')
    return folder


@pytest.fixture(scope='session', autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep features (``feature_cache``) in a folder of the tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('XDG_CACHE_HOME', str(tmp_path_factory.mktemp('cache')))
        yield


@pytest.fixture(autouse=True)
def same_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no training compare speeds: on a busy machine a small one takes long enough, and what is chosen differs."""
    monkeypatch.setattr('ftcls.engine.hooks.speed._LEAST_IMAGES', 10**9)


@pytest.fixture
def drawn_curves() -> None:
    """Let the trainings of this test draw `curves.png`; without it they leave it out, see `no_curves`."""


@pytest.fixture(autouse=True)
def no_curves(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the trainings in this process draw no `curves.png`, which takes longer than most of them."""
    if 'drawn_curves' not in request.fixturenames:
        monkeypatch.setattr(CurvesHook, '_draw', lambda hook, runner: None)


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
def open_registries() -> Iterator[None]:
    """Let the registries import again after a test that has read a JSON config."""
    yield
    imports.allowed = False
    imports.distrusted.clear()


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


# What a finished process left: its exit code, standard output, standard error.
Tool = Callable[..., subprocess.CompletedProcess]


@pytest.fixture
def run_tool(tmp_path: Path) -> Tool:
    """Run ``tools/<name>`` (``.py`` or ``.sh``) with arguments in a process of its own, in an empty folder.

    A training or a test writes no report, which takes seconds, unless an argument names it.
    """

    def run(name: str, *arguments: object, timeout: float = 150, **environment: str) -> subprocess.CompletedProcess:
        python = preloaded_python()
        command = [python] if name.endswith('.py') else ['bash']
        least = 3 if name.endswith('.sh') else 1  # config and number of processes come first
        if re.search('train|test', name) and len(arguments) >= least and 'report=' not in ' '.join(map(str, arguments)):
            arguments += ('--cfg-options', 'report=False')
        env = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHON': python, 'COLUMNS': '200', **environment}
        return subprocess.run([*command, str(ROOT / 'tools' / name), *map(str, arguments)],
                              cwd=tmp_path,
                              env=env,
                              capture_output=True,
                              text=True,
                              timeout=timeout)

    return run


@pytest.fixture
def digits() -> Callable[..., Config]:
    """Return the embedded digits' config, cut to 2 epochs of 8 steps with 40 scans each, with some overrides."""

    def config(**overrides: object) -> Config:
        short = {
            'train_cfg.max_epochs': 2,
            'param_scheduler.T_max': 2,
            'train_dataloader.batch_size': 40,
            'train_dataloader.dataset.indices': 320,
            'default_hooks.logger.interval': 4,
            **overrides
        }
        return load_config(ROOT / 'configs' / 'tutorial' / 'lenet5_pretrain_digits.py', short)

    return config


@pytest.fixture(scope='session')
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work dir of a classifier of dark, grey and bright images, 6 of each; its weights are random."""
    folder = tmp_path_factory.mktemp('shades')
    rng = np.random.default_rng(0)
    for level, name in ((0, 'bright'), (80, 'dark'), (160, 'grey')):
        (folder / 'data' / name).mkdir(parents=True)
        for number in range(6):
            pixels = rng.integers(level, level + 96, (40, 48, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / 'data' / name / f'{number}.png')
    pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(40, 32)), dict(type='PackInputs')]
    dataset = dict(type='CustomDataset', data_root=str(folder / 'data'), pipeline=pipeline)
    loader = dict(batch_size=8, num_workers=0, dataset=dataset, sampler=dict(type='DefaultSampler', shuffle=False))
    cfg = Config(
        dict(
            default_scope='ftcls',
            model=dict(
                type='ImageClassifier',
                backbone=dict(type='ResNet', depth=18, stem_channels=8, base_channels=8),
                neck=dict(type='GlobalAveragePooling'),
                head=dict(type='LinearClsHead', num_classes=3, in_channels=64)),
            data_preprocessor=dict(type='ClsDataPreprocessor', mean=[127.5] * 3, std=[70.] * 3, to_rgb=True),
            test_dataloader=loader,
            test_evaluator=dict(type='Accuracy'),
            test_cfg=dict()))
    work_dir = folder / 'run'
    work_dir.mkdir()
    cfg.dump(work_dir / 'run.py')
    torch.manual_seed(3)
    weights = get_model(cfg, False, 'cpu').state_dict()
    torch.save(
        dict(state_dict=weights, meta=dict(dataset_meta=dict(classes=['bright', 'dark', 'grey']))),
        work_dir / 'epoch_1.pth')
    return work_dir
