"""Networks that fine-tuning can start from: their weights, and how these were trained."""
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmengine.registry import DefaultScope

from ftcls.config.loading import config_folder, read_config
from ftcls.registry import MODELS
from ftcls.utils import CheckpointError, ConfigError, did_you_mean
from ftcls.utils.checkpoint.loading import check_report, find_state_dict, match_state_dict, read_checkpoint

__all__ = ['ModelPreset', 'check_weights', 'make_preset']

_AKAMASTER = 'https://github.com/akamaster/pytorch_resnet_cifar10/raw/master/pretrained_models/resnet'
_CIFAR_WEIGHTS = {20: '12fca82f', 32: 'd509ac18', 44: '014dd654', 56: '4bfd9763', 110: '1d1ed7c2'}
_OPENMMLAB = 'https://download.openmmlab.com/mmclassification/v0/resnet/{}_b16x8_cifar10_20210528-{}.pth'
_OPENMMLAB_CIFAR = dict(resnet18_cifar='bd6371c8', resnet50_cifar='f54bfad9')


@dataclass(frozen=True)
class ModelPreset:
    """A pretrained network.

    Attributes:
        base: The config of the model in ``_base_/models/``, without ``.py``; None if there is none.
        backbone: Settings of ``model.backbone``, without the weights.
        weights: ``init_cfg.checkpoint``; None for weights that the backbone fetches itself.
        channels: Features that the head takes.
        family: Which learning rate fits: 'cifar', 'imagenet', 'bit' (without BatchNorm); with LayerNorm 'vit' (each
            block is a stage) or 'swin' (a stage has several blocks, also ConvNeXt).
        stages: Of the backbone, the stem not counted.
        side: Side of the images that it was trained on, in pixels.
        fixed: Whether it takes no other side.
        mean: Mean of the pixels, 0 to 1, RGB; ``std`` the same.
        interpolation: How the images that it was trained on were resized.
    """
    label: str
    base: str | None
    backbone: dict[str, Any]
    weights: str | None
    channels: int
    family: str
    side: int = 224
    fixed: bool = False
    mean: Sequence[float] = (0.485, 0.456, 0.406)
    std: Sequence[float] = (0.229, 0.224, 0.225)
    interpolation: str = 'bilinear'
    stages: int = 0

    @property
    def uses_adamw(self) -> bool:
        """Whether it learns with AdamW."""
        return self.family in ('vit', 'swin')


def make_preset(name: str, weights: str | None = None) -> ModelPreset:
    """Describe a network by its name; ``weights`` is a checkpoint instead of the published one.

    The name is 'resnet50' … (a file of ``configs/_base_/models`` or a config's name), 'cifar_resnet56',
    'torchvision:<name>' or 'timm:<name>'. Another name without a library is looked for in torchvision, then in timm.

    Raises:
        ConfigError: If there is no such network, or no pretrained weights of it.
    """
    source, colon, network = name.partition(':')
    if source == 'torchvision' and colon:
        preset = _torchvision_preset(network)
    elif source == 'timm' and colon:
        preset = _timm_preset(network, published=weights is None)
    else:
        preset = _base_preset(name, weights)
    return replace(preset, weights=weights or preset.weights)


def check_weights(preset: ModelPreset) -> None:
    """Raise a CheckpointError if a file of weights cannot be read, or is of another network."""
    backbone = {}
    if preset.base:
        backbone = read_config(config_folder() / f'_base_/models/{preset.base}.py').model.backbone
    with DefaultScope.overwrite_default_scope('ftcls'):
        built = MODELS.build({**backbone, **preset.backbone})
    state_dict, _ = find_state_dict(read_checkpoint(preset.weights))
    _, report = match_state_dict(state_dict, built, adapt_input='repeat')
    report.source = preset.weights
    try:
        check_report(report, state_dict, built)
    except CheckpointError as err:
        text = f'--weights {str(err).splitlines()[0]}; {preset.label} is not its network, choose that with --backbone'
        named = re.split('[-.]', Path(preset.weights).name)[0]
        with suppress(ConfigError):
            if named not in preset.label:
                text += f', by its name {_library(named, [])}:{named}'
        raise CheckpointError(text) from None


