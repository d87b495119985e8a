"""What runs during training: hooks, optimizer wrappers and their constructors, schedules, the log."""
from . import hooks, optimizers, schedulers
from .log_processor import LogProcessor

__all__ = ['LogProcessor', 'hooks', 'optimizers', 'schedulers']
