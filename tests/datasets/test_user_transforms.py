"""Steps of a user's in a pipeline, by MMClassification's interface."""
import numpy as np
import pytest

from ftcls.datasets.transforms import BaseTransform, RandomFlip
from ftcls.utils import ConfigError


class Load(BaseTransform):
    """A first step of its own: there is no image before it."""

    def transform(self, results: dict) -> dict:
        results['img'] = np.full((4, 4, 3), results['level'], dtype=np.uint8)
        return results


def test_a_loader_needs_no_image() -> None:
    sample = dict(level=7)
    assert Load()(sample)['img'].max() == 7
    assert 'img' not in sample  # what came in is as before


def test_our_own_steps_do() -> None:
    with pytest.raises(ConfigError, match="RandomFlip needs 'img'.*LoadImageFromFile"):
        RandomFlip(prob=1.)(dict(level=7))
