"""What a user calls: read a config, train, test, compare, predict."""
from .batch_policy import BATCH_POLICIES, BatchPlan, apply_batch_policy
from .cli import run_tool
from .compare import Comparison, RunResult, compare, standard_arms
from .config import apply_overrides, load_config
from .distributed import LAUNCHERS, close_distributed, init_distributed
from .inference import ImageClassificationInferencer, inference_model
from .model_zoo import get_model, list_models
from .predict import PredictionReport, predict_files, split_checkpoint
from .print_params import describe_parameters, list_parameters
from .test import test
from .train import TrainOptions, train
from .validate import validate_config
from .wise_ft import interpolate_weights, wise_ft

__all__ = [
    'BATCH_POLICIES', 'BatchPlan', 'Comparison', 'ImageClassificationInferencer', 'LAUNCHERS', 'PredictionReport', 'RunResult',
    'TrainOptions', 'apply_batch_policy', 'apply_overrides', 'close_distributed', 'compare', 'get_model', 'inference_model',
    'init_distributed', 'list_models', 'load_config', 'predict_files', 'run_tool', 'split_checkpoint', 'standard_arms', 'test',
    'train', 'validate_config', 'describe_parameters', 'interpolate_weights', 'list_parameters', 'wise_ft'
]
