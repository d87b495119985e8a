"""Which keys a config may have where no component's signature says it, and which registry a key's ``type`` is looked up in."""
import inspect

import torch
from mmengine.registry import Registry
from torch.utils.data import DataLoader

from ftcls import registry as R

__all__ = ['TOP_LEVEL_KEYS', 'REGISTRY_OF_KEY', 'PLAIN_KEYS', 'DEFAULT_TYPES', 'GIVEN_BY_BUILDER', 'OPAQUE_KEYS', 'loader_keys']

# Every key that the Runner or ftcls.apis reads; any other top-level name is a variable of the config file.
TOP_LEVEL_KEYS: tuple[str, ...] = (
    'model', 'data_preprocessor', 'train_dataloader', 'val_dataloader', 'test_dataloader', 'train_cfg', 'val_cfg', 'test_cfg',
    'optim_wrapper', 'param_scheduler', 'val_evaluator', 'test_evaluator', 'default_hooks', 'custom_hooks', 'visualizer',
    'log_processor', 'log_level', 'load_from', 'resume', 'launcher', 'env_cfg', 'randomness', 'auto_scale_lr', 'batch_policy',
    'default_scope', 'allow_missing_classes', 'arms', 'work_dir', 'experiment_name', 'custom_imports', 'model_wrapper_cfg', 'find_unused_parameters', 'sync_bn',
    'compile', 'activation_checkpointing', 'efficient_conv_bn_eval', 'tta_model', 'tta_pipeline')

# The registry that a key's value is looked up in, at any depth; other keys inherit their parent's.
REGISTRY_OF_KEY: dict[str, Registry] = {
    'model': R.MODELS,
    'tta_model': R.MODELS,
    'data_preprocessor': R.MODELS,
    'init_cfg': R.WEIGHT_INITIALIZERS,
    'augments': R.BATCH_AUGMENTS,
    'batch_augments': R.BATCH_AUGMENTS,
    'dataset': R.DATASETS,
    'datasets': R.DATASETS,
    'pipeline': R.TRANSFORMS,
    'tta_pipeline': R.TRANSFORMS,
    'transforms': R.TRANSFORMS,
    'sampler': R.DATA_SAMPLERS,
    'batch_sampler': R.DATA_SAMPLERS,
    'collate_fn': R.FUNCTIONS,
    'worker_init_fn': R.FUNCTIONS,
    'optim_wrapper': R.OPTIM_WRAPPERS,
    'optimizer': R.OPTIMIZERS,
    'param_scheduler': R.PARAM_SCHEDULERS,
    'train_cfg': R.LOOPS,
    'val_cfg': R.LOOPS,
    'test_cfg': R.LOOPS,
    'val_evaluator': R.METRICS,
    'test_evaluator': R.METRICS,
    'default_hooks': R.HOOKS,
    'custom_hooks': R.HOOKS,
    'visualizer': R.VISUALIZERS,
    'vis_backends': R.VISBACKENDS,
    'log_processor': R.LOG_PROCESSORS,
    'model_wrapper_cfg': R.MODEL_WRAPPERS,
}

# What stands for a missing `type` at these top-level keys.
DEFAULT_TYPES: dict[str, str] = {
    'data_preprocessor': 'ClsDataPreprocessor',
    'model.data_preprocessor': 'ClsDataPreprocessor',
    'optim_wrapper': 'OptimWrapper',
    'val_cfg': 'ValLoop',
    'test_cfg': 'TestLoop',
    'visualizer': 'Visualizer',
    'log_processor': 'LogProcessor',
    'model_wrapper_cfg': 'MMDistributedDataParallel',
}

# Dicts without a `type`, and the keys that they may have.
PLAIN_KEYS: dict[str, tuple[str, ...]] = {
    'env_cfg': ('cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'),
    'env_cfg.mp_cfg': ('mp_start_method', 'opencv_num_threads'),
    'randomness': ('seed', 'diff_rank_seed', 'deterministic'),
    'auto_scale_lr': ('enable', 'base_batch_size'),
    'custom_imports': ('imports', 'allow_failed_imports'),
    'optim_wrapper.clip_grad': ('type', ) + tuple(
        p for p in {
            **inspect.signature(torch.nn.utils.clip_grad_norm_).parameters,
            **inspect.signature(torch.nn.utils.clip_grad_value_).parameters
        } if p != 'parameters'),
}

# Arguments that a builder adds, so that a config need not give them.
GIVEN_BY_BUILDER = frozenset({
    'optimizer', 'params', 'runner', 'dataloader', 'evaluator', 'dataset', 'seed', 'sampler', 'batch_size', 'model', 'module',
    'name', 'save_dir', 'vis_backends', 'self', 'args', 'kwargs'
})

# Values that a component reads by its own rules.
OPAQUE_KEYS = frozenset({'norm_cfg', 'act_cfg', 'conv_cfg', 'paramwise_cfg', 'metainfo', 'data_prefix', 'dist_cfg', 'compile'})


def loader_keys() -> tuple[str, ...]:
    """Return the keys that a dataloader dict may have: torch's arguments and the four that MMEngine adds."""
    own = tuple(p for p in inspect.signature(DataLoader.__init__).parameters if p != 'self')
    return own + ('num_batch_per_epoch', )
