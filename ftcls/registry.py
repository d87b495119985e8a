"""The registries that a config's ``type`` names are looked up in.

Each one is a child, in scope ``ftcls``, of MMEngine's registry of the same purpose: a name is searched here first, then
in MMEngine. Its locations are imported on the first look-up, so that importing ``ftcls.registry`` stays cheap. This
module imports MMEngine only, because MMEngine swallows an ``ImportError`` raised here.
"""
import re
from importlib import import_module
from typing import Any

from mmengine import registry as mmengine
from mmengine.registry import RUNNER_CONSTRUCTORS, TASK_UTILS

__all__ = [
    'PEERS', 'BATCH_AUGMENTS', 'BATCH_TRANSFORMS', 'DATASETS', 'DATA_SAMPLERS', 'EVALUATOR', 'EVALUATORS', 'FUNCTIONS',
    'HOOKS', 'LOG_PROCESSORS', 'LOOPS', 'METRICS', 'MODELS', 'MODEL_WRAPPERS', 'OPTIMIZERS', 'OPTIM_WRAPPERS',
    'OPTIM_WRAPPER_CONSTRUCTORS', 'PARAM_SCHEDULERS', 'RUNNERS', 'RUNNER_CONSTRUCTORS', 'Registry', 'TASK_UTILS',
    'TRANSFORMS', 'VISBACKENDS', 'VISUALIZERS', 'WEIGHT_INITIALIZERS'
]

PEERS = ('mmpretrain', 'mmcls')  # packages whose scope in a config means ftcls


class Registry(mmengine.Registry):
    """A registry of scope ``ftcls`` that checks the arguments of what it builds against their annotations.

    Args:
        name: What it holds.
        parent: MMEngine's registry, which is searched next; its build function is kept.
        locations: Modules that register their classes here.
        given: Arguments that the calling code adds, so that a config need not give them.
        taken: Keys that the calling code reads itself, so that a class need not take them.
        fallback: Module that is slow to import: it registers the names that are not found in the others.
    """

    def __init__(self,
                 name: str,
                 parent: mmengine.Registry | None,
                 *locations: str,
                 given: tuple[str, ...] = (),
                 taken: tuple[str, ...] = (),
                 fallback: str | None = None) -> None:
        super().__init__(name, parent=parent, scope='ftcls', locations=list(locations))
        self.given, self.taken, self.fallback = given, taken, fallback

    def get(self, key: Any) -> Any:
        """Return the class or function of a name, None if there is none; what is no name is returned as it is."""
        if not isinstance(key, str):
            return key
        key = re.sub(rf'^({"|".join(PEERS)})\.(?=\w+$)', '', key)
        found = super().get(key)
        if found is None and self.fallback is not None:
            import_module(self.fallback)
            found = super().get(key)
        return found

    def build(self, cfg: Any, **kwargs: Any) -> Any:
        """Build what ``cfg['type']`` names.

        Raises:
            ConfigError: If there is no such name, or an argument is unknown, has the wrong type or is out of bounds.
        """
        # imported late, since MMEngine would swallow an ImportError of this module
        from ftcls.utils import ConfigError, did_you_mean
        from ftcls.utils.arguments import check_arguments
        from ftcls.utils.tree import as_list
        for one in as_list(cfg):
            if not isinstance(one, dict):
                continue
            given = {**(kwargs.get('default_args') or {}), **one}
            given.pop('_scope_', None)
            name = given.pop('type', None)
            component = self.get(name)
            if component is not None:
                check_arguments(component, given, getattr(name, '__name__', name), self.taken)
            elif isinstance(name, str) and '_scope_' not in one:
                raise ConfigError(f'{name!r} is not a registered {self.name}{did_you_mean(name, self.module_dict)}')
        return super().build(cfg, **kwargs)


