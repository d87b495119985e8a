"""What a run wrote down about itself (``metrics.jsonl``), read and put into series that can be drawn."""
import json
import math
import os
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path

from ftcls.utils import DataError, MissingFileError
from ftcls.utils.names import enumerate_names
from ftcls.utils.tree import grouped

__all__ = [
    'Record', 'Series', 'learning_rates', 'metric_directions', 'metric_names', 'read_records', 'series',
    'steps_per_epoch'
]

Record = Mapping[str, object]
Series = list[tuple[int, float]]  # points of one line: (step, value), in the order of the steps

_BOOKKEEPING = set('kind epoch iter iters step time data_time memory loss lr momentum eta'.split())


def read_records(path: str | os.PathLike) -> list[dict]:
    """Read a ``metrics.jsonl``: one JSON object a line, with ``kind`` 'train' or 'val', ``step`` and values.

    A last line that was cut off, as a stopped run leaves it, is passed over.

    Raises:
        MissingFileError: If there is no such file.
        DataError: If another line is not a JSON object.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f'{path} does not exist; a run writes metrics.jsonl into its work dir')
    lines = path.read_text(encoding='utf-8').splitlines()
    records = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            records.append({**json.loads(line)})
        except (ValueError, TypeError) as err:
            if number < len(lines):
                raise DataError(f'{path}, line {number} is not a JSON object ({err}); delete the line') from None
    return records


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def series(records: Iterable[Record], kind: str, name: str) -> Series:
    """Return the values called ``name`` in the records of one ``kind``, by step.

    Where a run was stopped and resumed, the steps between the last checkpoint and the stop were done twice; the second
    time counts, and what was written the first time is dropped.
    """
    points: Series = []
    for record in records:
        value = record.get(name)
        if record.get('kind') != kind or not _is_number(value):
            continue
        step = int(record.get('step', 0))
        while points and points[-1][0] >= step:
            points.pop()
        points.append((step, float(value)))
    return points


def metric_names(records: Iterable[Record]) -> list[str]:
    """Return the names of the validation metrics other than the loss, in the order of their appearance."""
    items = chain.from_iterable(record.items() for record in records if record.get('kind') == 'val')
    return list(dict.fromkeys(name for name, value in items if name not in _BOOKKEEPING and _is_number(value)))


def metric_directions(records: Iterable[Record]) -> dict[str, bool]:
    """Return, of the metrics that state it, whether more of it is better."""
    return dict(chain.from_iterable(record.get('higher_is_better', {}).items() for record in records))


def learning_rates(records: Iterable[Record]) -> dict[str, Series]:
    """Return one series for each distinct course of a learning rate, named by the groups that follow it.

    ``lr`` is the rate of the first parameter group, ``lr/<group>`` that of a group; groups that are not named have the
    first one's. The rate of an iteration stands at the number of iterations before it, as in :func:`.plot_schedule`.
    """
    records = [record for record in records if record.get('kind') == 'train']
    names = {name: None for record in records for name in record if name == 'lr' or name.startswith('lr/')}
    groups = grouped((tuple(_course(records, name)), name.partition('/')[2]) for name in names)
    groups.pop((), None)
    unnamed = 'all parameters' if len(groups) == 1 else 'the others'
    return {enumerate_names(filter(None, some), most=3) or unnamed: list(points) for points, some in groups.items()}


def _course(records: Iterable[Record], name: str) -> Series:
    points: list[tuple[int, object]] = []
    for record in records:
        step, iters = int(record.get('step', 0)), record.get('iters', 1)
        rates = record.get('lr_course', {}).get(name, [record.get(name)] * 2)
        points += zip(range(step - iters, step, max(1, (iters - 1) // (len(rates) - 1))), rates)
    course = series((dict(kind='train', step=at, lr=rate) for at, rate in points), 'train', 'lr')
    return course + [(at + 1, rate) for at, rate in course[-1:]]  # it holds to the end of the last iteration


def steps_per_epoch(records: Iterable[Record]) -> float | None:
    """Return how many steps an epoch has, from the records of the validations, which stand at the end of epochs.

    None where there are none, or where validations do not fall on the ends of epochs of one length.
    """
    known = [one for one in records if one.get('kind') == 'val' and one.get('epoch') and one.get('step')]
    ratios = [one['step'] / one['epoch'] for one in known]
    if not ratios or any(not math.isclose(ratio, ratios[0], rel_tol=1e-6) for ratio in ratios):
        return None
    return ratios[0]
