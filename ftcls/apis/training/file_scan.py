"""A look at all image files before the first step, and at what turns out about them later."""
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from mmengine.dist import all_reduce, is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch.utils.data import Dataset

from ftcls.datasets.bad_samples import IS_BAD, IS_DAMAGED, sample_files
from ftcls.datasets.headers import ImageHeader, scan_headers
from ftcls.datasets.wrappers import inner_datasets, iter_samples
from ftcls.utils import DataError
from ftcls.utils.names import plural

__all__ = ['BadSampleHook', 'FileScan', 'scan_files']

_LIST = 'bad_samples.txt'
_MANY = 200_000  # files that take longer than some seconds
_SHOWN = 5
_FINDINGS = ((IS_BAD, 'unreadable image', 'others were drawn in their place'), (IS_DAMAGED, 'damaged image',
                                                                                'decoded as far as possible'))


@dataclass
class FileScan:
    """What was found in the headers of all files.

    Attributes:
        headers: The headers of each split's images and masks; a file of two splits is in the first.
        seconds: How long reading them took.
        left_out: The files because of which datasets with ``on_bad_sample='skip'`` have left out samples, by split.
    """
    headers: dict[str, list[ImageHeader]] = field(default_factory=dict)
    seconds: float = 0.
    left_out: dict[str, dict[str, str]] = field(default_factory=dict)

    def by_path(self) -> dict[str, ImageHeader]:
        """Return the header of each file."""
        return {header.path: header for headers in self.headers.values() for header in headers}

    def describe(self) -> list[str]:
        """Return the lines that the preflight shows."""
        files = sum(map(len, self.headers.values()))
        lines = [f'{plural(files, "file")} in {self.seconds:.1f} s, all readable'] if files else []
        for split, faults in self.left_out.items():
            lines.append(
                f"{split}: the samples of {plural(len(faults), 'bad file')} are left out (on_bad_sample='skip'), "
                f'see {_LIST}')
        return lines


def scan_files(datasets: Mapping[str, Dataset], work_dir: str) -> FileScan:
    """Read the header and the end of every image and mask; only the main process does.

    Files that cannot be used are listed in the work dir's ``bad_samples.txt``.

    Args:
        datasets: Split name to dataset.
        work_dir: Where the list goes.

    Raises:
        DataError: If there are any, except those that a dataset has left out.
    """
    scan = FileScan()
    if not is_main_process():
        return scan
    started = time.perf_counter()
    seen: set[str] = set()
    for split, dataset in datasets.items():
        unchecked = [inner for inner in inner_datasets(dataset) if not getattr(inner, 'check', False)]
        seen.update(*map(_files, unchecked))
        paths = [path for path in _files(dataset) if path not in seen]
        if len(paths) > _MANY:
            print_log(f'reading the headers of {len(paths):,} files; check=False of the dataset skips this', 'current')
        scan.headers[split] = scan_headers(paths)
        seen.update(paths)
        faults = {
            path: why
            for inner in inner_datasets(dataset)
            for path, why in getattr(inner, 'left_out', {}).items()
        }
        if faults:
            scan.left_out[split] = faults
    scan.seconds = time.perf_counter() - started
    _report(scan, Path(work_dir, _LIST))
    return scan


def _files(dataset: Dataset) -> dict[str, None]:
    return dict.fromkeys(path for info in iter_samples(dataset) for path in sample_files(info))


def _report(scan: FileScan, listing: Path) -> None:
    """List all bad files; warn of those left out, raise a DataError about the others."""
    listing.unlink(missing_ok=True)
    faults = []
    for split, headers in scan.headers.items():
        bad = {header.path: header.fault for header in headers if header.fault}
        left_out = scan.left_out.get(split, {})
        _append(listing, split, {**bad, **left_out})
        files = _shown([f'{path} {why}' for path, why in (bad or left_out).items()])
        where = f'{split}_dataloader.dataset'
        if bad:
            faults.append(f'{where}: {len(bad):,} of {plural(len(headers), "file")} cannot be used:{files}')
        elif left_out:
            text = f"{where}: the samples of {plural(len(left_out), 'bad file')} are left out (on_bad_sample='skip')"
            if split != 'train':
                text += f', the scores are over the files of the others, {len(headers):,}'
            print_log(f'{text}:{files}', 'current', logging.WARNING)
    if faults:
        faults.append(f"Replace or remove them (all are in {listing}), or set on_bad_sample='skip' of the dataset; "
                      'check=False skips this scan')
        raise DataError('\n'.join(faults))


def _append(listing: Path, split: str, faults: Mapping[str, str]) -> None:
    if faults:
        listing.parent.mkdir(parents=True, exist_ok=True)
        with listing.open('a', encoding='utf-8') as file:
            file.writelines(f'{split}\t{path}\t{why}\n' for path, why in faults.items())


class BadSampleHook(Hook):
    """After each epoch, names the samples that could not be read, and those that were read from damaged files.

    Workers and other processes count too; each sample is named once, in the log and in ``bad_samples.txt``.
    """

    def __init__(self) -> None:
        self._reported: dict[int, torch.Tensor] = {}

    def after_train_epoch(self, runner: Runner) -> None:
        """Report on the training set."""
        self._report(runner, 'train', runner.train_dataloader.dataset)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Report on the validation set."""
        self._report(runner, 'val', runner.val_dataloader.dataset)

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Report on the test set."""
        self._report(runner, 'test', runner.test_dataloader.dataset)

    def _report(self, runner: Runner, split: str, dataset: Dataset) -> None:
        for inner in inner_datasets(dataset):
            if getattr(inner, 'marks', None) is None:
                continue
            marks = inner.marks.int()
            all_reduce(marks, 'max')
            new = marks & ~self._reported.get(id(inner), torch.zeros_like(marks))
            self._reported[id(inner)] = marks
            for mark, noun, done in _FINDINGS:
                infos = [inner.get_data_info(index) for index in (new & mark).nonzero().flatten().tolist()]
                files = [sample_files(info)[0] for info in infos]
                if files and is_main_process():
                    _append(Path(runner.work_dir, _LIST), split, dict.fromkeys(files, f'{noun}, {done}'))
                    text = f'{split}_dataloader.dataset: {plural(len(files), noun)}, {done}; see {_LIST}'
                    print_log(text + _shown(files), 'current', logging.WARNING)


def _shown(files: Sequence[str]) -> str:
    """Return the first files, one per line, and how many more there are."""
    lines = list(files[:_SHOWN])
    if len(files) > _SHOWN:
        lines.append(f'and {len(files) - _SHOWN:,} more')
    return ''.join(f'\n  {line}' for line in lines)
