"""Every test of datasets and transforms draws the same random numbers; class folders for those that need some."""
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Seed NumPy's and torch's global generators."""
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture
def class_folders(tmp_path: Path) -> Callable[..., Path]:
    """Writes ``cat=3, dog=2`` as folders of images 0.png, 1.png … of 4x5 pixels; returns their folder."""

    def write(**counts: int) -> Path:
        for name, count in counts.items():
            (tmp_path / name).mkdir()
            for number in range(count):
                Image.new('RGB', (5, 4)).save(tmp_path / name / f'{number}.png')
        return tmp_path

    return write
