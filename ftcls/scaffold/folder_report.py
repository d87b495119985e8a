"""What a folder of images holds: splits, classes, sizes, and what is wrong with it."""
import os
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ftcls.apis.training.loaders import describe_counts
from ftcls.datasets import CustomDataset
from ftcls.datasets.base_dataset import relative_path
from ftcls.datasets.duplicates import DOUBLES, Image, Look, compare_images, look_at
from ftcls.datasets.headers import scan_headers
from ftcls.datasets.survey import spread, survey_images
from ftcls.datasets.transforms import LoadImageFromFile
from ftcls.datasets.wrappers import iter_samples
from ftcls.engine.mmengine_compat import log_level
from ftcls.utils import ConfigError, DataError, MissingFileError
from ftcls.utils.names import enumerate_names, plural

__all__ = [
    'SPLITS', 'FolderReport', 'SplitReport', 'find_splits', 'loading_arguments', 'looks_and_faults', 'report_folder',
    'subfolders'
]

SPLITS = dict(train='train', training='train', val='val', valid='val', validation='val', test='test', testing='test')


@dataclass
class SplitReport:
    """What the folder of one split holds; paths are relative to it.

    Attributes:
        prefix: The folder, relative to the root; '' for the root itself.
        skipped: What is hidden or not an image, and how many files of that kind there are.
        empty: Class folders without images.
        decoded: How many images were decoded; of the others, the headers were read.
        looks: Path of each image that was decoded, the root's included, to what it is compared by.
        label_of: Path of each readable image to its class.
        broken: Path of each image that cannot be used to the reason.
        sizes: (width, height) of the images that can be read, as stored.
    """
    prefix: str
    skipped: dict[str, int]
    empty: list[str]
    decoded: int
    looks: dict[str, Look]
    label_of: dict[str, str] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    sizes: list[tuple[int, int]] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        """Readable images per class."""
        return dict(sorted(Counter(self.label_of.values()).items()))


