"""What runs during training: hooks, optimizer wrappers and their constructors, schedules, the log."""
from . import hooks, optimizers, schedulers
from .log_processor import LogProcessor
from .loops import EpochBasedTrainLoop, IterBasedTrainLoop

__all__ = ['EpochBasedTrainLoop', 'IterBasedTrainLoop', 'LogProcessor', 'hooks', 'optimizers', 'schedulers']
