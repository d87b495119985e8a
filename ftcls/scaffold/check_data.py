"""What is wrong with the images of a config or a folder; tools/check_data.py calls it."""
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import init_default_scope

from ftcls.apis.training.loaders import build_datasets, image_loader
from ftcls.config.loading import load_config
from ftcls.config.resolve import scope_of
from ftcls.datasets.duplicates import Finding, compare_images, images_of, look_at
from ftcls.datasets.transforms import LoadImageFromFile
from ftcls.engine.mmengine_compat import log_level
from ftcls.utils import ConfigError, UserError
from ftcls.utils.errors import unwrapped
from ftcls.utils.names import enumerate_names
from ftcls.utils.table import render_table
from .folder_report import find_splits, loading_arguments, looks_and_faults
from .mask_folders import find_masks

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
        if not self.findings:
            return f'{sizes}: nothing found'
        rows = [(*one[:2], len(one.names), one.text, enumerate_names(one.names, most)) for one in self.findings]
        return f'{sizes}\n\n{render_table(columns, rows, width=10_000)}'.lstrip('\n')


def check_data(target: str | os.PathLike, overrides: Sequence[str] = ()) -> DataCheck:
    """Look for images that cannot be read, are there twice or nearly, contradict each other, or are unlike all others.

    Args:
        target: A config, whose datasets are built, or a folder as ``new_config`` takes it.
        overrides: ``KEY=VALUE`` for a config.
    """
    cfg = _config_of_folder(target) if os.path.isdir(target) else load_config(target, overrides)
    init_default_scope(scope_of(cfg))
    if not (splits := [split for split in ('train', 'val', 'test') if cfg.get(f'{split}_dataloader')]):
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
        found = list(images_of(built[split], split))
        looks.update({image.name: look_at(info['img']) for image, info in found if 'img' in info})
        paths = [image.name for image, info in found if 'img' not in info]
        read = image_loader(built[split]) or LoadImageFromFile(**loading_arguments(paths)[0])
        good, faults = looks_and_faults(read, paths)
        looks |= good
        images += [image for image, _ in found if image.name in looks]
        kinds = [('WARNING', 'have no sample', report.missing().get(split)),
                 ('WARNING', 'are not among the classes', report.ignored[split]),
                 ('note', 'not looked at, since the dataset has no get_data_info', [] if found else [split]),
                 ('ERROR', 'cannot be read', [f'{name} ({fault})' for name, fault in faults.items()])]
        findings += [Finding(level, split, what, names) for level, what, names in kinds if names]
    return DataCheck(sizes, findings + compare_images(images, looks))


def _config_of_folder(folder: str | os.PathLike) -> Config:
    root = Path(folder).expanduser()
    settings: dict[str, Any] = dict(type='CustomDataset', data_root=str(root))
    if masks := find_masks(root):
        settings |= dict(type='BinarySegDataset', mask_name=masks.mask_name)
        parts = {split: dict(img_dir=one, mask_dir=other) for split, (one, other) in masks.splits.items()}
    else:
        parts = {split: dict(data_prefix=prefix) for split, prefix in find_splits(root)[0].items()}
    return Config({f'{split}_dataloader': dict(dataset={**settings, **part}) for split, part in parts.items()})