@dataclass
class FolderReport:
    """What a folder of images holds.

    Attributes:
        splits: 'train', and 'val' and 'test' if there are folders for them.
        classes: The classes of the training images, sorted.
        stray: Folders beside those of the splits.
        doubles: Sentences on images that are there twice, or nearly, or are unlike all others.
        loading: Arguments of ``LoadImageFromFile``.
        notes: What is said of these.
    """
    root: str
    splits: dict[str, SplitReport]
    classes: list[str]
    stray: list[str]
    doubles: list[str]
    loading: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(width, height) of the images that were read."""
        return [size for split in self.splits.values() for size in split.sizes]

    @property
    def side(self) -> float:
        """The square root of the median area, in pixels."""
        return statistics.median(width * height for width, height in self.sizes)**0.5

    @property
    def imbalance(self) -> float:
        """How many times as many training images the largest class has as the smallest."""
        counts = self.splits['train'].counts.values()
        return max(counts) / min(counts)

    @property
    def is_uneven(self) -> bool:
        """Whether the largest class is at least three times as large as the smallest."""
        return self.imbalance >= 3

    @property
    def empty(self) -> list[str]:
        """Class folders of training without a readable image."""
        train = self.splits['train']
        return sorted({*train.empty, *(path.split('/')[0] for path in train.broken)} - set(self.classes))

    def extra_classes(self, split: str) -> list[str]:
        """Return the classes of a split that training does not have."""
        return [name for name in self.splits[split].counts if name not in self.classes]

    def missing_classes(self, split: str) -> list[str]:
        """Return the classes of training that a split does not have."""
        return [name for name in self.classes if name not in self.splits[split].counts]

    def describe(self) -> list[str]:
        """Return the findings, one sentence per line; problems begin with WARNING."""
        lines = [f'{len(self.classes)} classes: {enumerate_names(self.classes)}']
        for name in self.splits:
            lines += self._describe_split(name)
        lines += _line_of('WARNING train: class folders without images, left out', self.empty)
        sides = sorted(side for size in self.sizes for side in size)
        lines += self.notes
        lines.append(f'sizes: sides from {sides[0]} to {sides[-1]} pixels, median area {self.side**2:,.0f} pixels')
        if self.is_uneven:
            lines.append(f'WARNING uneven classes: the largest is {self.imbalance:.1f} times as large as the smallest')
        lines += _line_of('WARNING folders beside the splits, left out', self.stray)
        return lines + self.doubles

    def _describe_split(self, name: str) -> list[str]:
        split = self.splits[name]
        place = Path(self.root, split.prefix)
        lines = [f'{name}: {len(split.label_of):,} images ({describe_counts(split.counts)}) in {place}']
        lines += _line_of(f'{name}: skipped', [f'{what} ({count})' for what, count in split.skipped.items()])
        if split.decoded < len(split.label_of):
            lines.append(f'{name}: {split.decoded:,} images were decoded, evenly spread; others may be broken inside')
        broken = f'WARNING {name}: {plural(len(split.broken), "image")} left out'
        lines += _line_of(broken, [f'{path} ({why})' for path, why in split.broken.items()])
        lines += _line_of(f'WARNING {name}: left out, since training does not have the class', self.extra_classes(name))
        return lines + _line_of(f'WARNING {name}: no images of class', self.missing_classes(name))


def _line_of(text: str, names: Sequence[str]) -> list[str]:
    return [f'{text}: {enumerate_names(names, 5)}'] if names else []


def report_folder(data: str | os.PathLike, check: int = 20_000) -> FolderReport:
    """Report on a folder that holds class folders, or ``train`` and perhaps ``val`` and ``test`` (or ``valid``, …).

    The headers of all images are read; ``check`` images per split, evenly spread over it, are decoded.

    Raises:
        MissingFileError: If there is no such folder.
        DataError: If it has no labelled images, or fewer than two classes.
    """
    root = Path(data).expanduser()
    if not root.is_dir():
        what = 'is a file' if root.exists() else 'no such folder'
        raise MissingFileError(f'--data {data}: {what}; give the folder that holds train and val, or the class folders')
    if check < 1:
        raise ConfigError(f'--check {check}: must be at least 1')
    prefixes, stray = find_splits(root)
    with log_level('ERROR'):  # the report has the warnings of the datasets
        train = CustomDataset(data_root=os.fspath(root), data_prefix=prefixes['train'])
        loading, notes = loading_arguments([info['img_path'] for info in iter_samples(train)])
        read = LoadImageFromFile(**loading)
        splits = {name: _read_split(root, prefix, check, read) for name, prefix in prefixes.items()}
    if len(classes := list(splits['train'].counts)) < 2:
        names = enumerate_names(classes)
        raise DataError(f'--data {data}: needs at least two classes, a folder per class; has {len(classes)} ({names})')
    for split in splits.values():
        if not set(split.counts) & set(classes):
            raise DataError(f'--data {data}: {split.prefix} has images of {enumerate_names(split.counts)}, and '
                            f'training of {enumerate_names(classes)}; the folders of a class must have the same name')
    doubles = list(_compare_images(root, splits))
    return FolderReport(os.fspath(data), splits, classes, stray, doubles, loading, notes)


def subfolders(root: Path) -> list[str]:
    """Return the names of the folders in a folder that are not hidden."""
    return sorted(folder.name for folder in root.iterdir() if folder.is_dir() and not folder.name.startswith('.'))


def loading_arguments(paths: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the arguments by which ``LoadImageFromFile`` reads most of the images, and what to say of them."""
    arguments, survey = {}, survey_images(paths, LoadImageFromFile())
    if survey.value_range is not None:
        arguments = dict(value_range=survey.value_range)
        survey = survey_images(paths, LoadImageFromFile(**arguments))
    return arguments, [f'images: {line}' for line in survey.lines[:1]] + survey.lines[1:]


