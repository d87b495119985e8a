"""The log of a run."""
import logging

from mmengine.logging import print_log

__all__ = ['warn']


def warn(text: str) -> None:
    """Put a warning into the log."""
    print_log(text, logger='current', level=logging.WARNING)
