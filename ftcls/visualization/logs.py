"""Training logs of ftcls, MMEngine and MMClassification 0.x, read alike; curves of several runs in one figure."""
import os
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from ftcls.utils import ConfigError, DataError, did_you_mean
from ftcls.utils.tree import grouped
from .curves import _COLORS, _draw_arm, _finish_steps, _panels, _save, _scaled
from .records import Record, read_records, series, steps_per_epoch

__all__ = ['iteration_times', 'plot_logs', 'read_log']

_LOGS = '*.log.json', '*/vis_data/scalars.json', 'metrics.jsonl'


def read_log(path: str | os.PathLike) -> list[dict]:
    """Read the log of a run into records as :func:`read_records` gives them, with ``time`` in seconds per iteration.

    Args:
        path: A ``metrics.jsonl``; MMEngine's ``scalars.json``, as mmpretrain writes it too; MMClassification 0.x's
            ``*.log.json``; or a work dir that holds one of them.

    Raises:
        MissingFileError: If there is no log.
        DataError: If it has no record of a training.
    """
    path = Path(path)
    if path.is_dir():
        path = [path / _LOGS[-1], *chain.from_iterable(map(sorted, map(path.glob, _LOGS)))][-1]
    records = [record for record in read_records(path) if 'env_info' not in record]
    is_ours, now = any('kind' in record for record in records), 0.
    for record in records:  # MMClassification 0.x writes a mode; in MMEngine's files training alone has a learning rate
        record.setdefault('kind', record.get('mode') or ('train' if 'lr' in record else 'val'))
    train = [record for record in records if record['kind'] == 'train']
    if not train:
        raise DataError(f'{path} has no record of a training')
    last = train[-1]
    length = last['step'] // last.get('epoch', 1) if 'step' in last else max(record['iter'] for record in train)
    for record in records:
        is_train = record['kind'] == 'train'
        if is_ours:  # seconds since the start, or since the run was resumed
            before, now = now, record['time']
            record['time'] = (now - before * (before < now)) / record.get('iters', 1)
        elif 'mode' in record:  # the iterations are those of the epoch
            record['step'] = record['epoch'] * length + (record['iter'] - length) * is_train
        elif 'epoch' in last and not is_train:  # the step of a validation is its epoch
            record.update(epoch=record['step'], step=record['step'] * length)
    return records


def iteration_times(records: Sequence[Record], include_outliers: bool = False) -> dict[int, float]:
    """Return the mean seconds per iteration in each epoch, without the epoch's first record unless asked for."""
    times = grouped((record.get('epoch', 1), record['time']) for record in records if record['kind'] == 'train')
    first = 0 if include_outliers else 1
    return {epoch: float(np.mean(some[first:] or some)) for epoch, some in times.items()}


def plot_logs(runs: Mapping[str, Sequence[Record]],
              keys: Sequence[str],
              out: str | os.PathLike,
              *,
              legend: Sequence[str] | None = None,
              title: str | None = None,
              size: Sequence[float] | None = None) -> Path:
    """Draw a panel for each key, with a line for each run; long series are smoothed.

    Args:
        runs: Name of each run to its records, see :func:`read_log`.
        keys: For example ``loss``, ``accuracy/top1``, ``lr``; of a key in training and in validation, training.
        out: The file to write, such as .png; its folder is made where it is absent.
        legend: A name for each run and each of its keys, the keys of the first run first.
        title: Stands above the panels.
        size: Width and height in inches.

    Raises:
        ConfigError: If a run does not have a key.
    """
    names = list(legend or [run for run in runs for _ in keys])
    by_epoch = None not in map(steps_per_epoch, runs.values())
    figure, panels = _panels(len(keys), title)
    figure.set_size_inches(size or figure.get_size_inches())
    for column, (axes, key) in enumerate(zip(panels, keys)):
        for row, (run, records) in enumerate(runs.items()):
            points = series(records, 'train', key) or series(records, 'val', key)
            if not points:
                known = sorted(set(chain.from_iterable(records)))
                raise ConfigError(f'--keys {key}: {run} has {", ".join(known)}{did_you_mean(key, known)}')
            name = names[row * len(keys) + column]
            _draw_arm(axes, name, [_scaled(points, records, by_epoch)], _COLORS[row % len(_COLORS)])
        axes.set_title(key)
        _finish_steps(axes, by_epoch)
    return _save(figure, out)
