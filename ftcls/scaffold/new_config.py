"""From a folder of images to a readable config; tools/new_config.py calls it."""
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.device import get_device

from ftcls.config.loading import load_config
from ftcls.config.validation import validate_config
from ftcls.datasets.list_files import missing_hint
from ftcls.utils import ConfigError, MissingFileError
from .budget import measure_pace, parse_time
from .folder_report import FolderReport, report_folder
from .hyperparameters import choose_hyperparameters, fit_time
from .mask_folders import find_masks
from .model_presets import ModelPreset, check_weights, make_preset
from .template import VAL_FRACTION, write_config
from .unet import write_unet_config

__all__ = ['NewConfig', 'new_config']

_TINY_SIDE = 48  # pixels


@dataclass(frozen=True)
class NewConfig:
    """A written config, and what was found and chosen, one sentence per line."""
    path: Path
    facts: list[str]

    def describe(self) -> list[str]:
        """Return what was found and chosen, and where the config is."""
        return [*self.facts, f'wrote {self.path}']


def new_config(data: str | os.PathLike,
               out: str | os.PathLike | None = None,
               backbone: str | None = None,
               *,
               weights: str | None = None,
               seed: int = 0,
               device: str | None = None,
               check: int = 20_000,
               masks: Sequence[str] = (),
               time: str | None = None) -> NewConfig:
    """Report on a folder of images, and write a config that fine-tunes a network on them; with masks, a U-Net.

    Args:
        data: The folder, with class folders in it, or with ``train`` and perhaps ``val`` and ``test``; or with images
            and masks, see :func:`.mask_folders.find_masks`.
        out: The config to write; None for the folder's name with ``.py``. An existing file is not overwritten.
        backbone: See :func:`.model_presets.make_preset`; None for ``resnet50`` on a GPU, ``resnet18`` on a CPU, and
            ``cifar_resnet20`` for images of at most 48 pixels per side.
        weights: A checkpoint instead of the published one.
        seed: Of the run, and of the drawn split if there is one.
        device: 'cpu' or 'cuda', where the training will run; None for what this machine has.
        check: How many images per split are decoded to find those that are broken inside.
        masks: Arguments of :class:`BinarySegDataset` that say what the masks mean, as ``'foreground=1'``.
        time: How long the training may take on this machine, as ``'5min'``; steps of it are timed.
    """
    seconds = time and parse_time(time)
    path = Path(out or f'{Path(data).expanduser().resolve().name}.py')
    if path.suffix != '.py':
        raise ConfigError(f'--out {path}: must end in .py')
    if path.exists():
        raise ConfigError(f'--out {path}: exists already; give another name, or remove the file')
    device = device or get_device()
    root = Path(data).expanduser()
    folder = root.is_dir() and find_masks(root)
    if folder and (backbone or weights or time):
        raise ConfigError(f'--backbone, --weights, --time: {data} has masks, for a U-Net from random weights with its '
                          'own schedule; leave them out')
    if masks and not folder:
        raise ConfigError(f'--masks {masks[0]}: {data} has no folders `images` and `masks`')
    if folder:
        facts = write_unet_config(path, folder, masks, seed, device)
    else:
        report = report_folder(data, check)
        is_local = weights is not None and '://' not in weights
        if is_local and not Path(weights).expanduser().is_file():
            raise MissingFileError(f'--weights {weights}: no such file{missing_hint(weights)}')
        preset = make_preset(backbone or _default_backbone(report, device), weights)
        if is_local:
            check_weights(preset)
        facts = _write_finetuning(path, report, preset, seed, device, seconds)
    validate_config(load_config(path))
    return NewConfig(path, facts)


def _write_finetuning(path: Path, report: FolderReport, preset: ModelPreset, seed: int, device: str,
                      seconds: float | None) -> list[str]:
    """Write a config, and return what was found and what was chosen."""
    has_val, train = 'val' in report.splits, report.splits['train']
    images = round(len(train.label_of) * (1 - VAL_FRACTION * (not has_val)))
    held_out = len(report.splits['val'].label_of) if has_val else len(train.label_of) - images
    chosen = choose_hyperparameters(preset, report.classes, images, report.side, device != 'cpu')
    facts = report.describe()
    values: dict[str, Any] = dict(report=report, facts=facts[1:], preset=preset, chosen=chosen, seed=seed)
    values['has_classes'] = report.empty or any(map(report.extra_classes, report.splits))
    values['lacks_classes'] = any(map(report.missing_classes, report.splits))
    values |= {name: [round(255 * value, 3) for value in getattr(preset, name)] for name in ('mean', 'std')}
    if seconds:
        with tempfile.TemporaryDirectory() as place:
            write_config(draft := Path(place, 'draft.py'), 'config_template.txt', **values)
            fit_time(chosen, preset, images, held_out, seconds, measure_pace(draft, device))
    write_config(path, 'config_template.txt', **values)
    if not has_val:
        folder = Path(report.root, train.prefix)
        facts.append(f'no val: a fifth of each class in {folder} is used for validation, drawn by split_seed')
    source = preset.weights or "timm's own"
    facts.append(f'{preset.label}, weights: {source}')
    facts += [f'{name} {getattr(chosen, name, "")}'.rstrip() + f': {why}' for name, why in chosen.why.items()]
    if source.startswith(('http', 'torchvision', 'timm')):
        facts.append('the first run downloads the weights; on a machine without network give a file with --weights')
    return facts


def _default_backbone(report: FolderReport, device: str) -> str:
    if report.side <= _TINY_SIDE:
        return 'cifar_resnet20'
    return dict(cpu='resnet18').get(device, 'resnet50')
