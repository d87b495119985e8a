"""Looking at a folder of pictures: splits, classes, sizes, and what is wrong with it."""
import logging
import os
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mmengine.logging import MMLogger

from ftcls.datasets import CustomDataset
from ftcls.datasets.transforms import LoadImageFromFile
from ftcls.utils import ConfigError, DataError, MissingFileError
from ftcls.utils.download import file_digest

__all__ = ['SplitSurvey', 'FolderReport', 'report_folder']

_SPLITS = {'train': 'train', 'training': 'train', 'val': 'val', 'valid': 'val', 'validation': 'val', 'test': 'test',
           'testing': 'test'}  # yapf: disable
_SHOWN = 5  # so many names stand in a sentence


@dataclass
class SplitSurvey:
    """What one folder holds.

    Attributes:
        prefix: The folder, counted from the root; '' for the root itself.
        label_of: Path of each picture that can be read, counted from the folder, to its class.
        broken: Path of each picture that cannot be read, to the reason.
        passed_over: What is no picture, or hidden, and how many of it.
        empty: Class folders without a picture.
        checked: How many pictures were read; the others are taken for whole.
    """
    prefix: str
    label_of: dict[str, str]
    broken: dict[str, str] = field(default_factory=dict)
    passed_over: dict[str, int] = field(default_factory=dict)
    empty: list[str] = field(default_factory=list)
    checked: int = 0

    @property
    def counts(self) -> dict[str, int]:
        """Whole pictures a class."""
        return dict(sorted(Counter(self.label_of.values()).items()))


@dataclass
class FolderReport:
    """What a folder of pictures holds.

    Attributes:
        root: The folder, as it was given.
        splits: 'train', and 'val' and 'test' where there are folders for them.
        classes: The classes that the training pictures have, sorted.
        sizes: (width, height) of the pictures that were read.
        stray: Folders beside those of the splits.
        shared: Pictures with the same bytes in different splits, or anywhere where there is no 'val' yet.
        contradicting: Pictures with the same bytes in different classes.
    """
    root: str
    splits: dict[str, SplitSurvey]
    classes: list[str]
    sizes: list[tuple[int, int]]
    stray: list[str]
    shared: list[tuple[str, str]]
    contradicting: list[tuple[str, str]]

    @property
    def side(self) -> float:
        """The square root of the median area, in pixels."""
        return statistics.median(width * height for width, height in self.sizes)**0.5

    @property
    def imbalance(self) -> float:
        """How many times as many training pictures the largest class has as the smallest."""
        counts = self.splits['train'].counts.values()
        return max(counts) / min(counts)

    @property
    def empty(self) -> list[str]:
        """Class folders of training without a whole picture."""
        broken = {os.path.dirname(path).split('/')[0] for path in self.splits['train'].broken}
        return sorted({*self.splits['train'].empty, *(broken - set(self.classes))})

    def unknown(self, split: str) -> list[str]:
        """Classes of a split that training has not."""
        return [name for name in self.splits[split].counts if name not in self.classes]

    def lacking(self, split: str) -> list[str]:
        """Classes of training that a split has not."""
        return [name for name in self.classes if name not in self.splits[split].counts]

    def describe(self) -> list[str]:
        """Return what there is to say, one sentence a line; what is amiss begins with WARNING."""
        lines = [f'{len(self.classes)} classes: {listed(self.classes, 10)}']
        for name, split in self.splits.items():
            counts = split.counts
            each = ', '.join(f'{c} {n}' for c, n in counts.items()) if len(
                counts) <= 10 else f'{min(counts.values())} to {max(counts.values())} a class'
            lines.append(f'{name}: {sum(counts.values()):,} pictures ({each}) in {Path(self.root, split.prefix)}')
            if split.passed_over:
                lines.append(f'{name}: passed over: ' + listed([f'{w} ({n})' for w, n in split.passed_over.items()]))
            if split.checked < len(split.label_of) + len(split.broken):
                lines.append(
                    f'{name}: {split.checked:,} pictures were read, evenly spread; the others may be broken too')
            if split.broken:
                lines.append(f'WARNING {name}: {len(split.broken)} pictures cannot be read and are left out: ' +
                             listed([f'{path} ({why})' for path, why in split.broken.items()]))
            if name != 'train' and self.unknown(name):
                lines.append(f'WARNING {name}: classes that training has not, left out: {listed(self.unknown(name))}')
            if name != 'train' and self.lacking(name):
                lines.append(f'WARNING {name}: no picture of {listed(self.lacking(name))}')
        if self.empty:
            lines.append(f'WARNING train: class folders without a picture, left out: {listed(self.empty)}')
        widths, heights = zip(*self.sizes)
        lines.append(
            f'sizes: median area {self.side:.0f}x{self.side:.0f} pixels, sides from {min(widths + heights)} to '
            f'{max(widths + heights)}')
        if self.imbalance >= 3:
            lines.append(
                f'WARNING uneven classes: the largest has {self.imbalance:.1f} times the pictures of the smallest')
        if self.stray:
            lines.append(f'WARNING folders beside the splits, left out: {listed(self.stray)}')
        for what, pairs in (
            (f'the same picture {"in two splits" if "val" in self.splits else "twice, of which one may validate"}, so that '
             'scores flatter', self.shared), ('the same picture in two classes', self.contradicting)):
            if pairs:
                lines.append(f'WARNING {what}: {len(pairs)}: ' + listed([f'{one} = {other}' for one, other in pairs]))
        return lines


