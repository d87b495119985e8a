"""A look at all image files before the first step, and at what turns out about them later."""
import time
from collections.abc import Mapping
from itertools import chain, islice
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
from ftcls.utils.log import warn
from ftcls.utils.names import plural

__all__ = ['BadSampleHook', 'scan_files']

_LIST = 'bad_samples.txt'
_MANY = 200_000  # files that take longer than some seconds
_SHOWN = 5
_FINDINGS = {IS_BAD: ('unreadable', 'others were drawn instead'), IS_DAMAGED: ('damaged', 'decoded in part')}


def scan_files(datasets: Mapping[str, Dataset], work_dir: str) -> tuple[dict[str, ImageHeader], list[str]]:
    """Read the header and the end of every image and mask; only the main process does.

    Files that cannot be used are listed in the work dir's ``bad_samples.txt``.

    Args:
        datasets: Split name to dataset.
        work_dir: Where the list goes.

    Returns:
        The headers by path, and what the preflight shows: how long reading them took, and what datasets with
        ``on_bad_sample='skip'`` have left out.

    Raises:
        DataError: If there are any, except those that a dataset has left out.
    """
    known: dict[str, ImageHeader] = {}
    notes, faults = [], []
    if not is_main_process():
        return known, notes
    Path(work_dir, _LIST).unlink(missing_ok=True)
    inner = chain.from_iterable(map(inner_datasets, datasets.values()))
    if not any(getattr(one, 'check', False) for one in inner):
        return known, notes
    started = time.perf_counter()
    seen: set[str] = set()
    for split, dataset in datasets.items():
        seen.update(*map(_files, [inner for inner in inner_datasets(dataset) if not getattr(inner, 'check', False)]))
        if len(paths := [path for path in _files(dataset) if path not in seen]) > _MANY:
            print_log(f'reading the headers of {len(paths):,} files; check=False of the dataset skips this', 'current')
        seen.update(paths)
        headers = scan_headers(paths)
        known.update((header.path, header) for header in headers)
        bad = {header.path: header.fault for header in headers if header.fault}
        left_out = dict(chain.from_iterable(getattr(one, 'left_out', {}).items() for one in inner_datasets(dataset)))
        if bad:
            text = f'{len(bad):,} of {plural(len(paths), "file")} cannot be used:'
            faults.append(_listed(work_dir, split, f'{split}_dataloader.dataset: {text}', bad))
        if left_out:
            text = f"{plural(len(left_out), 'bad file')} are left out (on_bad_sample='skip'), see {_LIST}"
            notes.append(f'{split}: the samples of {text}; {len(dataset):,} samples remain')
            warn(_listed(work_dir, split, notes[-1], left_out))
    if known:
        notes.insert(0, f'{plural(len(known), "file")} in {time.perf_counter() - started:.1f} s, all readable')
    if faults:
        faults.append(f"Replace or remove them (all are in {Path(work_dir, _LIST)}), or set on_bad_sample='skip' and "
                      'bad_sample_limit (0.01: 1 % of the samples) of the dataset; check=False skips this scan')
        raise DataError('\n'.join(faults))
    return known, notes


def _files(dataset: Dataset) -> dict[str, None]:
    if all(getattr(inner, 'IN_MEMORY', False) for inner in inner_datasets(dataset)):
        return {}
    return dict.fromkeys(path for info in iter_samples(dataset) for path in sample_files(info))


def _listed(work_dir: str, split: str, text: str, faults: Mapping[str, str]) -> str:
    """Write files and what is wrong with them to the list; return ``text`` and the first of them, one per line."""
    listing = Path(work_dir, _LIST)
    listing.parent.mkdir(parents=True, exist_ok=True)
    with listing.open('a', encoding='utf-8', errors='backslashreplace') as file:
        file.writelines('\t'.join([split, path.replace('\n', r'\n'), why]) + '\n' for path, why in faults.items())
    lines = [f'{path} {why}' for path, why in islice(faults.items(), _SHOWN)]
    if len(faults) > _SHOWN:
        lines.append(f'and {len(faults) - _SHOWN:,} more')
    return '\n  '.join([text, *lines])


class BadSampleHook(Hook):
    """After each epoch, names the samples that could not be read, and those that were read from damaged files.

    Workers and other processes count too; each sample is named once, in the log and in ``bad_samples.txt``.
    """

    def __init__(self) -> None:
        self._reported: dict[int, torch.Tensor] = {}

    def _after_epoch(self, runner: Runner, mode: str = 'train') -> None:
        inner = inner_datasets(getattr(runner, f'{mode}_dataloader').dataset)
        for dataset in [one for one in inner if getattr(one, 'marks', None) is not None]:
            marks = dataset.marks.int()
            all_reduce(marks, 'max')
            new = marks & ~self._reported.get(id(dataset), torch.zeros_like(marks))
            self._reported[id(dataset)] = marks
            for mark, (kind, done) in _FINDINGS.items():
                infos = [dataset.get_data_info(index) for index in (new & mark).nonzero().flatten().tolist()]
                faults = dict.fromkeys((sample_files(info)[0] for info in infos), f'is {kind}')
                if faults and is_main_process():
                    text = f'{mode}_dataloader.dataset: {plural(len(faults), f"{kind} image")}, {done}; see {_LIST}'
                    warn(_listed(runner.work_dir, mode, text, faults))
