"""The base of all datasets: labels are matched to the list of classes by name."""
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from mmengine.dataset import BaseDataset as MMEngineBaseDataset
from mmengine.fileio import load
from mmengine.logging import print_log

from ftcls.registry import DATASETS, TRANSFORMS
from ftcls.utils import ConfigError, DataError, MissingFileError, did_you_mean, nearest
from .drawing import check_shots, check_split, draw_val, strata
from .worker_seed import EpochSeed

__all__ = ['BaseDataset', 'listed', 'missing_hint']


def _expanduser(path: str | os.PathLike | None) -> str:
    """Return the path as a string, with ``~`` expanded; '' for None."""
    return '' if path is None else os.path.expanduser(os.fspath(path))


def _read_classes(classes: str | os.PathLike | Sequence[str]) -> tuple[str, ...]:
    """Return class names from a sequence or from a file with one name a line."""
    if isinstance(classes, (str, os.PathLike)):
        path = Path(_expanduser(classes))
        if not path.is_file():
            raise MissingFileError(
                f'classes={str(classes)!r}: no such file; give a text file with one class name a line, or '
                "a list of names, ['ants', 'bees'] for one")
        names = [line.strip() for line in path.read_text(encoding='utf-8-sig').splitlines()]
        names = [name for name in names if name]
    elif isinstance(classes, Sequence):
        names = list(classes)
    else:
        raise ConfigError(f'classes={classes!r}: expected a list of names, or a text file with one a line')
    if not names or not all(isinstance(name, str) for name in names):
        raise ConfigError(f'classes={classes!r}: expected at least one name, all of them strings')
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise ConfigError(f'classes has {doubled[0]!r} twice; each name must stand once')
    return tuple(names)


