"""What each key of a config holds, where no component's signature says it."""
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ftcls import registry as R
from ftcls.engine.hooks.speed import SPEED_KEYS
from ftcls.engine.mmengine_compat import LOOP_TYPES
from ftcls.utils.types import Fraction, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from .choices import BATCH_POLICIES, LAUNCHERS

__all__ = [
    'COMPONENT_KEYS', 'Key', 'KEYS', 'NESTED_KEYS', 'NESTING_REGISTRIES', 'OLD_KEYS', 'OPAQUE_KEYS', 'OPEN_KEYS',
    'PASSED_ON', 'TOP_LEVEL_KEYS', 'default_type'
]


@dataclass(frozen=True)
class Key:
    """What a key holds.

    Attributes:
        registry: Where the ``type`` of its components is looked up; None for a plain value.
        default: Stands for a missing ``type``.
        type: Annotation of a plain value.
        items: Annotations of the items of its dict. A plain dict may have no others; for a component they replace the
            annotations of its class, where MMEngine and torch would answer with an assertion.
    """
    registry: R.Registry | None = None
    default: str | None = None
    type: Any = Any
    items: Mapping[str, Any] = field(default_factory=dict)


def _plain(**items: Any) -> Key:
    return Key(type=dict | None, items=items)


_DATALOADER = _plain(
    batch_size=PositiveInt,
    num_workers=NonNegativeInt | Literal['auto'],
    shuffle=bool | None,
    pin_memory_device=str,
    timeout=NonNegativeFloat,
    **dict.fromkeys(('drop_last', 'pin_memory', 'persistent_workers', 'in_order', 'disable_subprocess_warning'), bool),
    **dict.fromkeys(('prefetch_factor', 'num_batch_per_epoch'), PositiveInt | None),
    **dict.fromkeys(('dataset', 'sampler', 'batch_sampler', 'collate_fn', 'worker_init_fn', 'generator'), Any),
    multiprocessing_context=Any)

TOP_LEVEL_KEYS: dict[str, Key] = dict(  # what the Runner or ftcls reads; others are variables of the file
    **dict.fromkeys(('model', 'tta_model'), Key(R.MODELS)),
    data_preprocessor=Key(R.MODELS, 'ClsDataPreprocessor'),
    tta_pipeline=Key(R.TRANSFORMS),
    model_wrapper_cfg=Key(R.MODEL_WRAPPERS, 'MMDistributedDataParallel'),
    **dict.fromkeys(('train_dataloader', 'val_dataloader', 'test_dataloader'), _DATALOADER),
    train_cfg=Key(R.LOOPS, items=dict(max_epochs=PositiveInt, max_iters=PositiveInt, val_interval=PositiveInt)),
    val_cfg=Key(R.LOOPS, 'ValLoop'),
    test_cfg=Key(R.LOOPS, 'TestLoop'),
    **dict.fromkeys(('val_evaluator', 'test_evaluator'), Key(R.METRICS)),
    optim_wrapper=Key(R.OPTIM_WRAPPERS, 'OptimWrapper', items=dict(accumulative_counts=PositiveInt)),
    param_scheduler=Key(R.PARAM_SCHEDULERS),
    auto_scale_lr=_plain(enable=bool, base_batch_size=PositiveInt | None),
    batch_policy=Key(type=Literal[BATCH_POLICIES] | None),
    **dict.fromkeys(('default_hooks', 'custom_hooks'), Key(R.HOOKS)),
    visualizer=Key(R.VISUALIZERS, 'Visualizer'),
    log_processor=Key(R.LOG_PROCESSORS, 'LogProcessor'),
    log_level=Key(type=Literal['DEBUG', 'INFO', 'WARNING', 'ERROR', 'CRITICAL']),
    **dict.fromkeys(('load_from', 'work_dir', 'experiment_name'), Key(type=str | None)),
    resume=Key(type=bool | str),
    **dict.fromkeys(('allow_missing_classes', 'allow_shared_images', 'find_unused_parameters', 'report'),
                    Key(type=bool)),
    arms=Key(type=dict),
    feature_cache=Key(
        type=Literal['auto', False] | dict,
        items=dict(dtype=Literal['float32', 'float16'], views=PositiveInt, folder=str | None)),
    launcher=Key(type=Literal[LAUNCHERS]),
    env_cfg=Key(
        type=dict, items=dict(cudnn_benchmark=bool, mp_cfg=dict | None, dist_cfg=dict | None, resource_limit=int)),
    speed=Key(type=Literal['auto', 'off', False] | dict, items=dict.fromkeys(SPEED_KEYS, bool | Literal['auto'])),
    randomness=_plain(seed=int | None, diff_rank_seed=bool, deterministic=bool),
    custom_imports=_plain(imports=str | list, allow_failed_imports=bool),
    default_scope=Key(type=str),
    **dict.fromkeys(('sync_bn', 'compile', 'activation_checkpointing', 'efficient_conv_bn_eval'), Key()))

