"""From an ``optim_wrapper`` config and a model to an optimizer over the trainable parameters."""
import copy
import inspect
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config
from mmengine.optim import OptimWrapper
from torch import nn

from ftcls.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS
from ftcls.utils import ConfigError, did_you_mean
from ftcls.utils.checkpoint.matching import unwrap_model
from ftcls.utils.log import warn
from .groups import Rules, merge_groups, named_settings

__all__ = ['DefaultOptimWrapperConstructor', 'LearningRateDecayOptimWrapperConstructor']


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class DefaultOptimWrapperConstructor:
    """Build the optimizer wrapper, with learning rate and weight decay by parameter.

    It has the name, and the keys with the meaning, of MMEngine's constructor, whose place it takes in scope ``ftcls``.
    Unlike that one it puts only trainable parameters into the optimizer, merges parameters with equal settings into one
    group, takes regular expressions as custom keys, and refuses keys that match nothing.

    ======================  ============================================================================================
    ``paramwise_cfg`` key   meaning
    ======================  ============================================================================================
    ``custom_keys``         ``{key: dict(lr_mult=…, decay_mult=…, <option of the optimizer>=…)}``. A key is part of a
                            parameter's name, or a regular expression found in it. The longest matching key decides
                            alone (of two, the first in the alphabet); the rules below do not count for its parameters.
    ``norm_decay_mult``     factor of the weight decay of normalisation layers
    ``bias_lr_mult``        factor of the learning rate of biases, not those of normalisation layers
    ``bias_decay_mult``     factor of the weight decay of biases, not those of normalisation layers
    ``dwconv_decay_mult``   factor of the weight decay of depthwise convolutions
    ``flat_decay_mult``     factor of the weight decay of all other one-dimensional parameters
    ``dcn_offset_lr_mult``  factor of the learning rate of the offset layer of deformable convolutions
    ``bypass_duplicate``    a parameter shared under two names with different settings keeps the first name's
                            (False: an error)
    ======================  ============================================================================================

    Each group of the optimizer also has ``name`` (the custom key, the kind, or ``'default'``), ``param_names``,
    ``lr_mult`` and ``decay_mult``.

    Raises:
        ConfigError: If a key is unknown, a custom key matches no parameter, a weight decay is multiplied that is not
            given, or the model has nothing to train.

    Example:
        >>> from torch import nn
        >>> cfg = dict(optimizer=dict(type='SGD', lr=0.1, weight_decay=1e-4))
        >>> build = DefaultOptimWrapperConstructor(cfg, dict(custom_keys={'0': dict(lr_mult=0.1)}))
        >>> wrapper = build(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)))
        >>> [(g['name'], round(g['lr'], 3), g['param_names']) for g in wrapper.optimizer.param_groups]
        [('default', 0.1, ['1.weight', '1.bias']), ('0', 0.01, ['0.weight', '0.bias'])]
    """

    layerwise = False  # Whether the keys that go by the layer are taken.

    def __init__(self,
                 optim_wrapper_cfg: Mapping[str, Any] | Config,
                 paramwise_cfg: Mapping[str, Any] | None = None) -> None:
        if isinstance(optim_wrapper_cfg, Config):
            optim_wrapper_cfg = optim_wrapper_cfg.to_dict()
        for key, value in (('optim_wrapper', optim_wrapper_cfg), ('optim_wrapper.paramwise_cfg', paramwise_cfg or {})):
            if not isinstance(value, Mapping):
                raise ConfigError(f'{key}={value!r}: must be a dict')
        # A deep copy, because MMEngine's OptimWrapper takes keys out of ``clip_grad``.
        self.wrapper_cfg = {'type': 'OptimWrapper', **copy.deepcopy(optim_wrapper_cfg)}
        # Plain dicts: a ConfigDict inside the optimizer would be pickled into the checkpoint.
        self.optimizer_cfg = dict(self.wrapper_cfg.pop('optimizer', None) or {})
        parameters = inspect.signature(_optimizer_class(self.optimizer_cfg.get('type'))).parameters
        self.params_arg, *options = parameters  # Not all optimizers call the first argument ``params``.
        self.base_lr, self.base_wd = self.optimizer_cfg.get('lr'), self.optimizer_cfg.get('weight_decay')
        if 'lr' not in self.optimizer_cfg and 'lr' in parameters and isinstance(parameters['lr'].default, float):
            self.base_lr = parameters['lr'].default
        self.rules = Rules(paramwise_cfg or {}, options, self.layerwise)
        for key, factor, value in (('lr', 'lr', self.base_lr), ('weight_decay', 'decay', self.base_wd)):
            factors = self.rules.multiplied(factor)
            if value is None and factors:
                raise ConfigError(f'{factors[0]} multiplies a value that is not given: optim_wrapper.optimizer.{key}; '
                                  'give it, or remove the factor')

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the wrapper for ``model``, which may be wrapped in DistributedDataParallel."""
        settings, notes = named_settings(unwrap_model(model), self.rules)
        for note in notes:
            warn(note)
        groups = merge_groups(settings, self.base_lr, self.base_wd)
        optimizer = OPTIMIZERS.build({**self.optimizer_cfg, self.params_arg: groups})
        return OPTIM_WRAPPERS.build({**self.wrapper_cfg, 'optimizer': optimizer})


def _optimizer_class(optimizer: Any) -> Any:
    """Return the class that ``optim_wrapper.optimizer.type`` names."""
    if optimizer is None:
        raise ConfigError("optim_wrapper.optimizer must name its type, such as dict(type='SGD', lr=0.01)")
    found = OPTIMIZERS.get(optimizer) if isinstance(optimizer, str) else optimizer
    if found is None:
        hint = did_you_mean(optimizer, [*OPTIMIZERS.module_dict, *OPTIMIZERS.parent.module_dict])
        raise ConfigError(f'optim_wrapper.optimizer.type={optimizer!r}: no such optimizer{hint}')
    return found


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LearningRateDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Give each stage of the backbone a learning rate of its own: the nearer to the image, the smaller.

    It has the name, and ``layer_decay_rate`` with the meaning, of MMPretrain's constructor, and takes every backbone,
    by its ``stages()``. Layer 0 is the stem, layer k the k-th stage, and the neck and the head are the last, layer L.
    In a ViT each block is a stage.

    ====================  ==============================================================================================
    ``paramwise_cfg``     meaning
    ====================  ==============================================================================================
    ``layer_decay_rate``  layer l learns at lr * layer_decay_rate ** (L - l), the head at lr (Clark et al. 2020,
                          `ELECTRA <https://arxiv.org/abs/2003.10555>`_)
    ``lr_mult_range``     (first, last): the stem learns at lr * first, the head at lr * last, the stages between in
                          geometric steps (discriminative rates, Howard and Ruder 2018, `ULMFiT
                          <https://arxiv.org/abs/1801.06146>`_)
    ====================  ==============================================================================================

    The keys of :class:`DefaultOptimWrapperConstructor` are taken too; ``lr_mult`` and ``bias_lr_mult`` multiply what
    the layer gives. (In MMPretrain only ``decay_mult`` has an effect.)

    Example:
        >>> from ftcls.models import ImageClassifier
        >>> head = dict(type='LinearClsHead', num_classes=2, in_channels=120)
        >>> model = ImageClassifier(dict(type='LeNet5'), head=head)
        >>> build = LearningRateDecayOptimWrapperConstructor(
        ...     dict(optimizer=dict(type='SGD', lr=0.8)), dict(layer_decay_rate=0.5))
        >>> [(group['name'], group['lr']) for group in build(model).optimizer.param_groups]
        [('default', 0.8), ('stage0', 0.1), ('stage1', 0.2), ('stage2', 0.4)]
    """

    layerwise = True
