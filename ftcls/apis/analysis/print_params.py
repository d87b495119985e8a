"""What a config trains, one line a parameter."""
import copy
from collections.abc import Mapping

from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper

from ftcls.apis.training.sanity_checks import config_errors
from ftcls.apis.training.train import check_config
from ftcls.config.resolve import TrainOptions, resolve
from ftcls.engine.parameter_table import ParameterInfo, full_table, parameter_infos
from ftcls.models.freezing import half_frozen
from ftcls.registry import MODELS
from ftcls.utils import ConfigError
from ftcls.utils.checkpoint.loading import load_pretrained

__all__ = ['describe_parameters', 'list_parameters']


def list_parameters(cfg: Config) -> tuple[list[ParameterInfo], list[str]]:
    """Build a config's model and optimizer, load its weights, and tell what becomes of each parameter; no data is needed.

    Args:
        cfg: The config; it is not changed.

    Returns:
        One entry a parameter, in the model's order; and sentences on what is frozen by halves.

    Raises:
        UserError: If anything in the config or the weights is not as it says.
    """
    check_config(cfg, TrainOptions())
    if not cfg.get('optim_wrapper'):
        raise ConfigError('optim_wrapper: missing; the learning rates come from it')
    cfg = resolve(cfg, TrainOptions()).cfg
    settings = {**cfg.model}
    settings.setdefault('data_preprocessor', cfg.get('data_preprocessor'))
    with config_errors('model'):
        model = MODELS.build(settings)
        model.init_weights()
    if cfg.get('load_from'):
        hooks = [
            h for h in cfg.get('custom_hooks') or [] if isinstance(h, Mapping) and h.get('type') == 'SafeCheckpointHook'
        ]
        load_pretrained(model, cfg.load_from, allow_partial=any(h.get('allow_partial') for h in hooks))
    with config_errors('optim_wrapper'):
        optim_wrapper = build_optim_wrapper(model, copy.deepcopy(cfg.optim_wrapper))
    return parameter_infos(model, optim_wrapper), half_frozen(model)


def describe_parameters(cfg: Config) -> str:
    """Return the list as a table, each parameter on one line of any length, and what it comes to.

    Args:
        cfg: The config; it is not changed.

    Raises:
        UserError: If anything in the config or the weights is not as it says.
    """
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel('WARNING')  # of what was loaded, the table tells
    try:
        infos, notes = list_parameters(cfg)
    finally:
        logger.setLevel(level)
    trained = sum(info.count for info in infos if info.trained)
    total = sum(info.count for info in infos)
    lines = [full_table(infos), '', f'{trained:,} of {total:,} parameters are trained']
    return '\n'.join(lines + [f'note: {note}' for note in notes])
