"""Work-arounds of MMEngine 0.10.7, each with the fault that it mends."""
import contextlib
import gc
import io
from collections.abc import Iterator

from mmengine.logging import MMLogger

__all__ = ['quiet_run']


@contextlib.contextmanager
def quiet_run() -> Iterator[None]:
    """Keep the log of a run off the terminal (its work dir has it), and leave nothing open: dozens in one process would add up."""
    MMLogger.get_current_instance()  # made out here, where it gets the terminal
    before = set(MMLogger._instance_dict)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        for name in set(MMLogger._instance_dict) - before:  # of runs; what is said later goes to the log that was there
            logger = MMLogger._instance_dict.pop(name)
            for handler in list(logger.handlers):
                logger.removeHandler(handler)
                handler.close()
        gc.collect()  # the Runner and its hooks point at one another; their dataloaders' workers live until it is gone
