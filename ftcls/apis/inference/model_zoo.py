"""Finding models: by the name of a config, by a config file, by the work dir of a run."""
import copy
import fnmatch
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import DefaultScope
from torch import nn

from ftcls.config.loading import load_config, shipped_configs
from ftcls.config.resolve import dataset_configs
from ftcls.datasets.base_dataset import read_classes
from ftcls.models.headed_model import check_word
from ftcls.registry import DATASETS, MODELS
from ftcls.utils import CheckpointError, ConfigError, MissingFileError, UserError
from ftcls.utils.checkpoint.adapter_files import is_adapter_config
from ftcls.utils.checkpoint.loading import checkpoint_meta, load_pretrained, read_checkpoint
from ftcls.utils.log import warn
from ftcls.utils.names import enumerate_names
from ftcls.utils.tree import as_list
from .exported import ExportedModel, is_exported

__all__ = [
    'CHECKPOINT_SUFFIXES', 'PUBLISHED_CONFIG', 'build_model', 'drop_keys', 'find_checkpoint', 'find_config',
    'get_model', 'init_model', 'list_models', 'load_weights', 'resolve_model', 'validation_dataset'
]

PUBLISHED_CONFIG = 'ftcls_config.json'
_PUBLISHED_WEIGHTS = re.compile(r'.+-[0-9a-f]{8}\.safetensors')
CHECKPOINT_SUFFIXES = ('.pth', '.pt', '.th', '.ckpt', '.bin', '.safetensors')


def list_models(pattern: str | None = None,
                exclude_patterns: str | Sequence[str] | None = None,
                task: str | None = None) -> list[str]:
    """Return the names of the configs that come with ftcls, sorted; :func:`get_model` builds the model of each.

    Args:
        pattern: Keeps names that match it; ``*`` matches anything, and any ending matches, as in mmpretrain.
        exclude_patterns: Leave out the names that match one of them.
        task: 'Image Classification' or 'Image Segmentation'; None for both.

    Raises:
        ConfigError: If there is no such task.
    """
    files = shipped_configs()
    names = fnmatch.filter(sorted(files), f'{pattern or ""}*')
    for exclude in as_list(exclude_patterns or ()):
        names = [name for name in names if not fnmatch.fnmatch(name, f'{exclude}*')]
    if task is None:
        return names
    is_segmentor = check_word('task', task, ('Image Classification', 'Image Segmentation')) == 'Image Segmentation'
    return [name for name in names if (load_config(files[name]).model.type == 'ImageSegmentor') == is_segmentor]


def find_config(work_dir: str | os.PathLike) -> Path:
    """Return the config that a run wrote into its work dir: named like it, else the newest; else MissingFileError."""
    folder = Path(work_dir)
    files = [*folder.glob('*.py'), *folder.glob(PUBLISHED_CONFIG)]
    configs = sorted(files, key=lambda file: (file.stem == folder.resolve().name, file.stat().st_mtime))
    if not configs:
        raise MissingFileError(f'work dir {folder} holds no config (*.py) of a run; it holds {_contents(folder)}')
    return configs[-1]


def find_checkpoint(work_dir: str | os.PathLike) -> Path:
    """Return the best checkpoint of a run, else its last, or what was published; MissingFileError if there is none.

    What is no folder is taken for a checkpoint and returned.
    """
    folder = Path(work_dir)
    if not folder.is_dir():
        return folder
    if best := sorted(folder.glob('best_*.pth'), key=lambda file: file.stat().st_mtime):
        return best[-1]
    pointer = folder / 'last_checkpoint'
    if pointer.is_file():  # by its name, so that a work dir can be moved
        last = folder / Path(pointer.read_text(encoding='utf-8').strip()).name
        if last.is_file():
            return last
    if published := [file for file in sorted(folder.glob('*')) if _PUBLISHED_WEIGHTS.fullmatch(file.name)]:
        return published[0]
    numbered = [file for file in folder.glob('*.pth') if re.fullmatch(r'(epoch|iter)_\d+', file.stem)]
    if not numbered:
        raise MissingFileError(f'work dir {folder} holds no checkpoint (best_, epoch_, iter_*.pth); it holds '
                               f'{_contents(folder)}; finish the training, or give a checkpoint')
    return max(numbered, key=lambda file: int(file.stem.rpartition('_')[2]))


def _contents(folder: Path) -> str:
    return enumerate_names(sorted(file.name for file in folder.iterdir())) or 'nothing'


def resolve_model(
    model: str | os.PathLike | Mapping | Config,
    pretrained: str | os.PathLike | bool | None,
    overrides: Sequence[str] = ()) -> tuple[Config, str | None]:
    """Find the config and the checkpoint of a model.

    Args:
        model: A work dir, a config file, the name of a config (:func:`list_models`) or a config.
        pretrained: A checkpoint; True for the one in the work dir (for a config, that of its run), which must exist;
            None for the one in the work dir if ``model`` is one, else no weights; False for no weights.
        overrides: ``KEY=VALUE`` for the config.

    Returns:
        The config, a copy, and where the checkpoint is, None for no weights.

    Raises:
        MissingFileError: If there is no such config, or no checkpoint although there must be one.
    """
    if isinstance(model, Config | Mapping):
        cfg, folder = copy.deepcopy(load_config(model, overrides)), model.get('work_dir')
    elif Path(model).expanduser().is_dir():
        folder = Path(model).expanduser()
        cfg = load_config(find_config(folder), overrides)
        cfg.work_dir = str(folder)  # it may have been moved
        pretrained = pretrained is None or pretrained
    elif Path(model).suffix in CHECKPOINT_SUFFIXES:
        raise ConfigError(f'{model} is a checkpoint; give its config or its work dir first')
    else:
        cfg = load_config(model, overrides)
        folder = cfg.get('work_dir') or Path('work_dirs', Path(cfg.filename).stem)
    if pretrained is None or pretrained is False:
        return cfg, None
    if pretrained is not True:
        return cfg, os.fspath(pretrained)
    if not folder or not Path(folder).is_dir():
        raise MissingFileError(f'no checkpoint is given for {cfg.filename or "the config"}, and its work dir '
                               f'({folder or "not set"}) does not exist; give a checkpoint, or train the config first')
    return cfg, str(find_checkpoint(folder))


