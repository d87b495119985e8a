"""What happens at fixed points of a run."""
from .checkpoint_io import AtomicLocalBackend, SafeCheckpointHook, register_atomic_saving
from .curves import CurvesHook
from .dry_run import DryRunFinished, DryRunHook
from .l2sp import L2SPHook
from .loss_watch import DivergedError, LossWatch
from .metrics_file import MetricsFile
from .preflight import PreflightHook
from .progress import ProgressHook
from .record import MetricsRecordHook

__all__ = [
    'AtomicLocalBackend', 'SafeCheckpointHook', 'register_atomic_saving', 'CurvesHook', 'DivergedError',
    'DryRunFinished', 'DryRunHook', 'L2SPHook', 'LossWatch', 'PreflightHook', 'MetricsFile', 'MetricsRecordHook',
    'ProgressHook'
]
