"""Another number of epochs, and with it all that counts them."""
import copy
import itertools
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

from ftcls.engine.mmengine_compat import ENDLESS
from ftcls.utils import ConfigError
from ftcls.utils.tree import as_list, differences

__all__ = ['set_epochs', 'stretched']

# Settings of loops, schedules and gradual unfreezing that count epochs or iterations.
_COUNTS = ('max_iters', 'val_begin', 'val_interval', 'begin', 'end', 'T_max', 'step_size', 'total_steps', 'milestones',
           'periods', 'every', 'schedule')


def set_epochs(cfg: Config, epochs: int | None, option: str = '--epochs') -> list[str]:
    """Set the number of epochs, and stretch alike what counts epochs: schedules, gradual unfreezing.

    Args:
        cfg: Is changed in place.
        epochs: The new number; None keeps all.
        option: How messages call it. ``--epochs`` also stretches the schedules that count iterations.

    Returns:
        What was changed, as ``--epochs: param_scheduler.0.end 5 -> 2``.

    Raises:
        ConfigError: If the number is not positive, or the training does not count epochs.
    """
    if epochs is None:
        return []
    if epochs < 1:
        raise ConfigError(f'{option} {epochs}: must be at least 1')
    if cfg.train_cfg.get('max_epochs') is None:
        raise ConfigError(f'{option}: counts epochs, and train_cfg.max_epochs is not set')
    before, factor = copy.deepcopy(cfg._cfg_dict), epochs / cfg.train_cfg.max_epochs
    cfg.train_cfg.max_epochs = epochs
    hooks = [hook for hook in cfg.get('custom_hooks') or [] if hook.get('type') == 'GradualUnfreezingHook']
    for part in hooks + as_list(cfg.get('param_scheduler') or []):
        by_epoch = part.get('by_epoch', True)
        if option == '--epochs' or by_epoch:
            part.update(stretched(part, factor))
            begin = part.get('begin', 0)
            # MMEngine ends a schedule without `end` with the training; one for which no epoch is left is not reached
            if begin >= part.get('end', epochs) and (by_epoch or 'end' in part):
                part.end = begin + 1
    return [f'{option}: {path} {old} -> {new}' for path, old, new in differences(before, cfg._cfg_dict)]


def stretched(settings: Mapping[str, Any], factor: float) -> dict[str, Any]:
    """Return the counts in the settings of a schedule, hook or loop, multiplied; spans still end where others begin."""
    new = {key: _times(settings[key], factor) for key in _COUNTS if settings.get(key)}
    for key in {'T_max', 'periods'} & new.keys():
        bounds = itertools.accumulate(as_list(settings[key]), initial=settings.get('begin', 0))
        spans = [max(1, end - begin) for begin, end in itertools.pairwise(_times(list(bounds), factor))]
        new[key] = spans if key == 'periods' else spans[0]
    return new


def _times(value: Any, factor: float) -> Any:
    """Multiply the numbers in a setting, those that are keys included."""
    if isinstance(value, list | tuple):
        return [_times(one, factor) for one in value]
    if isinstance(value, Mapping):
        return {_times(key, factor): _times(one, factor) for key, one in value.items()}
    if isinstance(value, int) and 0 < value < ENDLESS:
        return max(1, round(value * factor))
    return value