# What drives the training: MMEngine's Runner.
RUNNERS = Registry('runner', mmengine.RUNNERS, 'ftcls.engine')
# What one epoch or one validation does.
LOOPS = Registry('loop', mmengine.LOOPS, 'ftcls.engine', given=('runner', 'dataloader', 'evaluator'))
# What happens at fixed points of a run: checkpoints, logging, the preflight, the curves.
HOOKS = Registry('hook', mmengine.HOOKS, 'ftcls.engine', taken=('priority', ))
# How a line of the log is put together.
LOG_PROCESSORS = Registry('log processor', mmengine.LOG_PROCESSORS, 'ftcls.engine')
# All of ``torch.optim``, through MMEngine, and Lamb.
OPTIMIZERS = Registry('optimizer', mmengine.OPTIMIZERS, 'ftcls.engine', given=('params', ))
# What surrounds the optimizer: accumulation, clipping, half precision.
OPTIM_WRAPPERS = Registry(
    'optim wrapper', mmengine.OPTIM_WRAPPERS, 'ftcls.engine', taken=('paramwise_cfg', 'constructor'))
# Which parameter gets which learning rate and weight decay.
OPTIM_WRAPPER_CONSTRUCTORS = Registry('optim wrapper constructor', mmengine.OPTIM_WRAPPER_CONSTRUCTORS, 'ftcls.engine')
# How the learning rate changes over time.
PARAM_SCHEDULERS = Registry(
    'parameter scheduler',
    mmengine.PARAM_SCHEDULERS,
    'ftcls.engine',
    given=('optimizer', 'param_name'),
    taken=('convert_to_iter_based', 'epoch_length'))
# Where the images and labels come from.
DATASETS = Registry('dataset', mmengine.DATASETS, 'ftcls.datasets')
# In which order they are drawn.
DATA_SAMPLERS = Registry(
    'data sampler', mmengine.DATA_SAMPLERS, 'ftcls.datasets', given=('dataset', 'seed', 'sampler', 'batch_size'))
# What is done to one sample before it joins a batch.
TRANSFORMS = Registry(
    'transform', mmengine.TRANSFORMS, 'ftcls.datasets', fallback='ftcls.datasets.transforms.torchvision_wrapper')
# Functions named in a config, for example ``collate_fn`` or the function of a schedule.
FUNCTIONS = Registry('function', mmengine.FUNCTIONS, 'ftcls.datasets', 'ftcls.engine')
# Classifiers, backbones, necks, heads, losses, data preprocessors, averaged models.
MODELS = Registry('model', mmengine.MODELS, 'ftcls.models', given=('module', ))
build_model = MODELS.build
# Wrappers for several processes, for example DistributedDataParallel.
MODEL_WRAPPERS = Registry('model wrapper', mmengine.MODEL_WRAPPERS, 'ftcls.models', given=('module', ))
# ``init_cfg``: where weights come from before training.
WEIGHT_INITIALIZERS = Registry('weight initializer', mmengine.WEIGHT_INITIALIZERS, 'ftcls.models', taken=('override', ))
# Augmentations over a whole batch, run on the device by the data preprocessor.
BATCH_AUGMENTS = Registry('batch augment', None, 'ftcls.models')
# What the data preprocessor does to the pixels of a batch, in order; the last one may mix images.
BATCH_TRANSFORMS = Registry('batch transform', None, 'ftcls.models', 'ftcls.datasets')
# What a validation measures.
METRICS = Registry('metric', mmengine.METRICS, 'ftcls.evaluation')
# What gathers the metrics.
EVALUATOR = Registry('evaluator', mmengine.EVALUATOR, 'ftcls.evaluation')
EVALUATORS = EVALUATOR
# What draws, and where it is written to.
VISUALIZERS = Registry(
    'visualizer', mmengine.VISUALIZERS, 'ftcls.visualization', given=('name', 'save_dir', 'vis_backends'))
VISBACKENDS = Registry('vis_backend', mmengine.VISBACKENDS, 'ftcls.visualization', given=('save_dir', ))
