"""Which keys a config may have where no component's signature says it, and which registry a key's ``type`` is looked up in."""
import inspect
from typing import Any, Literal

import torch
from mmengine.registry import Registry
from torch.utils.data import DataLoader

from ftcls import registry as R
from .batch_policy import BATCH_POLICIES, LAUNCHERS

__all__ = [
    'COMPONENT_KEYS', 'DEFAULT_TYPES', 'HANDED_ON', 'LEAST', 'NESTING_REGISTRIES',
    'OPAQUE_KEYS', 'PLAIN_KEYS', 'RANGES_OF_HANDED_ON', 'REGISTRY_OF_KEY', 'TOP_LEVEL_KEYS',
    'TOP_LEVEL_KINDS', 'loader_keys'
]

# Every key that the Runner or ftcls.apis reads; any other top-level name is a variable of the config file.
TOP_LEVEL_KEYS: tuple[str,
                      ...] = ('model', 'data_preprocessor', 'train_dataloader', 'val_dataloader', 'test_dataloader',
                              'train_cfg', 'val_cfg', 'test_cfg', 'optim_wrapper', 'param_scheduler', 'val_evaluator',
                              'test_evaluator', 'default_hooks', 'custom_hooks', 'visualizer', 'log_processor',
                              'log_level', 'load_from', 'resume', 'launcher', 'env_cfg', 'randomness', 'auto_scale_lr',
                              'batch_policy', 'default_scope', 'allow_missing_classes', 'arms', 'work_dir',
                              'experiment_name', 'custom_imports', 'model_wrapper_cfg', 'find_unused_parameters',
                              'sync_bn', 'compile', 'activation_checkpointing', 'efficient_conv_bn_eval', 'tta_model',
                              'tta_pipeline')

# The registry that a key's value is looked up in, at any depth; other keys inherit their parent's.
REGISTRY_OF_KEY: dict[str, Registry] = {
    'model': R.MODELS,
    'tta_model': R.MODELS,
    'data_preprocessor': R.MODELS,
    'init_cfg': R.WEIGHT_INITIALIZERS,
    'augments': R.BATCH_AUGMENTS,
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

# Dicts without a `type`: the keys that they may have, and what kind of value each takes.
PLAIN_KEYS: dict[str, dict[str, Any]] = {
    'env_cfg': {
        'cudnn_benchmark': bool,
        'mp_cfg': dict | None,
        'dist_cfg': dict | None,
        'resource_limit': int
    },
    'env_cfg.mp_cfg': {
        'mp_start_method': Literal['fork', 'spawn', 'forkserver'] | None,
        'opencv_num_threads': int | None
    },
    'randomness': {
        'seed': int | None,
        'diff_rank_seed': bool,
        'deterministic': bool
    },
    'auto_scale_lr': {
        'enable': bool,
        'base_batch_size': int | None
    },
    'custom_imports': {
        'imports': str | list,
        'allow_failed_imports': bool
    },
    'optim_wrapper.clip_grad': {
        'type': Literal['norm', 'value'],
        **{
            name: float if name in ('max_norm', 'clip_value', 'norm_type') else Any
            for function in (torch.nn.utils.clip_grad_norm_, torch.nn.utils.clip_grad_value_)
            for name in inspect.signature(function).parameters if name != 'parameters'
        }
    },
}

# Top-level values that are no dicts.
TOP_LEVEL_KINDS: dict[str, Any] = {
    'log_level': Literal['DEBUG', 'INFO', 'WARNING', 'ERROR', 'CRITICAL'],
    'load_from': str | None,
    'resume': bool | str,
    'work_dir': str | None,
    'experiment_name': str | None,
    'default_scope': str,
    'launcher': Literal[LAUNCHERS],
    'batch_policy': Literal[BATCH_POLICIES] | None,
    'allow_missing_classes': bool,
    'find_unused_parameters': bool,
    'arms': dict,
}

# The least that a number may be; MMEngine and torch would answer with an assertion.
LEAST: dict[str, int] = {
    'auto_scale_lr.base_batch_size': 1,
    'optim_wrapper.accumulative_counts': 1,
    'train_cfg.max_epochs': 1,
    'train_cfg.max_iters': 1,
    'train_cfg.val_interval': 1,
    'train_dataloader.batch_size': 1,
    'val_dataloader.batch_size': 1,
    'test_dataloader.batch_size': 1,
    'train_dataloader.num_workers': 0,
    'val_dataloader.num_workers': 0,
    'test_dataloader.num_workers': 0,
}

# Components that inherit their registry to what is nested in them under other names than those of REGISTRY_OF_KEY.
NESTING_REGISTRIES = frozenset({R.MODELS.name, R.METRICS.name, R.TRANSFORMS.name, R.BATCH_AUGMENTS.name})
# Keys inside such components whose value must name a `type`.
COMPONENT_KEYS = frozenset({'backbone', 'neck', 'decoder', 'head', 'loss', 'metrics'})

# Classes that hand on their other arguments to a model: which argument names it, and what the model is made of.
HANDED_ON: dict[str, tuple[str, str]] = {'EMAHook': ('ema_type', 'model')}

# Ranges of such a model's arguments, (above, below); MMEngine would answer with an assertion.
RANGES_OF_HANDED_ON: dict[str, tuple[float, float]] = {
    'momentum': (0, 1),
    'gamma': (0, float('inf')),
    'interval': (0, float('inf'))
}

# Values that a component reads by its own rules.
OPAQUE_KEYS = frozenset({
    'norm_cfg', 'act_cfg', 'conv_cfg', 'paramwise_cfg', 'metainfo', 'data_prefix', 'dist_cfg', 'compile', 'model_args',
    'clip_grad', 'override'
})


def loader_keys() -> tuple[str, ...]:
    """Return the keys that a dataloader dict may have: torch's arguments and those that MMEngine adds."""
    own = tuple(p for p in inspect.signature(DataLoader.__init__).parameters if p != 'self')
    return own + ('num_batch_per_epoch', 'disable_subprocess_warning')
