"""``class_weight='balanced'`` of a loss: the numbers, from the training set's counts."""
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log

from ftcls.utils import ConfigError
from .loaders import DataReport, shorten

__all__ = ['balanced_weights', 'drop_class_weights', 'resolve_class_weights']

_BALANCED = 'balanced'


def balanced_weights(counts: Mapping[str, int]) -> dict[str, float]:
    """Return n / (K n_c) of each class: all classes then count alike, and a sample 1 on average.

    Classes without a sample do not count to the K; their own weight, which nothing meets, is 1.

    Example:
        >>> balanced_weights(dict(ant=30, bee=10))
        {'ant': 0.6667, 'bee': 2.0}
    """
    present = [count for count in counts.values() if count]
    return {name: round(sum(present) / (len(present) * n), 4) if n else 1. for name, n in counts.items()}


def resolve_class_weights(cfg: Config, report: DataReport) -> list[str]:
    """Put the numbers in place of every ``class_weight='balanced'`` in ``cfg.model``.

    Args:
        cfg: The config, changed in place, so that what is saved of it needs no training set.
        report: What the training set holds.

    Returns:
        What the preflight says of it.

    Raises:
        ConfigError: If the training set has no counts of its classes.
    """
    places = list(_places(cfg.model, 'model'))
    if not places:
        return []
    counts = report.counts.get('train')
    if not counts:
        raise ConfigError(
            f"{places[0][1]}.class_weight='balanced': the training set does not tell how many samples each class "
            'has; give a list of weights, one a class')
    weights = balanced_weights(counts)
    for owner, _ in places:
        owner['class_weight'] = list(weights.values())
    shown = shorten([f'{name} {weight:.3g}' for name, weight in weights.items()])
    lines = [f'class_weight of {", ".join(path for _, path in places)}: {shown} (balanced)']
    if 'BalancedSampler' in report.sampled.get('train', ''):
        lines.append('NOTE: the sampler balances the classes, and the weights do so once more')
    return lines


def drop_class_weights(cfg: Config) -> None:
    """Take every ``class_weight='balanced'`` out of ``cfg.model``, changed in place, where nothing is trained; the log says so."""
    for owner, path in _places(cfg.model, 'model'):
        owner['class_weight'] = None
        print_log(f"{path}.class_weight='balanced' weighs the classes of a training set; the loss here is not weighted (the "
                  'config in the work dir has the numbers)', logger='current')  # yapf: disable


def _places(node: Any, path: str) -> Iterator[tuple[dict, str]]:
    """Yield the dicts that ask for balanced weights, and where they stand."""
    if isinstance(node, Mapping):
        if node.get('class_weight') == _BALANCED:
            yield node, path
        for key, child in node.items():
            yield from _places(child, f'{path}.{key}')
    elif isinstance(node, list | tuple):
        for number, child in enumerate(node):
            yield from _places(child, f'{path}.{number}')
