"""The registries that a config's ``type`` names are looked up in.

Each one is a child, in scope ``ftcls``, of MMEngine's registry of the same purpose: a name is searched here first, then
in MMEngine. ``locations`` are imported on the first look-up, so that importing ``ftcls.registry`` stays cheap. This
module imports MMEngine only, because MMEngine swallows an ``ImportError`` raised here.
"""
from mmengine.registry import DATA_SAMPLERS as MMENGINE_DATA_SAMPLERS
from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import EVALUATOR as MMENGINE_EVALUATOR
from mmengine.registry import FUNCTIONS as MMENGINE_FUNCTIONS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import LOG_PROCESSORS as MMENGINE_LOG_PROCESSORS
from mmengine.registry import LOOPS as MMENGINE_LOOPS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODEL_WRAPPERS as MMENGINE_MODEL_WRAPPERS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS as MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.registry import OPTIM_WRAPPERS as MMENGINE_OPTIM_WRAPPERS
from mmengine.registry import OPTIMIZERS as MMENGINE_OPTIMIZERS
from mmengine.registry import PARAM_SCHEDULERS as MMENGINE_PARAM_SCHEDULERS
from mmengine.registry import RUNNERS as MMENGINE_RUNNERS
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import VISBACKENDS as MMENGINE_VISBACKENDS
from mmengine.registry import VISUALIZERS as MMENGINE_VISUALIZERS
from mmengine.registry import WEIGHT_INITIALIZERS as MMENGINE_WEIGHT_INITIALIZERS
from mmengine.registry import Registry

__all__ = [
    'BATCH_AUGMENTS', 'DATASETS', 'DATA_SAMPLERS', 'EVALUATOR', 'FUNCTIONS', 'HOOKS', 'LOG_PROCESSORS', 'LOOPS',
    'METRICS', 'MODELS', 'MODEL_WRAPPERS', 'OPTIMIZERS', 'OPTIM_WRAPPERS', 'OPTIM_WRAPPER_CONSTRUCTORS',
    'PARAM_SCHEDULERS', 'RUNNERS', 'TRANSFORMS', 'VISBACKENDS', 'VISUALIZERS', 'WEIGHT_INITIALIZERS'
]

_SCOPE = 'ftcls'

# Who drives the training: MMEngine's Runner.
RUNNERS = Registry('runner', parent=MMENGINE_RUNNERS, scope=_SCOPE, locations=['ftcls.engine'])
# What one epoch or one validation does.
LOOPS = Registry('loop', parent=MMENGINE_LOOPS, scope=_SCOPE, locations=['ftcls.engine'])
# What happens at fixed points of a run: checkpoints, logging, the preflight, the curves.
HOOKS = Registry('hook', parent=MMENGINE_HOOKS, scope=_SCOPE, locations=['ftcls.engine'])
# How a line of the log is put together.
LOG_PROCESSORS = Registry('log processor', parent=MMENGINE_LOG_PROCESSORS, scope=_SCOPE, locations=['ftcls.engine'])
# All of ``torch.optim``, through MMEngine.
OPTIMIZERS = Registry('optimizer', parent=MMENGINE_OPTIMIZERS, scope=_SCOPE, locations=['ftcls.engine'])
# What stands around the optimizer: accumulation, clipping, half precision.
OPTIM_WRAPPERS = Registry('optim wrapper', parent=MMENGINE_OPTIM_WRAPPERS, scope=_SCOPE, locations=['ftcls.engine'])
# Which parameter gets which learning rate and weight decay.
OPTIM_WRAPPER_CONSTRUCTORS = Registry(
    'optim wrapper constructor', parent=MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS, scope=_SCOPE, locations=['ftcls.engine'])
# How the learning rate changes over time.
PARAM_SCHEDULERS = Registry(
    'parameter scheduler', parent=MMENGINE_PARAM_SCHEDULERS, scope=_SCOPE, locations=['ftcls.engine'])
# Where the pictures and labels come from.
DATASETS = Registry('dataset', parent=MMENGINE_DATASETS, scope=_SCOPE, locations=['ftcls.datasets'])
# In which order they are drawn.
DATA_SAMPLERS = Registry('data sampler', parent=MMENGINE_DATA_SAMPLERS, scope=_SCOPE, locations=['ftcls.datasets'])
# What is done to one sample before it joins a batch.
TRANSFORMS = Registry('transform', parent=MMENGINE_TRANSFORMS, scope=_SCOPE, locations=['ftcls.datasets'])
# Functions named in a config, ``collate_fn`` for one, or a schedule's.
FUNCTIONS = Registry('function', parent=MMENGINE_FUNCTIONS, scope=_SCOPE, locations=['ftcls.datasets', 'ftcls.engine'])
# Classifiers, backbones, necks, heads, losses, data preprocessors.
MODELS = Registry('model', parent=MMENGINE_MODELS, scope=_SCOPE, locations=['ftcls.models'])
# Wrappers for several processes, DistributedDataParallel for one.
MODEL_WRAPPERS = Registry('model wrapper', parent=MMENGINE_MODEL_WRAPPERS, scope=_SCOPE, locations=['ftcls.models'])
# ``init_cfg``: where weights come from before training.
WEIGHT_INITIALIZERS = Registry(
    'weight initializer', parent=MMENGINE_WEIGHT_INITIALIZERS, scope=_SCOPE, locations=['ftcls.models'])
# Augmentations over a whole batch, run on the device by the data preprocessor.
BATCH_AUGMENTS = Registry('batch augment', scope=_SCOPE, locations=['ftcls.models'])
# What a validation measures.
METRICS = Registry('metric', parent=MMENGINE_METRICS, scope=_SCOPE, locations=['ftcls.evaluation'])
# What gathers the metrics.
EVALUATOR = Registry('evaluator', parent=MMENGINE_EVALUATOR, scope=_SCOPE, locations=['ftcls.evaluation'])
# What draws, and where it is written to.
VISUALIZERS = Registry('visualizer', parent=MMENGINE_VISUALIZERS, scope=_SCOPE, locations=['ftcls.visualization'])
VISBACKENDS = Registry('vis_backend', parent=MMENGINE_VISBACKENDS, scope=_SCOPE, locations=['ftcls.visualization'])
