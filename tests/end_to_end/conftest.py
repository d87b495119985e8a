"""Fixtures for whole runs: small configs, the tools in processes of their own."""
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from mmengine.config import Config

from ftcls.apis import load_config

ROOT = Path(__file__).resolve().parents[2]

# What a finished process left: its exit code, standard output, standard error.
Tool = Callable[..., subprocess.CompletedProcess]


@pytest.fixture
def run_tool(tmp_path: Path) -> Tool:
    """Run ``tools/<name>`` (``.py`` or ``.sh``) with arguments in a process of its own, in an empty folder."""

    def run(name: str, *arguments: object, timeout: float = 150, **environment: str) -> subprocess.CompletedProcess:
        command = [sys.executable] if name.endswith('.py') else ['bash']
        env = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHON': sys.executable, 'COLUMNS': '200', **environment}
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
