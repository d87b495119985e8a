"""What a user calls: read a config, train, test, compare, predict."""
from .batch_policy import BATCH_POLICIES, BatchPlan, apply_batch_policy
from .browse import browse_dataset
from .calibrate import Calibration, calibrate
from .cli import run_tool
from .compare import Comparison, RunResult, Workers, compare, few_shots, standard_arms
from .config import apply_overrides, load_config
from .distributed import LAUNCHERS, close_distributed, init_distributed
from .inference import ImageClassificationInferencer, inference_model
from .kfold import CrossValidation, kfold
from .lr_finder import RangeTest, find_lr
from .model_zoo import get_model, list_models
from .new_config import NewConfig, new_config
from .predict import PredictionReport, predict_files, split_checkpoint
from .print_params import describe_parameters, list_parameters
from .schedule import EpochLength, Schedule, draw_schedule, trace_schedule
from .search_result import Search
from .search_space import Dimension, read_space
from .segmentation import ImageSegmentationInferencer
from .test import test
from .train import TrainOptions, train
from .tune import SearchOptions, tune
from .tune_ray import tune_on_ray
from .validate import validate_config
from .wise_ft import interpolate_weights, wise_ft

__all__ = [
    'BATCH_POLICIES', 'BatchPlan', 'Calibration', 'Comparison', 'CrossValidation', 'Dimension', 'EpochLength',
    'ImageClassificationInferencer', 'ImageSegmentationInferencer', 'LAUNCHERS', 'NewConfig', 'PredictionReport',
    'RangeTest', 'RunResult', 'Schedule', 'Search', 'SearchOptions', 'TrainOptions', 'Workers', 'apply_batch_policy',
    'apply_overrides', 'browse_dataset', 'calibrate', 'close_distributed', 'compare', 'describe_parameters',
    'draw_schedule', 'few_shots', 'find_lr', 'get_model', 'inference_model', 'init_distributed', 'interpolate_weights',
    'kfold', 'list_models', 'list_parameters', 'load_config', 'new_config', 'predict_files', 'read_space', 'run_tool',
    'split_checkpoint', 'standard_arms', 'test', 'trace_schedule', 'train', 'tune', 'tune_on_ray', 'validate_config',
    'wise_ft'
]
