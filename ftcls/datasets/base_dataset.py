"""The base of all datasets: labels are matched to the list of classes by name."""
import gc
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
from mmengine.logging import print_log

from ftcls.registry import DATASETS, TRANSFORMS
from ftcls.utils import ConfigError, DataError, MissingFileError, did_you_mean
from ftcls.utils.errors import located
from ftcls.utils.names import enumerate_names, plural
from ftcls.utils.processes import frozen_garbage
from ftcls.utils.tree import as_list, grouped
from ftcls.utils.types import Fraction, PositiveInt
from .drawing import draw_val, strata
from .image_cache import CachedDataset
from .list_files import read_data, read_lines
from .transforms.loading import Pipeline
from .worker_seed import EpochSeed

__all__ = ['BaseDataset', 'listed', 'read_classes', 'relative_path']


@DATASETS.register_module()
class BaseDataset(CachedDataset):
    """A dataset of images with class labels, on top of MMEngine's; by itself it reads OpenMMLab 2.0 annotation files.

    ``metainfo['classes']`` is the tuple of class names, in the order of the labels. If ``classes`` is given, it is
    that list, and the data is matched to it by name: labels are renumbered, samples of other classes are left out and
    their names kept in :attr:`ignored_classes`. So val and test agree with the training set's list, even if they lack
    a class.

    Args:
        ann_file: Annotation file.
        metainfo: What is known about the data; its ``classes`` take precedence over the argument ``classes``.
        data_root: Folder that ``ann_file`` and ``data_prefix`` are relative to.
        data_prefix: Folder of the images, or a dict of folders.
        pipeline: Transforms, as configs or as callables.
        classes: Class names, or a text file with one name per line.
        shots_per_class: Keep so many samples of each class, see :meth:`draw_shots`. A dict gives the number by class
            name; a class that it does not name is kept whole. None keeps all.
        seed: Seed of that draw.
        split: 'train' or 'val': the part of the samples that :meth:`draw_split` gives; None for all.
        val_fraction: Share of 'val' in each class; with ``split`` 0.2 by default.
        split_seed: Seed of the split.
        **kwargs: ``cache`` of :class:`.CachedDataset`; ``check``, ``on_bad_sample`` and ``bad_sample_limit`` of
            :class:`.TolerantDataset`; ``indices``, ``serialize_data``, ``test_mode``, ``lazy_init`` and ``max_refetch``
            of MMEngine's dataset.
    """

    multi_label = False  #: Whether an image may have several labels or none, as lists of labels tell.

    def __init__(self,
                 ann_file: str,
                 metainfo: Mapping | None = None,
                 data_root: str = '',
                 data_prefix: str | dict = '',
                 pipeline: Sequence[dict | Callable] = (),
                 classes: str | Sequence[str] | None = None,
                 shots_per_class: PositiveInt | Mapping[str, PositiveInt] | None = None,
                 seed: int = 0,
                 split: Literal['train', 'val'] | None = None,
                 val_fraction: Fraction | None = None,
                 split_seed: int = 0,
                 **kwargs: Any) -> None:
        if split is None and (val_fraction is not None or split_seed):
            raise ConfigError("val_fraction and split_seed need split='train' or 'val'; set split, or remove them")
        if split is not None and val_fraction is None:
            val_fraction = 0.2
        self.shots_per_class, self.seed = shots_per_class, seed
        self.split: str | None = getattr(self, 'split', split)  # subclasses of datasets that come in splits have set it
        self.val_fraction, self.split_seed = val_fraction, split_seed  #: share of 'val' if it is drawn, else None
        self.ignored_classes: list[str] = []  #: Names that the data has and the given list of classes has not.
        self.epoch_seed = EpochSeed()  #: Where workers find the seed of the epoch, see :func:`seed_workers`.
        metainfo = {'classes': classes, **(metainfo or {})}
        self.given_classes = given = read_classes(metainfo.pop('classes'))  #: None if the data decides.
        if given is not None:
            metainfo['classes'] = given
        prefixes = data_prefix if isinstance(data_prefix, Mapping) else {'img_path': data_prefix}
        folders = dict(zip(prefixes, map(_expanduser, prefixes.values())))
        places = dict(ann_file=_expanduser(ann_file), data_root=_expanduser(data_root), data_prefix=folders)
        steps = [TRANSFORMS.build(step) if isinstance(step, Mapping) else step for step in pipeline]
        super().__init__(**places, metainfo=metainfo, pipeline=steps, **kwargs)
        self.pipeline = Pipeline(self.pipeline.transforms)

    def full_init(self) -> None:
        """Read the data, if that has not been done yet."""
        # looking for garbage, of which there is none, takes half of the time of a long list; MMEngine looks too
        is_enabled = gc.isenabled()
        gc.disable()
        try:
            with frozen_garbage():
                super().full_init()
        finally:
            if is_enabled:
                gc.enable()

    def _get_unserialized_subset(self, indices: Sequence[int] | int) -> list:
        size = len(self.data_list)
        if isinstance(indices, Sequence) and (beyond := [index for index in indices if not -size <= index < size]):
            shown = enumerate_names(map(str, beyond), 3)
            raise ConfigError(f'indices: there is no {shown} of {plural(size, "sample")}; give 0 to {size - 1}')
        return super()._get_unserialized_subset(indices)

    def __getitem__(self, idx: int) -> dict:
        """Return sample ``idx`` as the pipeline leaves it."""
        self.epoch_seed.take()
        return super().__getitem__(idx)

    @property
    def img_prefix(self) -> str:
        """Folder of the images."""
        return self.data_prefix['img_path']

    @property
    def CLASSES(self) -> tuple[str, ...] | None:  # noqa: N802 (MMClassification's name)
        """Class names in the order of the labels; None until they are known."""
        return self._metainfo.get('classes')

    @property
    def class_to_idx(self) -> dict[str, int]:
        """The label of each class name."""
        return {name: index for index, name in enumerate(self.CLASSES or ())}

    def log(self, text: str, level: int = logging.INFO) -> None:
        """Log a message about this dataset."""
        print_log(f'{type(self).__name__}: {text}', logger='current', level=level)

    def filter_data(self) -> list[dict]:
        """Return the samples to keep: all of them, or the drawn split, or some shots of each class of that.

        Raises:
            DataError: If there are no samples.
        """
        kept = self.data_list
        if not kept:
            raise DataError(f'{type(self).__name__} has no samples ({"; ".join(self.extra_repr())})')
        if self.val_fraction is not None:
            kept = self.draw_split(kept)
        kept = self.without_bad(kept)
        if self.shots_per_class is not None:
            kept = self.draw_shots(kept)
        return kept

    def image_names(self, data_list: Iterable[dict]) -> list[str]:
        """Return what each sample is drawn by: its path relative to the image folder, else its number in the list."""
        numbered = enumerate(data_list)
        return [relative_path(one['img_path'], self.img_prefix) if 'img_path' in one else str(n) for n, one in numbered]

    def draw_split(self, data_list: list[dict]) -> list[dict]:
        """Return the samples of ``split``, in their old order, see :func:`.drawing.draw_val`.

        Each class is split by itself; of an image's labels, the rarest counts. Train and val never share an image, even
        one that is listed twice.

        Raises:
            DataError: If a side would be empty.
        """
        labels = strata([info.get('gt_label') for info in data_list])
        is_val = draw_val(list(zip(self.image_names(data_list), labels)), self.val_fraction, self.split_seed)
        if is_val.all() or not is_val.any():
            what = f'{len(data_list)} samples of {len(set(labels))} classes'
            raise DataError(f'{what} cannot be split into train and val; add images, or set split=None')
        return [info for info, drawn in zip(data_list, is_val) if drawn == (self.split != 'train')]

    def draw_shots(self, data_list: list[dict]) -> list[dict]:
        """Return ``shots_per_class`` samples of each class, drawn by ``seed``, in their old order.

        Each class has a random order of its own, given by the seed and the class's index, and its first samples are
        taken: with the same seed, a smaller draw is part of a larger one.

        Raises:
            ConfigError: If not every sample has one label.
            DataError: If a class has too few samples.
        """
        shots = self.shots_per_class
        by_class = shots if isinstance(shots, Mapping) else dict.fromkeys(self.CLASSES, shots)
        if unknown := [name for name in by_class if name not in self.CLASSES]:
            raise ConfigError(f'shots_per_class: no class {unknown[0]!r}{did_you_mean(unknown[0], self.CLASSES)}')
        if odd := [info for info in data_list if not isinstance(info.get('gt_label'), int)]:
            raise ConfigError(f'shots_per_class={shots}: needs one label per sample: {str(odd[0])[:200]}')
        members = grouped((info['gt_label'], number) for number, info in enumerate(data_list))
        chosen: list[int] = []
        for label, numbers in members.items():
            name = self.CLASSES[label]
            count = by_class.get(name, len(numbers))
            if len(numbers) < count:
                raise DataError(f'shots_per_class={shots}: class {name!r} has only {len(numbers)} samples')
            chosen += [*np.random.default_rng([self.seed, label]).permutation(numbers)[:count]]
        return [data_list[number] for number in sorted(chosen)]

    @property
    def drawn(self) -> str:
        """How the samples were drawn, for the preflight; '' if they are all."""
        parts, shots = [], self.shots_per_class
        if self.val_fraction is not None:
            parts.append(f'{100 * self.val_fraction:.3g} % for val, drawn with split_seed {self.split_seed}')
        if isinstance(shots, Mapping):
            shots = f'{min(shots.values())} to {max(shots.values())}'
        if shots is not None:
            parts.append(f'{shots} per class, drawn with seed {self.seed}')
        return '; '.join(parts)

    def load_data_list(self) -> list[dict]:
        """Read an OpenMMLab 2.0 annotation file: ``{"metainfo": {"classes": […]}, "data_list": [{"img_path": …}]}``, in
        JSON or YAML.

        Raises:
            MissingFileError: If the file does not exist.
            DataError: If it has another form, or is of another kind: a pickle could run code.
        """
        annotations = read_data(self.ann_file)
        parts = [annotations.get(key) for key in ('metainfo', 'data_list')] if isinstance(annotations, dict) else []
        if [type(part) for part in parts] != [dict, list] or not all(isinstance(raw, dict) for raw in parts[1]):
            raise DataError(f'{self.ann_file} is not an OpenMMLab 2.0 file; lines of `path label` need CustomDataset')
        metainfo = dict(annotations['metainfo'])
        if 'classes' not in metainfo and 'categories' in metainfo:
            categories = sorted(metainfo['categories'], key=lambda category: category['id'])
            metainfo['classes'] = [category['category_name'] for category in categories]
        if 'classes' in metainfo:
            metainfo['classes'] = tuple(metainfo['classes'])
        self._metainfo = metainfo | self._metainfo
        data_list = []
        for raw in annotations['data_list']:
            if absent := [key for key in self.data_prefix if key not in raw]:
                raise DataError(f'{self.ann_file}: a sample has no {absent[0]!r}: {str(raw)[:200]}')
            data_list.append(self.parse_data_info(dict(raw)))
        with located(self.ann_file):
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
        self.multi_label |= any(isinstance(info.get('gt_label'), list | tuple) for info in data_list)
        if self.CLASSES is None:
            return data_list
        for info in data_list:
            for label in as_list(info.get('gt_label', [])):
                if not isinstance(label, int) or not 0 <= label < len(own):
                    raise DataError(f'label {label!r} is not among the {len(own)} classes, from 0: {str(info)[:200]}')
        if tuple(own) == self.CLASSES:
            return data_list
        self.note_classes(own)
        index_of = self.class_to_idx
        new_label = {old: index_of[name] for old, name in enumerate(own) if name in index_of}
        kept = []
        for info in data_list:
            label = info.get('gt_label')
            if isinstance(label, list | tuple):
                kept.append({**info, 'gt_label': [new_label[old] for old in label if old in new_label]})
            elif label in new_label:
                kept.append({**info, 'gt_label': new_label[label]})
            elif 'gt_label' not in info:
                kept.append(info)
        return kept

    def note_classes(self, found: Iterable[str], log_ignored: bool = True) -> None:
        """Compare the classes ``found`` in the data with :attr:`CLASSES`; record and log the differences.

        Args:
            found: Class names.
            log_ignored: Whether to log those that are left out; False if the caller does.

        Raises:
            DataError: If they have none in common.
        """
        known, present = dict.fromkeys(self.CLASSES), dict.fromkeys(found)
        ignored = [name for name in present if name not in known]
        absent = [name for name in known if name not in present]
        if len(absent) == len(known):
            hint = did_you_mean(self.CLASSES[0], present)
            raise DataError(f'none of the classes {listed(known)} is in the data, which has {listed(present)}{hint}')
        self.ignored_classes.extend(name for name in ignored if name not in self.ignored_classes)
        if ignored and log_ignored:
            self.log(f'left out, because not among the classes: {listed(ignored)}')
        for name in absent[:10]:
            self.log(f'class {name!r} has no images{did_you_mean(name, ignored, most=1, lists=False)}')
        if len(absent) > 10:
            self.log(f'{len(absent) - 10} more classes have no images')

    def get_gt_labels(self) -> np.ndarray:
        """Return the label of every sample, (len(self), ) int64.

        Raises:
            DataError: If a sample does not have exactly one label.
        """
        self.full_init()
        labels = [self.get_data_info(index).get('gt_label') for index in range(len(self))]
        if any(label is None or isinstance(label, list | tuple) for label in labels):
            raise DataError('not every sample has exactly one label (with_label=False, or several labels per image)')
        return np.asarray(labels, dtype=np.int64)

    def get_cat_ids(self, idx: int) -> list[int]:
        """Return the labels of sample ``idx``."""
        return [int(label) for label in as_list(self.get_data_info(idx).get('gt_label', []))]

    def class_counts(self) -> dict[str, int]:
        """Return how many samples each class has, in the order of the classes; 0 for a class that is missing."""
        self.full_init()
        counts = Counter(chain.from_iterable(map(self.get_cat_ids, range(len(self)))))
        return {name: counts[label] for label, name in enumerate(self.CLASSES or ())}

    def extra_repr(self) -> list[str]:
        """Lines of :meth:`__repr__` about where the data is."""
        return [f'annotation file: {self.ann_file or "none"}', f'images: {self.img_prefix or "as the file says"}']

    def __repr__(self) -> str:
        size = f'{len(self)} samples' if self._fully_initialized else 'not read yet'
        classes = f'{len(self.CLASSES)} classes' if self.CLASSES else 'classes not known'
        lines = [f'{type(self).__name__}: {size}, {classes}', *self.extra_repr(), *map(repr, self.pipeline.transforms)]
        return '\n    '.join(lines)


