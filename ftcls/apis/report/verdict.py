"""What to think of a run, in sentences; their words are in ``verdict.txt``."""
from collections import Counter
from collections.abc import Mapping
from typing import Any

from ftcls.utils.names import command, is_percentage
from ftcls.visualization.records import metric_directions, metric_names
from .contents import RunContents
from .judging import is_known
from .templates import render_template

__all__ = ['verdict_of']


def verdict_of(run: RunContents, experiment: Mapping[str, Any]) -> list[str]:
    """Return sentences on a run, the most important first.

    Args:
        run: All but its verdict.
        experiment: The ``results.json`` of the comparison that it is a part of; {} if there is none. With
            ``members``, the contents of its runs, of a cross-validation itself.
    """
    directions = metric_directions(run.records)
    metric = next((name for name in metric_names(run.records) if name in directions), '')
    rounds = [dict(it, score=it[metric]) for it in run.records if it['kind'] == 'val' and it.get(metric) is not None]
    numbers: dict[str, Any] = dict(count=0, metric=metric, is_higher_better=directions.get(metric), rounds=rounds)
    numbers |= dict(command=command, is_percentage=is_percentage)
    if found := run.predictions:
        known = is_known(found)
        numbers['count'] = int(known.sum())
        if found.labels.ndim == 1:
            wrong = known & (found.labels != found.predicted)
            pairs = Counter(zip(found.labels[wrong].tolist(), found.predicted[wrong].tolist()))
            numbers['confused'] = pairs.most_common(1)
    text = render_template('verdict.txt', run=run, experiment=experiment, **numbers)
    return list(filter(None, text.splitlines()))
