"""Networks that fine-tuning can start from: their weights, and what these were trained with."""
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torchvision
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.models import get_model_weights

from ftcls.apis.inference.model_zoo import base_configs
from ftcls.registry import MODELS
from ftcls.utils import ConfigError, did_you_mean

__all__ = ['ModelPreset', 'make_preset']

_AKAMASTER = 'https://github.com/akamaster/pytorch_resnet_cifar10/raw/master/pretrained_models/resnet'
_CIFAR_WEIGHTS = {20: '12fca82f', 32: 'd509ac18', 44: '014dd654', 56: '4bfd9763', 110: '1d1ed7c2'}
_OPENMMLAB = 'https://download.openmmlab.com/mmclassification/v0/resnet/'
_OPENMMLAB_CIFAR = {
    'resnet18_cifar': f'{_OPENMMLAB}resnet18_b16x8_cifar10_20210528-bd6371c8.pth',
    'resnet50_cifar': f'{_OPENMMLAB}resnet50_b16x8_cifar10_20210528-f54bfad9.pth'
}
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class ModelPreset:
    """A network to fine-tune.

    Attributes:
        label: What the user calls it.
        base: ``_base_`` file of the model; None where there is none.
        backbone: What the config sets in ``model.backbone``, its weights apart.
        weights: ``init_cfg.checkpoint``; None for weights that the backbone fetches itself.
        channels: Features that the head takes.
        family: Key of the rates: 'cifar', 'imagenet' or 'bit' (without BatchNorm).
        side: Pixels a side that it was trained at.
        fixed: Whether it takes no other.
        mean: Of the pixels, 0 to 1, RGB.
        std: Likewise.
        interpolation: Of its training's resizing.
    """
    label: str
    base: Path | None
    backbone: dict[str, Any]
    weights: str | None
    channels: int
    family: str
    side: int = 224
    fixed: bool = False
    mean: Sequence[float] = _IMAGENET_MEAN
    std: Sequence[float] = _IMAGENET_STD
    interpolation: str = 'bilinear'


def make_preset(name: str, weights: str | None = None) -> ModelPreset:
    """Return what is to be known of a network.

    Args:
        name: 'resnet50' … (a file of ``configs/_base_/models`` or a config's name), 'cifar_resnet56', 'torchvision:<name>',
            'timm:<name>'.
        weights: A checkpoint in place of the published one.

    Raises:
        ConfigError: If there is no such network, or it has none of the weights that fine-tuning starts from.
    """
    source, _, rest = name.partition(':')
    if rest and source == 'torchvision':
        network = _torchvision(rest)
    elif rest and source == 'timm':
        network = _timm(rest, has_own=weights is not None)
    else:
        network = _from_zoo(name)
    return network if weights is None else replace(network, weights=weights)


def _from_zoo(name: str) -> ModelPreset:
    """Return a network of ``configs/_base_/models``, or a CIFAR ResNet of another depth."""
    known = base_configs('models')
    depth = re.fullmatch(r'(?:CifarResNet|cifar_resnet)-?(\d+)?', name, flags=re.IGNORECASE)
    depth = int(depth[1] or 20) if depth else None
    if depth in _CIFAR_WEIGHTS:
        backbone = {} if depth == 20 else dict(depth=depth)
        return ModelPreset(f'cifar_resnet{depth}', known['cifar_resnet20'], backbone,
                       f'{_AKAMASTER}{depth}-{_CIFAR_WEIGHTS[depth]}.th', 64, 'cifar', side=32)  # yapf: disable
    short = next(
        (base for base in sorted(known, key=len, reverse=True) if name == base or name.startswith(f'{base}_8xb')), None)
    if name.endswith(('_cifar10', '_cifar100')) and short and f'{short}_cifar' in known:
        short = f'{short}_cifar'
    networks = [base for base in known if base.startswith(('resnet', 'cifar_resnet'))]
    if short not in networks:
        raise ConfigError(
            f'--backbone {name}: unknown{did_you_mean(name, networks)}; or CifarResNet-{{20,32,44,56,110}}, '
            'torchvision:<name>, timm:<name>')
    channels = Config.fromfile(known[short], lazy_import=False).model.head.in_channels
    if short in _OPENMMLAB_CIFAR:
        return ModelPreset(short, known[short], {}, _OPENMMLAB_CIFAR[short], channels, 'cifar', side=32)
    return ModelPreset(short, known[short], {}, f'torchvision://{short}', channels, 'imagenet')


def _torchvision(name: str) -> ModelPreset:
    names = torchvision.models.list_models(module=torchvision.models)
    if name not in names:
        raise ConfigError(f'--backbone torchvision:{name}: torchvision has no such network{did_you_mean(name, names)}')
    default = get_model_weights(name).DEFAULT
    preset = default.transforms()
    backbone = dict(type='TorchvisionBackbone', model_name=name)
    channels, family = _look_into(backbone)
    return ModelPreset(f'torchvision:{name}', None, backbone, f'torchvision://{name}', channels, family,
                   side=preset.crop_size[0], fixed=(default.meta.get('min_size') or (1, ))[0] >= preset.crop_size[0],
                   mean=tuple(preset.mean), std=tuple(preset.std), interpolation=preset.interpolation.value)  # yapf: disable


def _timm(name: str, has_own: bool) -> ModelPreset:
    try:
        from timm.models import get_pretrained_cfg
    except ImportError:
        raise ConfigError(f'--backbone timm:{name}: timm is not installed here: run `pip install timm`') from None
    backbone = dict(type='TIMMBackbone', model_name=name)
    channels, family = _look_into(backbone)  # says the nearest names of one that timm has not
    preset = get_pretrained_cfg(name)
    if preset is None or not (has_own or preset.has_weights):
        raise ConfigError(f'--backbone timm:{name}: timm has no weights of it; choose another one, or give --weights')
    if not has_own:
        backbone['pretrained'] = True
    return ModelPreset(f'timm:{name}', None, backbone, None, channels, family, side=preset.input_size[-1],
                   fixed=bool(preset.fixed_input_size), mean=preset.mean, std=preset.std,
                   interpolation=preset.interpolation)  # yapf: disable


def _look_into(backbone: dict[str, Any]) -> tuple[int, str]:
    """Return the features and the family of a backbone's config."""
    with DefaultScope.overwrite_default_scope('ftcls'):
        built = MODELS.build(dict(backbone))
    has_batch_norm = any(isinstance(module, _BatchNorm) for module in built.modules())
    return built.out_channels[-1], 'imagenet' if has_batch_norm else 'bit'
