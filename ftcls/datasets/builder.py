"""Building datasets, under MMClassification's name."""
from ftcls.registry import DATASETS

__all__ = ['build_dataset']

build_dataset = DATASETS.build
