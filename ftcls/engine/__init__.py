"""What runs during training: hooks, optimizer wrappers and their constructors, schedules, the log."""
from .hooks import *  # noqa: F401, F403
from .log_processor import LogProcessor
from .loops import EpochBasedTrainLoop, IterBasedTrainLoop
from .optimizers import *  # noqa: F401, F403
from .schedulers import *  # noqa: F401, F403

from . import hooks, optimizers, schedulers  # isort: skip

__all__ = [
    'EpochBasedTrainLoop', 'IterBasedTrainLoop', 'LogProcessor', 'hooks', 'optimizers', 'schedulers', *hooks.__all__,
    *optimizers.__all__, *schedulers.__all__
]
