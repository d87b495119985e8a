"""A folder to share: the weights of a run, the config and a model card, as huggingface_hub uploads them."""
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmengine.dataset import pseudo_collate
from safetensors import safe_open
from safetensors.torch import save
from torch import nn

from ftcls.apis.export.export_model import export_model
from ftcls.apis.export.library_weights import to_library
from ftcls.apis.inference.exported import METADATA
from ftcls.apis.inference.model_zoo import (PUBLISHED_CONFIG, drop_keys, find_checkpoint, find_config, get_model,
                                            validation_dataset)
from ftcls.apis.training.loaders import build_datasets
from ftcls.config.loading import load_config
from ftcls.datasets.survey import spread
from ftcls.models.headed_model import check_word
from ftcls.utils import ConfigError
from ftcls.utils.checkpoint.folder import whole, write_whole
from ftcls.utils.download import file_digest
from .gather import gather_run
from .templates import render_template

__all__ = ['FORMATS', 'publish']

FORMATS = ('ftcls', 'mmpretrain', 'torchvision', 'timm')
_CHECKED = 32  # validation images, for which two networks must give the same scores
_TRAINING_ONLY = ('adapter', 'freeze', 'init_cfg', 'norm_policy', 'pretrained', 'train_cfg')
_IN_MMPRETRAIN = ('LeNet5', 'RegNet', 'ResNeXt', 'ResNet', 'ResNetV1c', 'ResNetV1d', 'ResNet_CIFAR', 'SEResNeXt',
                  'SEResNet', 'TIMMBackbone', 'TimmClassifier')  # with the same names of all tensors


def publish(source: str | os.PathLike,
            out: str | os.PathLike | None = None,
            formats: Sequence[str] = ('ftcls', ),
            arch: str | None = None) -> Path:
    """Write the weights of a run, its config and a model card into a folder to share, and return it.

    The weights are those that were validated (the moving average, if there is one), with an adapter merged into them.

    Args:
        source: The work dir of the run, for its best checkpoint, else its last; or a checkpoint in it.
        out: A new folder; None for ``published`` in the work dir.
        formats: Who must be able to load the weights, of :data:`FORMATS`. 'ftcls' always is; its file is
            mmpretrain's too if the names are the same. For 'torchvision' and 'timm' there is a further file.
        arch: The name of the network in torchvision or timm; None to look for it.

    Raises:
        ConfigError: If ``out`` has files, or the model is none of a library's.
        MissingFileError: If there is no checkpoint, or no config beside it.
        DataError: If the validation images cannot be read.
    """
    checkpoint = find_checkpoint(source)
    folder = checkpoint.parent
    out = Path(out or folder / 'published')
    if out.is_file() or any(out.glob('*')):
        raise ConfigError(f'--out {out}: must be new or empty; remove it, or give another folder')
    with whole(out) as draft:
        own = draft / 'model.safetensors'
        export_model(folder, checkpoint, 'safetensors', own, images=_CHECKED)
        with safe_open(own, 'pt') as file:
            meta = json.loads(file.metadata()[METADATA])
        write_whole(draft / PUBLISHED_CONFIG, _plain_config(folder, meta['classes']))
        model = get_model(draft, own, 'cpu')
        stem = re.sub(r'[^\w-]+', '-', folder.resolve().name)
        files = [dict(library='ftcls', path=_with_digest(own, stem))]
        for library in dict.fromkeys(formats):
            files += _write_for(check_word('--format', library, FORMATS), model, draft, stem, meta, arch)
        facts = dict(files=files, digest=file_digest, folder=out, run=gather_run(folder, str(checkpoint)), **meta)
        card = _without_places(render_template('model_card.txt', **facts))
        write_whole(draft / 'README.md', re.sub(r'(?<![\w:/.~])/(?:[\w.][\w. @+-]*/)+', '', card))  # names of files
    return out


def _with_digest(path: Path, stem: str) -> Path:
    """Give a file the name ``<stem>-<digest>``, with the first 8 digits of its SHA-256, which torch.hub checks."""
    return path.rename(path.with_name(f'{stem}-{file_digest(path)[:8]}{path.suffix}'))


def _write_for(library: str, model: nn.Module, folder: Path, stem: str, meta: Mapping, arch: str | None) -> list[dict]:
    """Write the file of a library, if it needs one of its own; return what the model card says of it."""
    if library == 'ftcls':
        return []
    if library == 'mmpretrain':
        if type(getattr(model, 'backbone', model)).__name__ not in _IN_MMPRETRAIN:
            raise ConfigError('--format mmpretrain: it has other names for these tensors; give torchvision or timm')
        return [dict(library=library)]
    split = 'val' if model._config.get('val_dataloader') else 'test'
    dataset = build_datasets(model._config, [split], meta['classes'])[0][split]
    chosen = (dataset[index] for index in spread(range(len(dataset)), _CHECKED))
    images = [model.data_preprocessor(pseudo_collate([sample]))['inputs'] for sample in chosen]
    arch, network, difference = to_library(model, library, images, arch)
    path = folder / 'model.safetensors'  # timm looks for this name
    path.write_bytes(save(network.state_dict(), dict(format='pt', classes=json.dumps(meta['classes']))))
    if library == 'timm':
        from timm.models._hub import save_config_for_hf
        pixels = {key: meta['preprocessor'].get(key) or [value] * 3 for key, value in (('mean', 0), ('std', 1))}
        scaled = {key: [value / 255 for value in values] for key, values in pixels.items()}  # timm's pixels are 0 to 1
        network.pretrained_cfg = dict(network.pretrained_cfg, input_size=meta['shape'], **scaled)
        save_config_for_hf(network, folder / 'config.json', dict(label_names=meta['classes']))
    else:
        path = _with_digest(path, f'{stem}_{library}')
    return [dict(library=library, path=path, arch=arch, difference=difference, images=len(images))]


def _plain_config(folder: Path, classes: Sequence[str] | None) -> str:
    """Return the config that loads the published weights, as JSON."""
    cfg = load_config(find_config(folder))
    backbone = cfg.model.get('backbone') or {}
    if backbone.get('type') == 'LoRAModel':
        cfg.model.backbone = backbone.module
    drop_keys(cfg.model, *_TRAINING_ONLY)
    if classes:
        validation_dataset(cfg)['classes'] = classes
    return _without_places(json.dumps(cfg.to_dict(), indent=2, default=str, ensure_ascii=False))


def _without_places(text: str) -> str:
    """Return a text in which paths begin at the current folder or at ``~``; both can be ``/`` in a container."""
    for place, short in ((os.getcwd(), ''), (os.path.expanduser('~'), '~/')):
        if place != '/':
            text = text.replace(f'{place}/', short)
    return text
