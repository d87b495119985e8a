"""Whether more of a metric's result is better: stated by the metric's class and nowhere else."""
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from mmengine.evaluator import BaseMetric

from ftcls.registry import METRICS
from ftcls.utils import ConfigError

__all__ = ['higher_is_better', 'resolve_rule']

Rule = Literal['greater', 'less']


def higher_is_better(name: str, metrics: Iterable[BaseMetric | Mapping]) -> bool | None:
    """Tell whether more of a validation result is better.

    Args:
        name: The result's full name, for example ``'accuracy/top1'`` or ``'loss'``.
        metrics: The evaluator's metrics, or their config dicts. Each class states ``higher_is_better``: a bool, or a
            dict from the names of its results (or their beginnings, before ``_``) to bools.

    Returns:
        None where no class says it, or where two of them disagree.

    Example:
        >>> higher_is_better('accuracy/top5', [dict(type='Accuracy', topk=5)])
        True
    """
    stated = [value for prefix, cls in _prefixes_and_classes(metrics) for value in _statements(name, prefix, cls)]
    longest = max((length for length, _ in stated), default=0)  # a metric without a prefix may give any name
    answers = {answer for length, answer in stated if length == longest}
    return answers.pop() if len(answers) == 1 else None


def _prefixes_and_classes(metrics: Iterable[BaseMetric | Mapping]) -> Iterator[tuple[str, type]]:
    for metric in metrics:
        if isinstance(metric, BaseMetric):
            yield metric.prefix or '', type(metric)
            continue
        cls = METRICS.get(metric['type'])
        yield metric.get('prefix') or getattr(cls, 'default_prefix', None) or '', cls


def _statements(name: str, prefix: str, cls: type) -> Iterator[tuple[int, bool]]:
    """Yield what a class says of a result, with the number of letters of the name that the class knows."""
    stated = getattr(cls, 'higher_is_better', None)
    if prefix and not name.startswith(f'{prefix}/'):
        return
    own = name.removeprefix(f'{prefix}/')
    if isinstance(stated, bool):
        yield len(prefix), stated
    elif stated is not None:
        for result, answer in stated.items():
            if own == result or own.startswith(f'{result}_'):
                yield len(prefix) + len(result), answer


def resolve_rule(where: str, rule: str | None, name: str, metrics: Iterable[BaseMetric | Mapping]) -> Rule:
    """Return 'greater' or 'less', by which the better of two values of a result is told.

    Args:
        where: What asks for it, for the message: ``'CheckpointHook'``.
        rule: What the config says; None takes what the metric's class states.
        name: The result's full name.
        metrics: The evaluator's metrics.

    Raises:
        ConfigError: If ``rule`` contradicts the metric's class, or neither says it.
    """
    higher = higher_is_better(name, metrics)
    if higher is None and rule is None:
        raise ConfigError(f'{where}: is more or less of {name!r} better? State `higher_is_better` on the class of that '
                          "metric, or set rule='greater' or rule='less'")
    if higher is None:
        return rule
    known, better = {True: ('greater', 'larger'), False: ('less', 'smaller')}[higher]
    if rule not in (None, known):
        raise ConfigError(f'{where}.rule={rule!r}: the {better} {name!r} is the better one; leave rule out')
    return known
