"""What runs during training: hooks, optimizer wrappers and their constructors, the log."""
from . import hooks, optimizers
from .log_processor import LogProcessor

__all__ = ['LogProcessor', 'hooks', 'optimizers']
