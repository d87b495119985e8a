"""Every test of datasets and transforms draws the same random numbers."""
import numpy as np
import pytest
import torch


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Seed NumPy's and torch's global generators."""
    np.random.seed(0)
    torch.manual_seed(0)
