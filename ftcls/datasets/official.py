"""Datasets that come as a few files of their makers' own format: found, verified, or downloaded."""
import os
from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from mmengine.dist import barrier, is_main_process

from ftcls.utils import ConfigError, DataError, DownloadError, MissingFileError, did_you_mean
from ftcls.utils.download import file_digest
from .base_dataset import BaseDataset

__all__ = ['OfficialDataset']


class OfficialDataset(BaseDataset):
    """Base of the datasets that hold their pictures in the memory.

    Args:
        data_root: Folder of the files.
        split: 'train' or 'test'; with ``val_fraction``, 'train' and 'val' are parts of the training pictures.
        metainfo: As of :class:`BaseDataset`.
        data_prefix: Folder of the files within ``data_root``.
        test_mode: As of :class:`BaseDataset`. With it, ``split`` is 'test' where nothing else is said.
        download: Fetch the files where they are absent.
        val_fraction: Draw so much of each class of the training pictures for 'val', see :meth:`BaseDataset.draw_split`.
        verify: Check the files' MD5 against the published ones. False takes other files of the same format.
        **kwargs: The other arguments of :class:`BaseDataset`, ``classes`` and ``pipeline`` among them.

    Raises:
        MissingFileError: If files are absent, and cannot be fetched or shall not be.
        DataError: If a file is broken or is not the published one.
    """

    #: (file name, MD5) of each split.
    FILES: ClassVar[Mapping[str, tuple[tuple[str, str], ...]]]

    def __init__(self,
                 data_root: str = '',
                 split: str | None = None,
                 metainfo: Mapping | None = None,
                 data_prefix: str = '',
                 test_mode: bool = False,
                 download: bool = True,
                 verify: bool = True,
                 val_fraction: float | None = None,
                 **kwargs: Any) -> None:
        split = split or ('test' if test_mode else 'train')
        name = type(self).__name__
        if val_fraction is not None and split not in ('train', 'val'):
            raise ConfigError(
                f'{name}(split={split!r}, val_fraction={val_fraction}): the training pictures are split; set '
                "split='train' or 'val', or leave val_fraction out")
        if split == 'val' and val_fraction is None:
            raise ConfigError(
                f"{name}(split='val'): {name} comes as {', '.join(self.FILES)}; set val_fraction, 0.1 for one, "
                "in the datasets of split='train' and 'val' to draw 'val' from the training pictures")
        if split not in (*self.FILES, 'val'):
            raise ConfigError(f'{name}(split={split!r}): expected one of {", ".join(self.FILES)}'
                              f'{did_you_mean(split, self.FILES)}')
        if not data_root and not data_prefix:
            raise ConfigError(f"{name} needs data_root: the folder of its files, 'data/{name.lower()}' for one")
        self.split = split
        self.download = download
        self.verify = verify
        super().__init__(
            ann_file='',
            metainfo=metainfo,
            data_root=data_root,
            data_prefix={'root': data_prefix},
            test_mode=test_mode,
            split=None if val_fraction is None else split,
            val_fraction=val_fraction,
            **kwargs)

    @property
    def files_of(self) -> str:
        """The split whose files are read: 'val' is drawn from 'train'."""
        return 'train' if self.split == 'val' else self.split

    @property
    def root(self) -> Path:
        """Folder of the dataset's files."""
        return Path(self.data_prefix['root'] or self.data_root)

    @abstractmethod
    def find(self, name: str) -> Path | None:
        """Return the path of one of the files, None where it is absent."""

    @abstractmethod
    def fetch(self) -> None:
        """Download and unpack the files that are absent; called in one process a machine at a time."""

    @abstractmethod
    def read(self) -> tuple[np.ndarray, np.ndarray, str]:
        """Return images (N, H, W, C) uint8, labels (N, ), and the images' channel order."""

    @property
    @abstractmethod
    def source(self) -> str:
        """Where a person finds the files: the addresses."""

    def load_data_list(self) -> list[dict]:
        """Return a dict with ``img`` and ``gt_label`` for every picture."""
        if is_main_process():
            error = self._attempt(self._ensure_files)
            barrier()  # also after an error: the others must not wait for ever
        else:
            barrier()
            error = self._attempt(self._ensure_files)  # there by now, unless this machine has a disk of its own
        if error is not None:
            raise error
        images, labels, order = self.read()
        own = type(self).METAINFO['classes']
        if len(images) != len(labels) or (len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(own)):
            raise DataError(
                f'{self.root}: {len(images)} pictures and {len(labels)} labels do not fit together, or labels are '
                f'not within 0 to {len(own) - 1}; the files are broken: delete them and fetch them again')
        shape = images.shape[1:3]
        data_list = [{
            'img': img,
            'gt_label': int(label),
            'channel_order': order,
            'ori_shape': shape,
            'img_shape': shape
        } for img, label in zip(images, labels)]
        return self.match_classes(data_list, own)

    @staticmethod
    def _attempt(step: Callable[[], None]) -> Exception | None:
        """Run ``step``; return the error that it raised."""
        try:
            step()
        except Exception as err:  # raised again by the caller, after the processes have met
            return err
        return None

    def _ensure_files(self) -> None:
        """See to it that the files of this split are there and are the published ones."""
        absent = [name for name, _ in self.FILES[self.files_of] if self.find(name) is None]
        if absent and self.download:
            try:
                self.fetch()
            except DownloadError as err:
                raise MissingFileError(f'{self._missing(absent)} Downloading them failed: {err}') from err
            absent = [name for name, _ in self.FILES[self.files_of] if self.find(name) is None]
        if absent:
            hint = '' if self.download else ' download=True fetches them.'
            raise MissingFileError(self._missing(absent) + hint)
        for name, md5 in self.FILES[self.files_of] if self.verify else ():
            self._verify(self.find(name), md5)

    def _verify(self, path: Path, md5: str) -> None:
        """Raise a DataError if a file is not the published one."""
        got = file_digest(path, 'md5')
        if got != md5:
            raise DataError(
                f'{path} is not the published file of {type(self).__name__}: its md5 is {got}, expected {md5}. '
                'Delete it to have it fetched again, or set verify=False to take it as it is')

    def _missing(self, absent: list[str]) -> str:
        name = type(self).__name__
        return (f'{name}, split {self.split!r}: {", ".join(absent)} not found in {os.path.abspath(self.root)!r}. Set '
                f'data_root to the folder that has them, or put them there; they come from {self.source}.')

    def extra_repr(self) -> list[str]:
        """Lines of ``repr`` about where the data is."""
        return [f'files: {self.root}, split {self.split}']