@DATASETS.register_module()
class BaseDataset(MMEngineBaseDataset):
    """A dataset of pictures with class labels, on top of MMEngine's; by itself it reads OpenMMLab 2.0 annotation files.

    ``metainfo['classes']`` is the tuple of class names, in the order of the labels. Where ``classes`` is given, it is that
    list, and what the data holds is matched to it by name: labels are renumbered, samples of other classes are left out
    and their names kept in :attr:`ignored_classes`. So val and test agree with the training set's list, also where a class
    is missing from them.

    Args:
        ann_file: Annotation file.
        metainfo: What is known about the data; its ``classes`` outweigh the argument ``classes``.
        data_root: Folder that ``ann_file`` and ``data_prefix`` count from.
        data_prefix: Folder of the pictures, or a dict of such.
        filter_cfg: Not used here; kept for subclasses.
        indices: Take the first so many samples, or those of the given numbers.
        serialize_data: Keep the list of samples as one block of bytes, which workers share.
        pipeline: Transforms, as configs or as callables.
        test_mode: Whether a sample that cannot be read may be replaced by another (not in test mode).
        lazy_init: Read nothing until :meth:`full_init`.
        max_refetch: How many other samples are tried in place of one that the pipeline passes over.
        classes: Class names, or a text file with one a line.
        shots_per_class: Keep so many samples of each class only, see :meth:`draw_shots`; a dict gives the number by class name,
            and a class that it does not name is kept whole; None keeps all.
        seed: Seed of that draw.
        split: 'train' or 'val': the part of the samples that :meth:`draw_split` gives; None for all.
        val_fraction: Share of 'val' in each class, above 0 and below 1; with ``split`` 0.2 where it is None.
        split_seed: Seed of the split.
    """

    #: Whether a picture may have several labels or none; set where the annotations have lists of labels.
    multi_label = False

    def __init__(self,
                 ann_file: str,
                 metainfo: Mapping | None = None,
                 data_root: str = '',
                 data_prefix: str | dict = '',
                 filter_cfg: dict | None = None,
                 indices: int | Sequence[int] | None = None,
                 serialize_data: bool = True,
                 pipeline: Sequence[dict | Callable] = (),
                 test_mode: bool = False,
                 lazy_init: bool = False,
                 max_refetch: int = 1000,
                 classes: str | Sequence[str] | None = None,
                 shots_per_class: int | Mapping[str, int] | None = None,
                 seed: int = 0,
                 split: Literal['train', 'val'] | None = None,
                 val_fraction: float | None = None,
                 split_seed: int = 0) -> None:
        check_shots(shots_per_class)
        check_split(split, val_fraction)
        if split is None and (val_fraction is not None or split_seed):
            raise ConfigError(f'{type(self).__name__}: val_fraction and split_seed draw a part of the samples with '
                              "split='train' or 'val' only; set split, or leave them out")
        self.shots_per_class = shots_per_class
        # of datasets that come in splits it is theirs
        self.split: str | None = getattr(self, 'split', split)
        #: Share of 'val' where the split is drawn; None where it is not.
        self.val_fraction = 0.2 if split is not None and val_fraction is None else val_fraction
        self.split_seed = split_seed
        self.seed = seed
        #: Names that the data has and the given list of classes has not.
        self.ignored_classes: list[str] = []
        #: Where workers find the seed of the epoch, see :func:`seed_workers`.
        self.epoch_seed = EpochSeed()
        metainfo = dict(metainfo or {})
        if classes is not None:
            metainfo.setdefault('classes', classes)
        #: The list of classes that was given, by ``classes`` or ``metainfo``; None where the data decides.
        self.given_classes = None if metainfo.get('classes') is None else _read_classes(metainfo['classes'])
        if self.given_classes is not None:
            metainfo['classes'] = self.given_classes
        if not isinstance(data_prefix, Mapping):
            data_prefix = {'img_path': data_prefix}
        super().__init__(
            ann_file=_expanduser(ann_file),
            metainfo=metainfo,
            data_root=_expanduser(data_root),
            data_prefix={
                key: _expanduser(prefix)
                for key, prefix in data_prefix.items()
            },
            filter_cfg=filter_cfg,
            indices=indices,
            serialize_data=serialize_data,
            pipeline=[TRANSFORMS.build(step) if isinstance(step, Mapping) else step for step in pipeline],
            test_mode=test_mode,
            lazy_init=lazy_init,
            max_refetch=max_refetch)

    def __getitem__(self, idx: int) -> dict:
        """Return sample ``idx`` as the pipeline leaves it."""
        self.epoch_seed.take()
        return super().__getitem__(idx)

    @property
    def img_prefix(self) -> str:
        """Folder of the pictures."""
        return self.data_prefix['img_path']

    @property
    def CLASSES(self) -> tuple[str, ...] | None:  # noqa: N802 (MMClassification's name)
        """Class names in the order of the labels; None where nobody has named them yet."""
        return self._metainfo.get('classes')

    @property
    def class_to_idx(self) -> dict[str, int]:
        """The label of each class name."""
        return {name: index for index, name in enumerate(self.CLASSES or ())}

    def filter_data(self) -> list[dict]:
        """Return the samples to keep: all of them, or the drawn part, or some shots of each class of that.

        Raises:
            DataError: If there is none.
        """
        if not self.data_list:
            raise DataError(f'{type(self).__name__} has no samples ({"; ".join(self.extra_repr())})')
        kept = self.data_list if self.val_fraction is None else self.draw_split(self.data_list)
        return kept if self.shots_per_class is None else self.draw_shots(kept)

    def picture_names(self, data_list: Sequence[dict]) -> list[str]:
        """Return what each sample is drawn by: its path in the folder of the pictures, else its number in the list."""
        return [
            os.path.relpath(info['img_path'], self.img_prefix).replace(os.sep, '/')
            if 'img_path' in info else str(number) for number, info in enumerate(data_list)
        ]

    def draw_split(self, data_list: list[dict]) -> list[dict]:
        """Return the samples of :attr:`split`, in their old order, see :func:`.drawing.draw_val`.

        Each class is split by itself; of several labels a picture, its rarest counts. Train and val never share a picture,
        also not one that is listed twice.

        Raises:
            DataError: If a side would be empty.
        """
        labels = strata([info.get('gt_label') for info in data_list])
        is_val = draw_val(list(zip(self.picture_names(data_list), labels)), self.val_fraction, self.split_seed)
        if is_val.all() or not is_val.any():
            raise DataError(
                f'{type(self).__name__}: {len(data_list)} samples of {len(set(labels))} classes cannot be split '
                f'into train and val ({"; ".join(self.extra_repr())}); add pictures, or set split=None')
        return [info for info, drawn in zip(data_list, is_val) if drawn == (self.split == 'val')]

    def draw_shots(self, data_list: list[dict]) -> list[dict]:
        """Return ``shots_per_class`` samples of each class, drawn by ``seed``, in their old order.

        Each class has a random order of its own, given by the seed and the class's index, and its first samples are taken:
        of one seed, the smaller draw is part of the larger one.

        Raises:
            ConfigError: If not every sample has one label.
            DataError: If a class has too few samples.
        """
        shots = self.shots_per_class
        unknown = [name for name in shots if name not in self.class_to_idx] if isinstance(shots, Mapping) else []
        if unknown:
            raise ConfigError(
                f'shots_per_class has {unknown[0]!r}, which is no class{did_you_mean(unknown[0], self.CLASSES)}')
        members: dict[int, list[int]] = {}
        for number, info in enumerate(data_list):
            if not isinstance(info.get('gt_label'), int):
                raise ConfigError(
                    f'shots_per_class={self.shots_per_class}: needs one label a sample: {str(info)[:200]}')
            members.setdefault(info['gt_label'], []).append(number)
        chosen: list[int] = []
        for label, numbers in members.items():
            name = self.CLASSES[label]
            count = shots.get(name, len(numbers)) if isinstance(shots, Mapping) else shots
            if len(numbers) < count:
                raise DataError(f'shots_per_class={shots}: class {name!r} has only {len(numbers)} samples')
            order = np.random.default_rng([self.seed, label]).permutation(numbers)
            chosen.extend(order[:count])
        return [data_list[number] for number in sorted(chosen)]

    @property
    def drawn(self) -> str:
        """How the samples were drawn, for the preflight; '' where they are all."""
        parts, shots = [], self.shots_per_class
        if self.val_fraction is not None:
            parts.append(f'{100 * self.val_fraction:.3g} % for val, drawn with split_seed {self.split_seed}')
        if shots is not None:
            count = f'{min(shots.values())} to {max(shots.values())}' if isinstance(shots, Mapping) else shots
            parts.append(f'{count} a class, drawn with seed {self.seed}')
        return '; '.join(parts)

    def load_data_list(self) -> list[dict]:
        """Read an OpenMMLab 2.0 annotation file: ``{"metainfo": {"classes": […]}, "data_list": [{"img_path": …}]}``.

        Raises:
            MissingFileError: If there is no such file.
            DataError: If it is of another form.
        """
        if not os.path.isfile(self.ann_file):
            raise MissingFileError(
                f'ann_file={self.ann_file!r}: no such file{missing_hint(self.ann_file)}; check data_root '
                'and ann_file')
        annotations = load(self.ann_file)
        if not isinstance(annotations, dict) or not {'metainfo', 'data_list'} <= set(annotations):
            raise DataError(
                f'{self.ann_file} is not an OpenMMLab 2.0 annotation file: it must hold a dict with the keys '
                "'metainfo' and 'data_list'; for lines of `path label` use CustomDataset")
        metainfo = dict(annotations['metainfo'])
        if 'classes' not in metainfo and 'categories' in metainfo:
            categories = sorted(metainfo['categories'], key=lambda category: category['id'])
            metainfo['classes'] = [category['category_name'] for category in categories]
        if 'classes' in metainfo:
            metainfo['classes'] = tuple(metainfo['classes'])
        for key, value in metainfo.items():
            self._metainfo.setdefault(key, value)
        data_list = []
        for raw in annotations['data_list']:
            absent = [key for key in self.data_prefix if key not in raw]
            if absent:
                raise DataError(f'{self.ann_file}: a sample has no {absent[0]!r}: {str(raw)[:200]}')
            data_list.append(self.parse_data_info(dict(raw)))
        return self.match_classes(data_list, metainfo.get('classes') or self.CLASSES or ())

    def match_classes(self, data_list: list[dict], own: Sequence[str]) -> list[dict]:
        """Renumber labels that count in ``own`` to those of :attr:`CLASSES`, by name.

        Args:
            data_list: Samples, whose ``gt_label`` is an int or a list of ints.
            own: The class names of the data, in the order of its labels.

        Returns:
            The samples that have a label left; the names that were left out are added to :attr:`ignored_classes`.

        Raises:
            DataError: If a label is none of the data's own classes, or none of the given classes is in the data.
        """
        self.multi_label |= any(isinstance(info.get('gt_label'), (list, tuple)) for info in data_list)
        if self.CLASSES is None:
            return data_list
        for info in data_list:
            labels = info.get('gt_label', [])
            for label in labels if isinstance(labels, (list, tuple)) else [labels]:
                if not isinstance(label, int) or not 0 <= label < len(own):
                    raise DataError(
                        f'{type(self).__name__}: label {label!r} is not among the {len(own)} classes, which count '
                        f'from 0 to {len(own) - 1}: {str(info)[:200]}')
        if tuple(own) == self.CLASSES:
            return data_list
        self.note_classes(own)
        class_to_idx = self.class_to_idx
        new_label = {old: class_to_idx[name] for old, name in enumerate(own) if name in class_to_idx}
        kept = []
        for info in data_list:
            if 'gt_label' not in info:
                kept.append(info)
                continue
            labels = info['gt_label']
            if isinstance(labels, (list, tuple)):
                label = [new_label[old] for old in labels if old in new_label]
            else:
                label = new_label.get(labels)
            if label is not None:
                kept.append({**info, 'gt_label': label})
        return kept

    def note_classes(self, found: Sequence[str], say_ignored: bool = True) -> None:
        """Compare the classes ``found`` in the data with :attr:`CLASSES`, note and say what differs.

        Args:
            found: Class names.
            say_ignored: Whether to say which are left out; False where the caller does.

        Raises:
            DataError: If they have none in common.
        """
        name = type(self).__name__
        known, present = set(self.CLASSES), set(found)
        ignored = [found_name for found_name in dict.fromkeys(found) if found_name not in known]
        absent = [class_name for class_name in self.CLASSES if class_name not in present]
        if len(absent) == len(self.CLASSES):
            raise DataError(
                f'{name}: none of the classes {listed(self.CLASSES)} is in the data, which has {listed(found)}; '
                f'classes are matched by name: give those of the data{did_you_mean(self.CLASSES[0], found)}')
        self.ignored_classes.extend(n for n in ignored if n not in self.ignored_classes)
        if ignored and say_ignored:
            print_log(f'{name}: left out, because not among the classes: {listed(ignored)}', logger='current')
        for class_name in absent[:10]:
            near = nearest(class_name, ignored, most=1)
            hint = f' (there is {near[0]!r})' if near else ''
            print_log(f'{name}: no picture of class {class_name!r}{hint}', logger='current')
        if len(absent) > 10:
            print_log(f'{name}: no picture of {len(absent) - 10} more classes', logger='current')

    def get_gt_labels(self) -> np.ndarray:
        """Return the label of every sample, (len(self), ) int64.

        Raises:
            DataError: If samples have no label, or not exactly one.
        """
        if not self._fully_initialized:
            self.full_init()
        labels = [self.get_data_info(index).get('gt_label') for index in range(len(self))]
        if any(label is None or isinstance(label, (list, tuple)) for label in labels):
            raise DataError(
                f'{type(self).__name__}: not every sample has exactly one label (with_label=False, or several '
                'labels a picture)')
        return np.asarray(labels, dtype=np.int64)

    def get_cat_ids(self, idx: int) -> list[int]:
        """Return the labels of sample ``idx``."""
        label = self.get_data_info(idx).get('gt_label', [])
        return [int(one) for one in label] if isinstance(label, (list, tuple)) else [int(label)]

    def class_counts(self) -> dict[str, int]:
        """Return how many samples each class has, in the order of the classes; 0 for a class that is missing."""
        if not self._fully_initialized:
            self.full_init()
        classes = self.CLASSES or ()
        counts = dict.fromkeys(classes, 0)
        for index in range(len(self)):
            for label in self.get_cat_ids(index):
                counts[classes[label]] += 1
        return counts

    def extra_repr(self) -> list[str]:
        """Lines of :meth:`__repr__` about where the data is."""
        return [f'annotation file: {self.ann_file or "none"}', f'pictures: {self.img_prefix or "as the file says"}']

    def __repr__(self) -> str:
        size = f'{len(self)} samples' if self._fully_initialized else 'not read yet'
        classes = f'{len(self.CLASSES)} classes' if self.CLASSES else 'classes not named'
        lines = [f'{type(self).__name__}: {size}, {classes}', *self.extra_repr(), *map(repr, self.pipeline.transforms)]
        return '\n    '.join(lines)


def missing_hint(path: str) -> str:
    """Return a hint at a file or folder beside ``path`` with a similar name, or at the first part that is missing."""
    target = Path(path)
    parent = target.parent
    if parent.is_dir():
        return did_you_mean(target.name, [entry.name for entry in parent.iterdir()])
    while not parent.exists() and parent != parent.parent:
        target, parent = parent, parent.parent
    return f' (already {str(target)!r} is missing)'


def listed(names: Sequence[str], most: int = 8) -> str:
    """Return the names in quotes, the first ``most`` of them."""
    rest = f' and {len(names) - most} more' if len(names) > most else ''
    return ', '.join(repr(name) for name in names[:most]) + rest