OLD_KEYS: dict[str, str] = dict(  # Keys of MMClassification 0.x, and what holds the same today.
    data='train_dataloader, val_dataloader, test_dataloader',
    optimizer='optim_wrapper=dict(optimizer=…)',
    fp16="optim_wrapper.type='AmpOptimWrapper'",
    lr_config='param_scheduler',
    runner='train_cfg=dict(max_epochs=…)',
    evaluation='val_evaluator, train_cfg.val_interval',
    checkpoint_config='default_hooks.checkpoint',
    log_config='default_hooks.logger, visualizer.vis_backends',
    dist_params='env_cfg.dist_cfg')

NESTED_KEYS: dict[str, Key] = dict(  # inside of others, at any depth; other names are looked up like what is around
    **dict.fromkeys(('dataset', 'datasets'), Key(R.DATASETS)),
    cache=_plain(
        type=Literal['ram', 'disk'], short_side=PositiveInt | None, folder=str | None, limit=PositiveFloat | None),
    **dict.fromkeys(('pipeline', 'transforms'), Key(R.TRANSFORMS)),
    **dict.fromkeys(('sampler', 'batch_sampler'), Key(R.DATA_SAMPLERS)),
    **dict.fromkeys(('collate_fn', 'worker_init_fn'), Key(R.FUNCTIONS)),
    init_cfg=Key(R.WEIGHT_INITIALIZERS),
    augments=Key(R.BATCH_AUGMENTS),
    batch_augments=_plain(augments=Any, probs=Any),
    batch_transforms=Key(R.BATCH_TRANSFORMS),
    optimizer=Key(R.OPTIMIZERS),
    clip_grad=_plain(
        type=Literal['norm', 'value'],
        **dict.fromkeys(('max_norm', 'clip_value', 'norm_type'), float),
        error_if_nonfinite=bool,
        foreach=bool | None),
    vis_backends=Key(R.VISBACKENDS),
    mp_cfg=_plain(mp_start_method=Literal['fork', 'spawn', 'forkserver'] | None, opencv_num_threads=int | None))

KEYS = TOP_LEVEL_KEYS | NESTED_KEYS

NESTING_REGISTRIES = (R.MODELS, R.METRICS, R.TRANSFORMS, R.BATCH_AUGMENTS)  # pass it on to what KEYS does not have
COMPONENT_KEYS = frozenset({'backbone', 'neck', 'decoder', 'head', 'loss', 'metrics', 'policies'})  # must name a `type`
OPAQUE_KEYS = frozenset(  # values that a component reads by its own rules
    'adapter targets norm_cfg act_cfg conv_cfg paramwise_cfg metainfo data_prefix dist_cfg compile model_args '
    'override'.split())
OPEN_KEYS: dict[str, tuple[str, ...]] = dict(  # any keys, but a name near to one of these would be read by nothing
    default_hooks=('runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint'),
    metainfo=('classes', 'palette'),
    dist_cfg=('backend', 'timeout'),
    compile=('backend', 'mode', 'options', 'fullgraph', 'dynamic', 'disable'))
# Classes that pass their other arguments on to a model: the argument that names it, and types that its class lacks.
PASSED_ON = dict(EMAHook=('ema_type', dict(momentum=Fraction, gamma=PositiveFloat, interval=PositiveFloat)))


def default_type(key: str, value: Mapping) -> str | None:
    """Return the ``type`` of a dict at ``key`` that does not name its own, or None where it must."""
    if key == 'train_cfg':
        return LOOP_TYPES[bool(value.get('by_epoch', True))]
    if key in ('val_evaluator', 'test_evaluator') and 'metrics' in value:
        return 'Evaluator'
    return KEYS.get(key, Key()).default
