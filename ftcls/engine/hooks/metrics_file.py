"""``metrics.jsonl``: one JSON object a line, kept whole over stops and resumes."""
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ftcls.visualization import read_records

__all__ = ['MetricsFile', 'to_json']

# A confusion matrix of 31 classes still fits; longer values would swell the file at every validation.
MOST_NUMBERS = 1000


def to_json(value: Any) -> Any:
    """Return ``value`` as JSON can hold it: tensors and arrays as (lists of) numbers, NaN and infinity as None.

    Raises:
        TypeError: If it is of a kind that has no such form, or holds more than 1,000 numbers.
    """
    if isinstance(value, (torch.Tensor, np.ndarray)):
        size = value.numel() if isinstance(value, torch.Tensor) else value.size
        if size > MOST_NUMBERS:
            raise TypeError(f'{size} numbers are more than {MOST_NUMBERS}')
        return to_json(value.tolist())
    if isinstance(value, np.generic):
        return to_json(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, (list, tuple)):
        if len(value) > MOST_NUMBERS:
            raise TypeError(f'{len(value)} entries are more than {MOST_NUMBERS}')
        return [to_json(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    raise TypeError(f'{type(value).__name__} has no form in JSON')


class MetricsFile:
    """A file of records that a run appends to.

    Args:
        path: The file.

    Example:
        >>> import tempfile
        >>> file = MetricsFile(Path(tempfile.mkdtemp()) / 'metrics.jsonl')
        >>> file.append(dict(kind='train', step=1, loss=float('nan')))
        >>> file.path.read_text()
        '{"kind": "train", "step": 1, "loss": null}\\n'
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)

    def start_afresh(self) -> Path | None:
        """Make way for a new run; return where an earlier run's records were moved, ``metrics.jsonl.1`` or so."""
        if not self.path.exists() or not self.path.stat().st_size:
            return None
        number = 1
        while (kept := self.path.with_name(f'{self.path.name}.{number}')).exists():
            number += 1
        os.replace(self.path, kept)
        return kept

    def cut_after(self, step: int) -> int:
        """Drop the records past global iteration ``step``, as a run resumed there makes them anew; return how many.

        A line that was cut off when the run was killed goes too. The file is replaced in one go, so that a crash leaves the
        old or the new one.

        Raises:
            DataError: If another line is not a record.
        """
        if not self.path.exists():
            return 0
        lines = self.path.read_text(encoding='utf-8').splitlines()
        kept = [record for record in read_records(self.path) if record.get('step', 0) <= step]
        draft = self.path.with_name(f'{self.path.name}.draft')
        draft.write_text(''.join(json.dumps(record) + '\n' for record in kept), encoding='utf-8')
        os.replace(draft, self.path)
        return len(lines) - len(kept)

    def append(self, record: Mapping[str, Any]) -> None:
        """Add one record as one line.

        Raises:
            TypeError: If a value has no form in JSON.
        """
        line = json.dumps(to_json(record), allow_nan=False)
        with self.path.open('a', encoding='utf-8') as file:
            file.write(line + '\n')