def _base_preset(name: str, weights: str | None) -> ModelPreset:
    """Return a network of ``configs/_base_/models``, a CIFAR ResNet of another depth, or one of a library."""
    bases = {file.stem: file for file in (config_folder() / '_base_' / 'models').glob('*.py')}
    match = re.fullmatch(r'(?:CifarResNet|cifar_resnet)-?(\d+)?', name, flags=re.IGNORECASE)
    if match and (depth := int(match[1] or 20)) in _CIFAR_WEIGHTS:
        backbone = {} if depth == 20 else dict(depth=depth)
        url = f'{_AKAMASTER}{depth}-{_CIFAR_WEIGHTS[depth]}.th'
        return ModelPreset(f'cifar_resnet{depth}', 'cifar_resnet20', backbone, url, 64, 'cifar', side=32, stages=3)
    stem, is_config, _ = name.partition('_8xb')  # `resnet18_8xb16_cifar10` is a config of the base `resnet18_cifar`
    if is_config and name.endswith(('_cifar10', '_cifar100')) and f'{stem}_cifar' in bases:
        stem = f'{stem}_cifar'
    known = sorted(base for base in bases if base.startswith(('resnet', 'cifar_resnet')))
    if stem not in known:
        return make_preset(f'{_library(name, known)}:{name}', weights)
    channels = read_config(bases[stem]).model.head.in_channels
    if stem in _OPENMMLAB_CIFAR:
        url = _OPENMMLAB.format(stem.removesuffix('_cifar'), _OPENMMLAB_CIFAR[stem])
        return ModelPreset(stem, stem, {}, url, channels, 'cifar', side=32, stages=4)
    return ModelPreset(stem, stem, {}, f'torchvision://{stem}', channels, 'imagenet', stages=4)


def _library(name: str, known: Sequence[str]) -> str:
    """Return the first library that has a network of this name, which is none of the ``known``."""
    from torchvision import models

    names = [*known, *models.list_models(module=models)]
    if name in names:
        return 'torchvision'
    with suppress(ImportError):
        import timm
        if timm.is_model(name.split('.')[0]):
            return 'timm'
        names += timm.list_models()
    raise ConfigError(f'--backbone {name}: unknown{did_you_mean(name, names)}; or CifarResNet-{{20,32,44,56,110}}, '
                      'torchvision:<name>, timm:<name>')


def _torchvision_preset(name: str) -> ModelPreset:
    from torchvision import models

    names = models.list_models(module=models)
    if name not in names:
        raise ConfigError(f'--backbone torchvision:{name}: torchvision has no such network{did_you_mean(name, names)}')
    published = models.get_model_weights(name).DEFAULT
    images = published.transforms()
    side = images.crop_size[0]
    preset = _built_preset(f'torchvision:{name}', dict(type='TorchvisionBackbone', model_name=name))
    fixed = (published.meta.get('min_size') or (1, ))[0] >= side
    return _for_images(replace(preset, weights=f'torchvision://{name}'), images, side, fixed)


def _timm_preset(name: str, published: bool) -> ModelPreset:
    try:
        from timm.models import get_pretrained_cfg
    except ImportError:
        raise ConfigError(f'--backbone timm:{name}: timm is not installed; run `pip install timm`') from None
    backbone: dict[str, Any] = dict(type='TIMMBackbone', model_name=name)
    preset = _built_preset(f'timm:{name}', backbone)  # names the nearest of timm's networks for an unknown one
    images = get_pretrained_cfg(name)
    if images is None or (published and not images.has_weights):
        raise ConfigError(f'--backbone timm:{name}: has no weights in timm; choose another network or give --weights')
    if published:
        backbone['pretrained'] = True
    if preset.uses_adamw:
        backbone['drop_path_rate'] = 0.1
    return _for_images(preset, images, images.input_size[-1], bool(images.fixed_input_size))


def _for_images(preset: ModelPreset, images: Any, side: int, fixed: bool) -> ModelPreset:
    """Return a preset with what torchvision or timm say of the images of its pretraining."""
    interpolation = getattr(images.interpolation, 'value', images.interpolation)
    return replace(preset, side=side, fixed=fixed, mean=images.mean, std=images.std, interpolation=interpolation)


def _built_preset(label: str, backbone: dict[str, Any]) -> ModelPreset:
    """Build a backbone to see how many features and stages it has, and by what it normalizes."""
    with DefaultScope.overwrite_default_scope('ftcls'):
        built = MODELS.build(backbone.copy())
    names = ' '.join(type(module).__name__ for module in built.modules())
    norms = [len(re.findall(kind, names)) for kind in ('BatchNorm', 'LayerNorm|RmsNorm|RMSNorm')]
    family, stages = 'imagenet' if norms[0] else 'bit', built.num_stages_total
    if norms[1] > norms[0]:
        family = 'vit' if stages > 5 else 'swin'  # whose stages begin where the size falls
    return ModelPreset(label, None, backbone, None, built.out_channels[-1], family, stages=stages)
