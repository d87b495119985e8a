"""What is wrong with the images of a config or a folder; tools/check_data.py calls it."""
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import init_default_scope

from ftcls.apis.training.loaders import build_datasets
from ftcls.config.loading import load_config
from ftcls.datasets.duplicates import Finding, Image, Look, compare_images, images_of, look_at
from ftcls.datasets.transforms import LoadImageFromFile
from ftcls.engine.mmengine_compat import log_level
from ftcls.utils import ConfigError, UserError
from ftcls.utils.errors import unwrapped
from ftcls.utils.names import enumerate_names
from ftcls.utils.table import render_table
from .folder_report import find_splits

__all__ = ['DataCheck', 'check_data']


@dataclass(frozen=True)
class DataCheck:
    """What :func:`check_data` found; ``sizes`` has the samples per split."""
    sizes: dict[str, int]
    findings: list[Finding]

    @property
    def has_errors(self) -> bool:
        """Whether a finding is an error."""
        return any(finding.level == 'ERROR' for finding in self.findings)

    def describe(self, most: int = 3) -> str:
        """Return the sizes and a table of the findings, with ``most`` names of each."""
        sizes = ', '.join(f'{split} {size:,} samples' for split, size in self.sizes.items())
        columns = dict(level='left', split='left', count='right', finding='left', names='left')
        rows = [(one.level, one.split, len(one.names), one.text, enumerate_names(one.names, most))
                for one in self.findings]  # yapf: disable
        return f'{sizes}\n\n{render_table(columns, rows)}' if rows else f'{sizes}: nothing found'


def check_data(target: str | os.PathLike, overrides: Sequence[str] = ()) -> DataCheck:
    """Look for images that cannot be read, are there twice or nearly, contradict each other, or are unlike all others.

    Args:
        target: A config, whose datasets are built, or a folder as ``new_config`` takes it.
        overrides: ``KEY=VALUE`` for a config.
    """
    cfg = _config_of_folder(target) if os.path.isdir(target) else load_config(target, overrides)
    init_default_scope(cfg.get('default_scope', 'ftcls'))
    splits = [split for split in ('train', 'val', 'test') if cfg.get(f'{split}_dataloader')]
    if not splits:
        raise ConfigError(f'{target}: has no train_dataloader, val_dataloader or test_dataloader; nothing to check')
    sizes: dict[str, int] = {}
    findings, images, looks, classes = [], [], {}, None
    for split in splits:
        try:
            with log_level('ERROR'):  # the findings say what the log would
                built, report = build_datasets(cfg, [split], classes)
        except UserError as err:
            findings.append(Finding('ERROR', split, 'cannot be read', [str(unwrapped(err))]))
            continue
        classes, sizes[split] = report.classes, report.sizes[split]
        lacking = report.missing().get(split, [])
        for what, names in (('have no sample', lacking), ('are not among the classes', report.ignored[split])):
            if names:
                findings.append(Finding('WARNING', split, what, names))
        found = list(images_of(built[split], split))
        images += [image for image, _ in found]
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            results = dict(zip([image.name for image, _ in found], pool.map(_look_or_fault, found)))
        broken = [f'{name} ({look})' for name, look in results.items() if isinstance(look, str)]
        if broken:
            findings.append(Finding('ERROR', split, 'cannot be read', broken))
        looks.update({name: look for name, look in results.items() if not isinstance(look, str)})
    return DataCheck(sizes, findings + compare_images(images, looks))


def _look_or_fault(found: tuple[Image, dict]) -> Look | str:
    """Return what an image is compared by, or why it cannot be read."""
    _, info = found
    try:
        return look_at(info['img'] if 'img' in info else LoadImageFromFile()(dict(info))['img'])
    except UserError as err:
        return str(err)


def _config_of_folder(folder: str | os.PathLike) -> Config:
    root = Path(folder).expanduser()
    if {'images', 'masks'} <= {entry.name for entry in root.iterdir()}:
        return Config(dict(train_dataloader=dict(dataset=dict(type='BinarySegDataset', data_root=str(root)))))
    datasets = {split: dict(type='CustomDataset', data_root=str(root), data_prefix=prefix)
                for split, prefix in find_splits(root)[0].items()}  # yapf: disable
    return Config({f'{split}_dataloader': dict(dataset=dataset) for split, dataset in datasets.items()})
