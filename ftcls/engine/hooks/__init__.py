"""What happens at fixed points of a run."""
from .curves import CurvesHook
from .loss_watch import DivergedError, LossWatch
from .metrics_file import MetricsFile, read_records
from .progress import ProgressHook
from .record import MetricsRecordHook

__all__ = [
    'CurvesHook', 'DivergedError', 'LossWatch', 'MetricsFile', 'MetricsRecordHook', 'ProgressHook', 'read_records'
]
