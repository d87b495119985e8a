"""What a config trains, one line per parameter."""
import copy
from collections.abc import Mapping

from mmengine.config import Config
from mmengine.optim import build_optim_wrapper

from ftcls.apis.inference.model_zoo import build_model
from ftcls.apis.training.sanity_checks import config_errors
from ftcls.apis.training.train import check_config
from ftcls.config.resolve import TrainOptions, resolve
from ftcls.engine.mmengine_compat import log_level
from ftcls.engine.parameter_table import ParameterInfo, full_table, parameter_infos
from ftcls.models.freezing import half_frozen
from ftcls.utils.checkpoint.loading import load_pretrained

__all__ = ['describe_parameters', 'list_parameters']


def list_parameters(cfg: Config) -> tuple[list[ParameterInfo], list[str]]:
    """Build a config's model and optimizer, load its weights, and describe each parameter; no data is needed.

    Returns:
        One entry per parameter, in the model's order; and sentences on layers that are partly frozen.
    """
    options = TrainOptions()
    cfg = resolve(check_config(cfg, options, 'optim_wrapper', 'the learning rates come from it'), options).cfg
    with config_errors('model'):
        model = build_model(cfg)
        model.init_weights()
    if cfg.get('load_from'):
        partial = any(hook.get('allow_partial') for hook in cfg.custom_hooks if isinstance(hook, Mapping))
        load_pretrained(model, cfg.load_from, allow_partial=partial)
    with config_errors('optim_wrapper'):
        optim_wrapper = build_optim_wrapper(model, copy.deepcopy(cfg.optim_wrapper))
    return parameter_infos(model, optim_wrapper), half_frozen(model)


def describe_parameters(cfg: Config) -> str:
    """Return :func:`list_parameters` as a table, with the number of trained parameters."""
    with log_level('WARNING'):  # the table shows what was loaded
        infos, notes = list_parameters(cfg)
    return '\n'.join([full_table(infos), *(f'note: {note}' for note in notes)])
