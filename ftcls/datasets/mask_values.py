"""What the masks of a dataset hold, and whether that fits what they are said to mean."""
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ftcls.utils.names import enumerate_names
from ftcls.utils.tree import as_list
from .transforms.mask_loading import COLOUR, MaskCoding, codes

__all__ = ['MaskValues', 'count_values']

_MOST_VALUES = 70_000  # 16 bits have fewer; with more, counting stops
_LOSSY = ('.jpg', '.jpeg')


@dataclass
class MaskValues:
    """The pixels of the masks of a split, counted.

    Attributes:
        coding: What the values mean.
        pixels: Number of pixels by value.
        example: A mask with each value.
        kind: Background (0), foreground (1) or ignored (255), by value.
        kinds: Number of pixels by kind.
    """
    coding: MaskCoding
    pixels: Counter
    example: dict[float, str]

    def __post_init__(self) -> None:
        self.kind = dict(zip(self.pixels, self.coding.binary(np.array([*self.pixels])).tolist()))
        self.kinds: Counter = Counter()
        for value, count in self.pixels.items():
            self.kinds[self.kind[value]] += count

    def describe(self) -> str:
        """Return the values, their shares and what they count as, for the preflight."""
        ignored = self.kinds[255] / self.pixels.total()
        text = f'{self._held()}; foreground {_percent(self._share())}, ignored {_percent(ignored)}'
        for name in ('foreground', 'ignore_value'):
            for value in as_list(getattr(self.coding, name)):
                if value not in (None, 'nonzero') and not self.pixels.keys() & codes(value):
                    text += f'; {name}={value!r} never occurs'
        return text

    def fault(self) -> str | None:
        """Return why the coding does not fit the values, and the setting that would; None if it fits."""
        foreground, threshold = self.coding.foreground, self.coding.threshold
        counted = sorted(value for value, kind in self.kind.items() if kind != 255)
        setting, remedy = f'foreground={foreground!r}', ''
        if threshold is not None:
            setting = f'threshold={threshold:g}'
        elif self._is_soft(counted):
            remedy = f"set threshold={_middle(counted):g} (with foreground='nonzero' or 0) if JPEG or resizing left " \
                f'such values, as in {self.example[counted[1]]}, or correct mask_dir if these are no masks'
        elif foreground == 'nonzero' and len(counted) > 2:
            void = min(counted, key=self.pixels.get)
            if counted[-2] < 64 < counted[-1]:  # classes count from 0, the void is 255
                void = counted[-1]
            commonest = max({value for value in counted if self.kind[value]} - {void}, key=self.pixels.get)
            remedy = f'set foreground={_show(commonest)} (or a list of several), ignore_value={_show(void)} if that ' \
                f'does not count (it is in {self.example[void]}), or a threshold for soft edges'
        if not remedy and 0 < self._share() < 1:
            return None
        if len(counted) < 2:
            remedy = 'are these the right masks (mask_dir, mask_name)? check=False accepts them'
        elif threshold is not None:
            remedy = f'set threshold={_middle(counted):g}'
        elif not remedy:
            remedy = f'set foreground={_show(min(counted, key=self.pixels.get))}, or another of these values'
        return f'{setting} takes {_percent(self._share())} of the pixels: the masks hold {self._held()}; {remedy}'

    def _share(self) -> float:
        """Return the share of foreground among the pixels that count."""
        return self.kinds[1] / max(self.kinds[0] + self.kinds[1], 1)

    def _is_soft(self, counted: list[float]) -> bool:
        """Tell whether values lie between two others, as lossy compression or resizing leaves them."""
        if len(counted) <= 2 or counted[-1] >= COLOUR:
            return len(counted) > 256
        if any(value % 1 or self.example[value].lower().endswith(_LOSSY) for value in counted):
            return True
        low, high = counted[0], counted[-1]  # crowded at the top, where a void or the last class would be one value
        edge = (high - low) / 8
        top = sum(self.pixels[value] for value in counted if value > high - edge)
        middle = sum(self.pixels[value] for value in counted if low + edge < value <= high - edge)
        is_crowded = high - counted[-2] < edge / 4 and 2 * top > middle
        return is_crowded and edge > 8 and 1 in (self.kind[low], self.kind[high])

    def _held(self) -> str:
        """Return the most frequent values with their shares."""
        ordered = self.pixels.most_common()
        ordered = sorted(ordered[:5]) + ordered[5:]
        return enumerate_names((f'{_show(one)} ({_percent(count / self.pixels.total())})' for one, count in ordered), 5)


def count_values(paths: Iterable[str], coding: MaskCoding) -> MaskValues:
    """Read masks and count their values.

    Raises:
        DataError: If one cannot be read.
    """
    pixels: Counter = Counter()
    example: dict[float, str] = {}
    for path in paths:
        stored = coding.read(path)
        if stored.dtype == np.uint8:
            found = {value: count for value, count in enumerate(np.bincount(stored.ravel()).tolist()) if count}
        else:
            found = dict(zip(*(array.tolist() for array in np.unique(stored, return_counts=True))))
        pixels.update(found)
        example = dict.fromkeys(found, path) | example
        if len(pixels) > _MOST_VALUES:
            break
    return MaskValues(coding, pixels, example)


def _middle(values: list[float]) -> float:
    if values[-1] >= COLOUR:
        return 127
    middle = (values[0] + values[-1]) / 2
    return middle if values[-1] <= 1 else int(middle)


def _percent(share: float) -> str:
    return '< 0.1 %' if 0 < share < 0.001 else f'{100 * share:.1f} %'.replace('.0 %', ' %')


def _show(value: float) -> str:
    return f"'#{value - COLOUR:06x}'" if value >= COLOUR else f'{value:g}'