def find_splits(root: Path) -> tuple[dict[str, str], list[str]]:
    """Return split to folder name, and the folders of no split; the root is 'train' if there are no splits."""
    found, stray = {}, []
    for name in subfolders(root):
        if (split := SPLITS.get(name.lower())) in found:
            raise DataError(f'--data {root}: both {found[split]!r} and {name!r} are a {split} set; keep one')
        if split:
            found[split] = name
        elif name != '__MACOSX':
            stray.append(name)
    if not found and len(stray) == 1 and subfolders(root / stray[0]):
        raise DataError(f'--data {root}: its one folder {stray[0]!r} has folders in it; give --data {root / stray[0]}')
    for name in [] if found else stray:
        parts = [part for part in subfolders(root / name) if part.lower() in SPLITS and subfolders(root / name / part)]
        if len(parts) > 1:
            raise DataError(f'--data {root}: its folder {name!r} has {enumerate_names(parts)}, so it is a dataset, no '
                            f'class; give --data {root / name}')
    if not found:
        return {'train': ''}, []
    if 'train' not in found:
        raise DataError(f'--data {root}: has {enumerate_names(found.values())} and no train; add a folder `train`')
    return {split: found[split] for split in ('train', 'val', 'test') if split in found}, stray


def _read_split(root: Path, prefix: str, check: int, read: LoadImageFromFile) -> SplitReport:
    dataset = CustomDataset(data_root=os.fspath(root), data_prefix=prefix)
    infos = list(iter_samples(dataset))
    headers = scan_headers([info['img_path'] for info in infos])
    decoded = spread([header.path for header in headers if not header.fault], check)
    looks, faults = looks_and_faults(read, decoded)
    split = SplitReport(prefix, dict(dataset.skipped), list(dataset.empty_classes), len(decoded), looks)
    for info, header in zip(infos, headers):
        name = relative_path(header.path, dataset.img_prefix)
        if fault := faults.get(header.path, header.fault):
            split.broken[name] = fault
        else:
            split.label_of[name] = dataset.CLASSES[info['gt_label']]
            split.sizes.append((header.width, header.height))
    return split


def looks_and_faults(read: LoadImageFromFile, paths: Sequence[str]) -> tuple[dict[str, Look], dict[str, str]]:
    """Return what each image is compared by, and of those that cannot be loaded why."""
    looks, faults = {}, {}

    def look(path: str) -> None:
        try:
            looks[path] = look_at(read(dict(img_path=path))['img'])
        except (DataError, MissingFileError) as err:
            fault = str(err).split(';')[0]  # "cannot read the image PATH: FAULT", "the image PATH is FAULT"
            faults[path] = fault.partition(path)[2].lstrip(': ') or fault

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:  # OpenCV decodes without Python's lock
        list(pool.map(look, paths))
    return looks, faults


def _compare_images(root: Path, splits: Mapping[str, SplitReport]) -> Iterator[str]:
    """Yield sentences on images that are there twice, or nearly, or are unlike all others."""
    images, looks = [], {}
    for name, split in splits.items():
        files = {str(root / split.prefix / path): label for path, label in split.label_of.items()}
        images += [Image(file, name, label, Path(file)) for file, label in files.items()]
        looks |= split.looks
    for level, split, text, names, pairs in compare_images(images, looks):
        names = [name.replace(f'{root}{os.sep}', '') for name in names]
        if text == DOUBLES['conflict']:
            text += ' (leave the wrong one out with exclude=[…])'
        elif 'val' not in splits and split == 'train' and text == DOUBLES['copy']:
            for image, first in pairs:
                path, other = (relative_path(one.name, str(root / splits[split].prefix)) for one in (image, first))
                splits[split].broken[path] = f'is the same as {other}'
                del splits[split].label_of[path]
        elif 'val' not in splits and level == 'note':
            text += ', and one may be drawn for validation'
            level = 'WARNING'
        if level != 'note':
            yield from _line_of(f'WARNING {split}: {text}: {plural(len(names), "image")}', names)