def get_model(model: str | os.PathLike | Mapping | Config,
              pretrained: str | os.PathLike | bool | None = None,
              device: str | torch.device | None = None,
              **kwargs: Any) -> nn.Module:
    """Build a model in evaluation mode.

    Args:
        model: See :func:`resolve_model`; or a file of ``tools/export.py``, see :class:`ExportedModel`.
        pretrained: See :func:`resolve_model`; a file or URL.
        device: Where the model is put; by default the accelerator if there is one, else the CPU.
        **kwargs: Changes to ``model`` of the config, as ``backbone=dict(out_indices=(0, 1, 2, 3))``.

    Returns:
        The model, with its config as ``_config`` and ``_dataset_meta``, a dict with ``classes`` if they are known.

    Raises:
        MissingFileError: If there is no such config or checkpoint.
        CheckpointError: If the checkpoint cannot be read, or leaves a part of the model without weights.

    Example:
        >>> get_model('resnet18_8xb16_cifar10', device='cpu').head.num_classes  # doctest: +SKIP
        10
    """
    if is_exported(model):
        if kwargs or pretrained not in (None, True) or str(device or 'cpu') != 'cpu':
            raise ConfigError(f'{model} has its weights, and runs on the CPU; leave out checkpoint, device and changes')
        return ExportedModel(model)
    cfg, checkpoint = resolve_model(model, pretrained)
    if 'model' not in cfg:
        raise ConfigError(f'{cfg.filename or "the config"} has no `model`')
    cfg.merge_from_dict(dict(model=kwargs))
    if checkpoint is not None and not is_adapter_config(cfg.model):
        drop_keys(cfg.model, 'init_cfg', 'pretrained')  # the checkpoint has all weights: fetch no others
    built = build_model(cfg)
    built._config = cfg
    built._dataset_meta = dict(classes=_config_classes(cfg))
    if checkpoint is not None:
        load_weights(built, checkpoint)
    device = device or get_device()
    try:
        return built.to(device).eval()
    except (RuntimeError, AssertionError) as err:
        raise ConfigError(f'--device {device}: cannot be used ({str(err).splitlines()[0]}); give --device cpu') from err


def init_model(config: str | os.PathLike | Config,
               checkpoint: str | os.PathLike | None = None,
               device: str | torch.device | None = None,
               **kwargs: Any) -> nn.Module:
    """Build a model in evaluation mode, as :func:`get_model` does; MMClassification's older name of it."""
    return get_model(config, checkpoint, device, **kwargs)


def drop_keys(model: dict, *keys: str) -> None:
    """Take keys out of the config of a model, and of its backbone."""
    for part in (model, model.get('backbone') or {}):
        for key in keys:
            part.pop(key, None)


def build_model(cfg: Config) -> nn.Module:
    """Build the model of a config with its data preprocessor, as the Runner does."""
    with DefaultScope.overwrite_default_scope('ftcls'):
        return MODELS.build({'data_preprocessor': cfg.get('data_preprocessor'), **copy.deepcopy(cfg['model'])})


def load_weights(model: nn.Module, source: str | os.PathLike) -> None:
    """Load weights for every part, else raise CheckpointError; put class names into ``model._dataset_meta``."""
    report = load_pretrained(model, source)
    if not report.complete:
        raise CheckpointError(f'parts of the model get no weights; is this its checkpoint?\n{report.summary()}')
    meta = checkpoint_meta(read_checkpoint(source))
    classes = getattr(meta.get('dataset_meta'), 'get', {}.get)('classes') or meta.get('CLASSES')  # mmcls 0.x: CLASSES
    if isinstance(classes, list | tuple):
        model._dataset_meta = {**(getattr(model, '_dataset_meta', None) or {}), 'classes': list(classes)}


def validation_dataset(cfg: Config) -> Mapping:
    """Return the settings of the test (else validation) dataset, without wrappers; ConfigError if there is neither."""
    for key in ('test_dataloader', 'val_dataloader'):
        for dataset in dataset_configs((cfg.get(key) or {}).get('dataset')):
            return dataset
    raise ConfigError(f'{cfg.filename or "the config"} has neither test_dataloader nor val_dataloader')


def _config_classes(cfg: Config) -> list[str] | None:
    """Return the class names in the config's dataset, or of its class (CIFAR-10); None if there are none."""
    try:
        dataset = validation_dataset(cfg)
        classes = dataset.get('classes') or (dataset.get('metainfo') or {}).get('classes')
        if classes is None:
            classes = (getattr(DATASETS.get(dataset['type']), 'METAINFO', None) or {}).get('classes')
        return list(read_classes(classes) or ()) or None
    except UserError as err:
        warn(f'the names of the classes are not known: {err}')
        return None