def listed(names: Iterable[str], most: int = _SHOWN) -> str:
    """Return the names with commas, the first ``most`` of them."""
    names = list(names)
    return ', '.join(names[:most]) + (f' and {len(names) - most} more' if len(names) > most else '')


def report_folder(data: str | os.PathLike, check: int = 20_000) -> FolderReport:
    """Look at a folder with class folders in it, or with ``train`` and perhaps ``val`` and ``test`` (or ``valid``, …).

    Args:
        data: The folder.
        check: How many pictures of a split are read, evenly spread over it: each is decoded as training will do it.

    Raises:
        MissingFileError: If there is no such folder.
        DataError: If it has no labelled pictures, or fewer than two classes.
    """
    root = Path(data).expanduser()
    if not root.is_dir():
        raise MissingFileError(
            f'--data {data}: {"a file, no folder" if root.exists() else "no such folder"}; give the one that holds train and val, or the class folders'
        )
    if check < 1:
        raise ConfigError(f'--check {check}: must be at least 1')
    prefixes, stray = _find_splits(root)
    sizes: list[tuple[int, int]] = []
    splits = {}
    with _quiet():
        for name, prefix in prefixes.items():
            splits[name] = _read_split(root, prefix, check, sizes)
    classes = list(splits['train'].counts)
    if len(classes) < 2:
        below = [d.name for d in sorted(root.iterdir()) if d.is_dir() and not d.name.startswith('.')]
        raise DataError(
            f'--data {data}: the training pictures are of {len(classes)} class{"" if len(classes) == 1 else "es"} '
            f'({listed(classes)}), and two are needed; expected one folder a class' +
            (f'; are they in {root / below[0]}?' if len(below) == 1 else ''))
    shared, contradicting = _same_files(root, splits)
    return FolderReport(os.fspath(data), splits, classes, sizes, stray, shared, contradicting)


def _find_splits(root: Path) -> tuple[dict[str, str], list[str]]:
    """Return split to folder name, and the other folders where there are splits; without, the root is 'train'."""
    names = sorted(d.name for d in root.iterdir() if d.is_dir() and not d.name.startswith('.') and d.name != '__MACOSX')
    found: dict[str, str] = {}
    for name in names:
        split = _SPLITS.get(name.lower())
        if split and split in found:
            raise DataError(f'--data {root}: both {found[split]!r} and {name!r} are a {split} set; keep one')
        if split:
            found[split] = name
    if not found:
        return {'train': ''}, []
    if 'train' not in found:
        raise DataError(f'--data {root}: has {listed(found.values())} and no train; name the folder of the training '
                        'pictures `train`')
    return {split: found[split] for split in ('train', 'val', 'test') if split in found}, \
        [name for name in names if name not in found.values()]


def _read_split(root: Path, prefix: str, check: int, sizes: list[tuple[int, int]]) -> SplitSurvey:
    """Read the pictures of a split; their sizes are added to ``sizes``."""
    dataset = CustomDataset(data_root=os.fspath(root), data_prefix=prefix)
    folder, classes = dataset.img_prefix, dataset.CLASSES
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    label_of = {Path(os.path.relpath(info['img_path'], folder)).as_posix(): classes[info['gt_label']] for info in infos}
    paths = list(label_of)
    chosen = paths if len(paths) <= check else [paths[i * len(paths) // check] for i in range(check)]
    split = SplitSurvey(
        prefix, label_of, passed_over=dict(dataset.skipped), empty=list(dataset.empty_classes), checked=len(chosen))
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:  # OpenCV decodes without Python's lock
        for path, found in zip(chosen, pool.map(_size_or_fault, [os.path.join(folder, path) for path in chosen])):
            if isinstance(found, str):
                split.broken[path] = found
                del label_of[path]
            else:
                sizes.append(found)
    return split


def _size_or_fault(path: str) -> tuple[int, int] | str:
    """Return (width, height) of a picture, or why it cannot be read."""
    try:
        height, width = LoadImageFromFile()(dict(img_path=path))['ori_shape']
    except (DataError, MissingFileError) as err:
        said = str(err).split(';')[0]
        return said.removeprefix(f'cannot read the picture {path}: ').removeprefix(f'the picture {path} is ')
    return width, height


def _same_files(root: Path, splits: Mapping[str, SplitSurvey]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return pairs of files with the same bytes in two splits, and in two classes; of equal files one pair is given."""
    by_size: dict[int, list[tuple[str, str, str]]] = defaultdict(list)
    for name, split in splits.items():
        for path, label in split.label_of.items():
            path = os.path.join(split.prefix, path)
            by_size[(root / path).stat().st_size].append((path, name, label))
    shared, contradicting = [], []
    for files in by_size.values():
        first: dict[str, tuple[str, str, str]] = {}
        for file in files if len(files) > 1 else ():
            other = first.setdefault(file_digest(root / file[0]), file)
            if other[1] != file[1] or 'val' not in splits and other is not file:
                shared.append((other[0], file[0]))
            if other[2] != file[2]:
                contradicting.append((other[0], file[0]))
    return sorted(shared), sorted(contradicting)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the datasets say off the log: the survey says it."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
