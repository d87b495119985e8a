"""Features in place of images: computed once for all samples of a dataset, and kept in a file."""
import io
import pickle
import sys
import time
from collections.abc import Callable
from typing import BinaryIO

import numpy as np
import torch
from mmengine.logging import print_log
from torch.utils.data import DataLoader, Dataset

from ftcls.structures import DataSample
from ftcls.utils import ConfigError
from ftcls.utils.array_file import ArrayFile, file_state
from ftcls.utils.checkpoint.plain import from_plain, to_plain
from ftcls.utils.digest import digest
from ftcls.utils.log import LONGEST_SILENCE
from .bad_samples import TolerantDataset, sample_files
from .worker_seed import random_state, set_seeds

__all__ = ['StoredFeatures', 'Views']


class Views(Dataset):
    """The samples of a dataset as its pipeline makes them, ``count`` views of each, whose number is their seed.

    A sample tells by its key ``drawn`` which steps draw random numbers, or may do so since they are not ours; or ''.
    """

    def __init__(self, dataset: TolerantDataset, count: int = 1) -> None:
        self.dataset, self.count = dataset, count

    def __len__(self) -> int:
        return self.count * len(self.dataset)

    def __getitem__(self, number: int) -> dict:
        set_seeds(number)
        before = pickle.dumps(random_state(self.dataset))
        sample, steps = self.dataset.prepare_data(number % len(self.dataset)), self.dataset.pipeline.transforms
        foreign = [type(step).__name__ for step in steps if not type(step).__module__.startswith('ftcls.')]
        drawn = {name: f'{name} (not part of ftcls: may be random)' for name in foreign}
        if pickle.dumps(random_state(self.dataset)) != before:
            names = [type(step).__name__ for step in steps]
            random = [name for step, name in zip(steps, names) if hasattr(step, 'prob') or 'Random' in name]
            drawn = {name: name for name in random or foreign or [f'one of {", ".join(names)}']} | drawn
        return dict(sample, drawn=', '.join(drawn.values()))

    def digest(self) -> str:
        """Return a digest of all that the samples depend on: the files, what the dataset knows, and the pipeline."""
        parts: list[object] = [self.count, *map(_settings, self.dataset.pipeline.transforms)]
        for index in range(len(self.dataset)):
            info = self.dataset.get_data_info(index)
            parts += [*info.keys(), *info.values(), *map(file_state, sample_files(info))]
        return digest(*parts)


class StoredFeatures:
    """Packed samples with features as their ``inputs``, memory-mapped.

    Args:
        file: As :meth:`write` has written it.

    Attributes:
        view: Which view of each image is given.
    """

    def __init__(self, file: ArrayFile) -> None:
        length, = file.data[-8:].view(np.int64)
        about = torch.load(io.BytesIO(file.data[-8 - length:-8]), weights_only=True)
        rows = file.data[:-8 - length].view(about['stored']).reshape(-1, *about['shape'])
        self._given: torch.dtype = about['given']
        self._samples = [DataSample(metainfo=meta, **fields) for meta, fields in from_plain(about['samples'])]
        self._rows, self._size, self.view = rows, about['size'], 0

    def __getitem__(self, index: int) -> dict:
        number = self.view * self._size + index
        feats = torch.from_numpy(self._rows[number].copy()).to(self._given)
        return dict(inputs=feats, data_samples=self._samples[number].clone(), features=True)

    @staticmethod
    def write(file: BinaryIO, loader: DataLoader, compute: Callable[[dict], torch.Tensor], dtype: str) -> None:
        """Compute the features of the batches of a loader over :class:`Views`, and write them; the log says how far.

        Raises:
            ConfigError: If a sample depends on random numbers, and there is only one view of it.
        """
        samples, said = [], time.monotonic()
        for batch in loader:
            if time.monotonic() - said >= LONGEST_SILENCE:
                said = time.monotonic()
                print_log(f'feature_cache: {len(samples):,} of {len(loader.dataset):,} images', logger='current')
            if loader.dataset.count == 1 and any(batch['drawn']):
                raise ConfigError(f'{max(batch["drawn"])} is random for some images; set feature_cache.views')
            feats = compute(batch)
            file.write(feats.to('cpu', getattr(torch, dtype)).contiguous().numpy())
            samples += [(one.metainfo, dict(one.items())) for one in batch['data_samples']]
        about = dict(stored=dtype, given=feats.dtype, shape=tuple(feats.shape[1:]), size=len(loader.dataset.dataset))
        head = io.BytesIO()
        torch.save(to_plain(dict(about, samples=samples))[0], head)
        file.write(head.getvalue() + head.tell().to_bytes(8, sys.byteorder))


def _settings(step: Callable) -> str:
    """Return a text of all settings of a transform; a cache of images is told by its file, not by its line."""
    settings = {name: getattr(value, 'path', value) for name, value in vars(step).items() if name != 'line'}
    with np.printoptions(threshold=sys.maxsize):
        return f'{type(step).__qualname__} {settings}'
