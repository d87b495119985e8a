"""The log of a run."""
import logging

from mmengine.logging import print_log

__all__ = ['LONGEST_SILENCE', 'warn']

LONGEST_SILENCE = 30.  # seconds without a line, after which one says how far the work is


def warn(text: str) -> None:
    """Put a warning into the log."""
    print_log(text, logger='current', level=logging.WARNING)
