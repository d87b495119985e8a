"""Samples whose files cannot be used: left out before the run, or replaced when they are read."""
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from mmengine.dataset import BaseDataset

from ftcls.utils import DataError, MissingFileError
from ftcls.utils.names import enumerate_names
from ftcls.utils.types import Fraction, PositiveInt
from .headers import scan_headers
from .transforms.decoder_errors import DAMAGED

__all__ = ['IS_BAD', 'IS_DAMAGED', 'TolerantDataset', 'sample_files']

IS_BAD, IS_DAMAGED = 1, 2  #: Marks of a sample: it could not be read; it was read although its file is damaged.


class TolerantDataset(BaseDataset):
    """MMEngine's dataset, which can leave out samples whose files cannot be used.

    Args:
        *args: As of MMEngine's dataset.
        check: Whether the headers of all files are read before training.
        on_bad_sample: 'error' stops at a file that cannot be used. 'skip' leaves its sample out: before the run if the
            header, or in ``test_mode`` decoding, shows it; if training cannot read it later, another sample is drawn in
            its place.
        bad_sample_limit: 'skip' stops at more bad samples than this: a share of the samples, or a number.
        **kwargs: As of MMEngine's dataset.
    """

    def __init__(self,
                 *args: Any,
                 check: bool = True,
                 on_bad_sample: Literal['error', 'skip'] = 'error',
                 bad_sample_limit: Fraction | PositiveInt = 0.01,
                 **kwargs: Any) -> None:
        if any(getattr(step, 'ignore_empty', False) for step in kwargs.get('pipeline', ())):  # of MMClassification
            on_bad_sample = 'skip'
        self.check, self.on_bad_sample, self.bad_sample_limit = check, on_bad_sample, bad_sample_limit
        self.left_out: dict[str, str] = {}  #: The files because of which samples were left out before the run, and why.
        self.marks: torch.Tensor | None = None  #: marks of each sample, (len(self), ) uint8, shared by the workers
        self.drawable: np.ndarray | None = None  #: The samples that may be drawn in place of a bad one; None for all.
        self.features: Sequence[dict] | None = None  #: Given in place of samples, see :class:`.StoredFeatures`.
        super().__init__(*args, **kwargs)

    def full_init(self) -> None:
        """Read the data, if that has not been done yet."""
        super().full_init()
        if self.marks is None:
            self.marks = torch.zeros(len(self), dtype=torch.uint8).share_memory_()

    def without_bad(self, data_list: list[dict]) -> list[dict]:
        """Return the samples whose files can be used, if ``on_bad_sample='skip'``; else all.

        Raises:
            DataError: If more than ``bad_sample_limit`` cannot.
        """
        if self.on_bad_sample == 'error' or not self.check:
            return data_list
        headers = scan_headers([file for info in data_list for file in sample_files(info)], decode=self.test_mode)
        self.left_out = {header.path: header.fault for header in headers if header.fault}
        kept = [info for info in data_list if not any(file in self.left_out for file in sample_files(info))]
        bad = [f'{path} {fault}' for path, fault in self.left_out.items()]
        self._check_limit(len(data_list) - len(kept), len(data_list), bad)
        return kept

    def prepare_data(self, idx: int) -> Any:
        """Return sample ``idx`` as the pipeline leaves it; None if it is to be replaced."""
        if self.features is not None:
            return self.features[idx]
        may_skip = self.on_bad_sample == 'skip' and not self.test_mode
        try:
            data = super().prepare_data(idx)
        except (DataError, MissingFileError):
            if not may_skip:
                raise
            data = None
        if data is None and may_skip:
            self.marks[idx] |= IS_BAD
            count = len(self.left_out) + int((self.marks & IS_BAD).count_nonzero())
            self._check_limit(count, len(self) + len(self.left_out), sample_files(self.get_data_info(idx)))
        elif DAMAGED and any(file in DAMAGED for file in sample_files(self.get_data_info(idx))):
            self.marks[idx] |= IS_DAMAGED
        return data

    def _check_limit(self, count: int, size: int, bad: Sequence[str]) -> None:
        allowed = self.bad_sample_limit
        if allowed < 1:
            allowed = max(1, int(allowed * size))
        if count > allowed or 0 < count == size:
            raise DataError(f'{count:,} of {size:,} samples cannot be used (bad_sample_limit={self.bad_sample_limit}): '
                            f'{enumerate_names(bad, 5)}; replace or remove the files, or raise the limit')

    def _rand_another(self) -> int:
        if self.drawable is None:
            return super()._rand_another()
        return int(np.random.choice(self.drawable))


def sample_files(info: Mapping[str, Any]) -> list[str]:
    """Return the files of a sample: its image, its mask."""
    return [info[key] for key in ('img_path', 'mask_path') if info.get(key)]
