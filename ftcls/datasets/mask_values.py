"""What the masks of a dataset hold, and whether that fits what they are said to mean."""
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import cv2
import numpy as np

from ftcls.utils.tree import as_list
from .transforms.mask_loading import COLOUR, MaskCoding, codes

__all__ = ['MaskValues', 'count_values']

_MOST_VALUES = 70_000  # 16 bits have fewer; with more, counting stops
_FEW = 8  # soft edges leave more values than this
_LOSSY = ('.jpg', '.jpeg')


@dataclass
class MaskValues:
    """The pixels of the masks of a split, counted.

    Attributes:
        coding: What the values mean.
        pixels: Number of pixels by value.
        kinds: Number of pixels that are background (0), foreground (1) or ignored (255).
        example: A mask with each value.
    """
    coding: MaskCoding
    pixels: Counter = field(default_factory=Counter)
    kinds: Counter = field(default_factory=Counter)
    example: dict[float, str] = field(default_factory=dict)

    def add(self, path: str, values: np.ndarray, counts: np.ndarray) -> None:
        """Add the values of a mask, (V, ), and how often each occurs."""
        for value, kind, count in zip(values.tolist(), self.coding.binary(values), counts):
            self.pixels[value] += int(count)
            self.kinds[int(kind)] += int(count)
            self.example.setdefault(value, path)

    def describe(self) -> str:
        """Return the values, their shares and what they count as, for the preflight."""
        ignored = self.kinds[255] / self.pixels.total()
        text = f'{self._held()}; foreground {_percent(self._share())}, ignored {_percent(ignored)}'
        for name in ('foreground', 'ignore_value'):
            for value in as_list(getattr(self.coding, name)):
                if value not in (None, 'nonzero') and not any(code in self.pixels for code in codes(value)):
                    text += f'; {name}={value!r} never occurs'
        return text

    def fault(self) -> str | None:
        """Return why the coding does not fit the values, and the setting that would; None if it fits."""
        foreground, threshold = self.coding.foreground, self.coding.threshold
        counted = sorted(value for value in self.pixels if self._kind(value) != 255)
        is_open = threshold is None
        if is_open and self._is_soft(counted):
            remedy = self._threshold(counted)
        elif is_open and foreground == 'nonzero' and len(counted) > 2:
            remedy = self._choices(counted)
        elif 0 < self._share() < 1:
            return None
        elif len(counted) < 2:
            remedy = 'are these the right masks? See mask_dir and mask_name'
        elif is_open:
            remedy = f'set foreground={_show(min(counted, key=self.pixels.get))}, or another of these values'
        else:
            remedy = f'set threshold={_middle(counted):g}'
        setting = f'foreground={foreground!r}' if is_open else f'threshold={threshold:g}'
        return f'{setting} takes {_percent(self._share())} of the pixels: the masks hold {self._held()}; {remedy}'

    def _share(self) -> float:
        """Return the share of foreground among the pixels that count."""
        return self.kinds[1] / max(self.kinds[0] + self.kinds[1], 1)

    def _kind(self, value: float) -> int:
        return int(self.coding.binary(np.array([value]))[0])

    def _is_soft(self, counted: list[float]) -> bool:
        """Tell whether values lie between two others, as lossy compression or resizing leaves them."""
        if len(counted) <= 2 or counted[-1] >= COLOUR:
            return len(counted) > 256
        extremes = {counted[0], counted[-1]}
        is_edge = extremes == {*sorted(counted, key=self.pixels.get)[-2:]} and 1 in map(self._kind, extremes)
        is_lossy = any(value % 1 or self.example[value].lower().endswith(_LOSSY) for value in counted)
        return is_lossy or (is_edge and len(counted) > _FEW and counted[-1] - counted[0] > 64)

    def _threshold(self, counted: list[float]) -> str:
        """Return the setting for soft or lossy masks."""
        if counted[-1] >= COLOUR:
            return 'set threshold=127 if JPEG or resizing has left so many; if these are no masks, correct mask_dir'
        middle = _middle(counted)
        above = sum(self.pixels[value] for value in counted if value > middle) / (self.kinds[0] + self.kinds[1])
        other = '' if self.coding.foreground == 'nonzero' else " (foreground='nonzero'), or the others (0)"
        return (f'JPEG or resizing leaves such values, for example in {self.example[counted[1]]}: set '
                f'threshold={middle:g} to take the {_percent(above)} above it{other}')

    def _choices(self, counted: list[float]) -> str:
        """Return the settings for masks of several values."""
        taken = [value for value in counted if self._kind(value) == 1]
        commonest, rarest = max(taken, key=self.pixels.get), min(counted, key=self.pixels.get)
        together = f'foreground=[{", ".join(map(_show, taken))}]' if len(taken) <= _FEW else 'threshold=0'
        return (
            f'set foreground={_show(commonest)} for one of them, {together} for all, '
            f'ignore_value={_show(rarest)} if that does not count (it is in {self.example[rarest]}), or a threshold '
            'for soft edges')

    def _held(self) -> str:
        """Return the values with their shares; of many, the most frequent ones."""
        values, more = sorted(self.pixels), ''
        if len(values) > _FEW:
            values = sorted(values, key=self.pixels.get)[:-4:-1]
            more = f' and {len(self.pixels) - len(values):,} more values'
        return ', '.join(f'{_show(one)} ({_percent(self.pixels[one] / self.pixels.total())})' for one in values) + more


def count_values(paths: Iterable[str], coding: MaskCoding) -> MaskValues:
    """Read masks and count their values.

    Raises:
        DataError: If one cannot be read.
    """
    values = MaskValues(coding)
    with ThreadPoolExecutor() as pool:
        for tally in pool.map(partial(_tally, coding), paths):
            values.add(*tally)
            if len(values.pixels) > _MOST_VALUES:
                pool.shutdown(cancel_futures=True)
                break
    return values


def _tally(coding: MaskCoding, path: str) -> tuple[str, np.ndarray, np.ndarray]:
    """Return the path, the values of a mask and how often each occurs."""
    stored = coding.read(path)
    if stored.dtype != np.uint8:
        return path, *np.unique(stored, return_counts=True)
    counts = cv2.calcHist([stored], [0], None, [256], [0, 256]).ravel()
    values = np.flatnonzero(counts)
    return path, values, counts[values]


def _middle(values: list[float]) -> float:
    middle = (values[0] + values[-1]) / 2
    return middle if values[-1] <= 1 else int(middle)


def _percent(share: float) -> str:
    return '< 0.1 %' if 0 < share < 0.001 else f'{100 * share:.1f} %'.replace('.0 %', ' %')


def _show(value: float) -> str:
    return f"'#{value - COLOUR:06x}'" if value >= COLOUR else f'{value:g}'
