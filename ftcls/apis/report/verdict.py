"""What to think of a run, in sentences; their words are in ``verdict.txt``."""
from collections import Counter
from collections.abc import Mapping
from typing import Any

from ftcls.utils.names import command
from ftcls.visualization.records import metric_directions, metric_names
from .contents import RunContents
from .judging import is_known
from .templates import render_template

__all__ = ['verdict_of']


def verdict_of(run: RunContents, experiment: Mapping[str, Any]) -> list[str]:
    """Return sentences on a run, the most important first.

    Args:
        run: All but its verdict.
        experiment: The ``results.json`` of the comparison that it is a part of; {} if there is none.
    """
    directions = metric_directions(run.records)
    metric = next((name for name in metric_names(run.records) if name in directions), '')
    rounds = [record for record in run.records if record['kind'] == 'val' and record.get(metric) is not None]
    rounds = [dict(record, score=record[metric]) for record in rounds]
    numbers: dict[str, Any] = dict(count=0, metric=metric, is_higher_better=directions.get(metric), rounds=rounds)
    if found := run.predictions:
        known = is_known(found)
        numbers['count'] = int(known.sum())
        if found.labels.ndim == 1:
            wrong = known & (found.labels != found.predicted)
            pairs = Counter(zip(found.labels[wrong].tolist(), found.predicted[wrong].tolist()))
            numbers['confused'] = pairs.most_common(1)
    text = render_template('verdict.txt', run=run, experiment=experiment, command=command, **numbers)
    return list(filter(None, text.splitlines()))
