"""What happens at fixed points of a run."""
from ..recording import DivergedError, LossWatch, MetricsFile, MetricsRecordHook
from .checkpoint import CheckpointHook, SafeCheckpointHook
from .class_num_check import ClassNumCheckHook
from .curves import CurvesHook
from .data_wait import DataWaitHook
from .dry_run import DryRunFinished, DryRunHook
from .early_stopping import EarlyStoppingHook
from .ema import EMAHook
from .feature_cache import FeatureCacheHook
from .l2sp import L2SPHook
from .lr_range import LRRangeHook, RangeTestFinished
from .precise_bn import PreciseBNHook
from .predictions import PredictionsHook, data_digest, keep_predictions, record_predictions
from .preflight import PreflightHook
from .progress import ProgressHook
from .speed import SpeedHook
from .stop_signal import StopHook
from .unfreezing import GradualUnfreezingHook, LinearProbeFineTuneHook
from .visualization import VisualizationHook

__all__ = [
    'CheckpointHook', 'ClassNumCheckHook', 'EMAHook', 'PreciseBNHook', 'VisualizationHook', 'SafeCheckpointHook',
    'CurvesHook', 'DataWaitHook', 'DivergedError', 'DryRunFinished', 'DryRunHook', 'EarlyStoppingHook',
    'FeatureCacheHook', 'GradualUnfreezingHook', 'LinearProbeFineTuneHook', 'L2SPHook', 'LossWatch', 'PreflightHook',
    'MetricsFile', 'MetricsRecordHook', 'ProgressHook', 'LRRangeHook', 'RangeTestFinished', 'SpeedHook', 'StopHook',
    'PredictionsHook', 'data_digest', 'keep_predictions', 'record_predictions'
]