def listed(names: Iterable[str], most: int = 8) -> str:
    """Return the names in quotes, the first ``most`` of them."""
    return enumerate_names(map(repr, names), most)


def _expanduser(path: str | os.PathLike | None) -> str:
    """Return the path as a string, with ``~`` expanded; '' for None."""
    return os.path.expanduser(os.fspath(path or ''))


def relative_path(path: str, folder: str) -> str:
    """Return a path relative to a folder, with '/' on every system."""
    rest = path.removeprefix(os.path.join(folder, ''))
    if len(rest) == len(path) or rest.startswith(('.', '/')) or os.path.normpath(rest) != rest:
        rest = os.path.relpath(path, folder or '.')  # ten times as slow
    return rest.replace(os.sep, '/')


def read_classes(classes: str | os.PathLike | Sequence[str] | None) -> tuple[str, ...] | None:
    """Return class names from a sequence, or from a file with one name per line; None for None."""
    if classes is None:
        return None
    if isinstance(classes, str | os.PathLike):
        path = Path(_expanduser(classes))
        if not path.is_file():
            raise MissingFileError(f'classes={str(classes)!r}: no such file; give a file of names, or a list of names')
        classes = [line.strip() for line in read_lines(str(path)) if line.strip()]
    names = tuple(classes) if isinstance(classes, Sequence) else ()
    if not names or not all(isinstance(name, str) for name in names):
        raise ConfigError(f'classes={classes!r}: must be a list of names, or a text file with one name per line')
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise ConfigError(f'classes has {name!r} {count} times; remove the repeated ones')
    return names
