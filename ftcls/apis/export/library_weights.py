"""The weights of a classifier in the network of torchvision or timm that is the same: found, filled and compared."""
import re
from collections.abc import Sequence
from difflib import get_close_matches

import torch
from torch import nn

from ftcls.models.backbones.timm_backbone import build_timm
from ftcls.models.backbones.torchvision_backbone import build_torchvision
from ftcls.utils import CheckpointError, ConfigError, UserError
from ftcls.utils.checkpoint.loading import match_state_dict

__all__ = ['convert_weights', 'to_library']

_TOLERANCE = 1e-4  # of the largest logit


@torch.no_grad()
def to_library(model: nn.Module,
               library: str,
               images: Sequence[torch.Tensor],
               arch: str | None = None) -> tuple[str, nn.Module, float]:
    """Find the library's network that does what a classifier does, and give it the classifier's weights.

    Args:
        model: In evaluation mode, on the CPU, without adapters.
        library: 'torchvision' or 'timm'.
        images: Real ones, each (1, C, H, W) float as the model gets them; the logits for all must agree.
        arch: The name of the network; None to look for it.

    Returns:
        The name of the network, the network, and by how much the logits differ at most.

    Raises:
        ConfigError: If there is none, or none that gives the same logits.
    """
    ours = torch.cat([model(image) for image in images])
    faults = []
    for name in [arch] if arch else _names_like(model, library):
        try:
            network = _build(library, name, ours.shape[1], images[0].shape).eval()
            network.load_state_dict(convert_weights(model, network), strict=False)
            theirs = torch.cat([network(image) for image in images])
            difference = (ours - theirs).abs().max().item()
            if difference <= _TOLERANCE * ours.abs().max().item():
                return name, network, difference
            faults.append(f'{name} gives other logits for {len(images)} validation images, by up to {difference:.3g}')
        except UserError as err:
            faults.append(f'{name}: {err}')
    why = [*faults, 'no network has a name like it'][0]
    raise ConfigError(f'--format {library}: {why}; if this network has another name there, give it by --arch')


def _build(library: str, name: str, classes: int, images: torch.Size) -> nn.Module:
    """Return a new network of a library for images (N, C, H, W) like these."""
    if library == 'torchvision':
        size = dict(image_size=images[-1]) if name.startswith('vit_') else {}
        return build_torchvision(name, dict(size, num_classes=classes))
    size = dict(img_size=tuple(images[2:])) if re.search('vit_|deit|swin', name) else {}
    return build_timm(name, '--format timm', num_classes=classes, in_chans=images[1], **size)


def _names_like(model: nn.Module, library: str) -> list[str]:
    """Return the names of a library's networks that are like the model's; the one that timm built is the first."""
    import timm
    from torchvision import models
    known = timm.list_models() if library == 'timm' else models.list_models(module=models)
    part = model._config.model.get('backbone') or model._config.model
    like = part.get('model_name') or ''.join(str(part.get(key, '')) for key in ('type', 'arch', 'depth')).lower()
    like = like.replace('visiontransformer', 'vit').replace('swintransformer', 'swin')
    built = [module.pretrained_cfg['architecture'] for module in model.modules() if hasattr(module, 'pretrained_cfg')]
    return [name for name in [*built, *get_close_matches(like, known, 12, 0.4)] if name in known]


def convert_weights(model: nn.Module, network: nn.Module) -> dict[str, torch.Tensor]:
    """Return the weights of a model under the names and in the shapes of another library's network.

    The loader knows where that network's tensors go in the model. So it is given tensors of numbers, which show where
    each of the model's weights comes from.

    Raises:
        CheckpointError: If a tensor of the network has no counterpart in the model.
    """
    wanted, own = ({k: v for k, v in one.state_dict().items() if v.is_floating_point()} for one in (network, model))
    lengths = [tensor.numel() for tensor in wanted.values()]
    numbers = torch.arange(sum(lengths), dtype=torch.float64).split(lengths)
    places, _ = match_state_dict({k: part.reshape(wanted[k].shape) for k, part in zip(wanted, numbers)}, model)
    flat = torch.full((sum(lengths), ), torch.nan, dtype=torch.float64)
    for name, place in places.items():
        flat[place.long()] = own.pop(name).double()
    found = {k: part.reshape(wanted[k].shape).to(wanted[k].dtype) for k, part in zip(wanted, flat.split(lengths))}
    # what the loader takes for a classifier of another size, such as the layer before MobileNetV3's last
    missing = [name for name, tensor in found.items() if tensor.isnan().any()]
    if [wanted[name].numel() for name in missing] != [tensor.numel() for tensor in own.values()]:
        raise CheckpointError(f'{len(missing)} of its tensors have no counterpart in the model {missing[:1]}')
    return found | {name: tensor.reshape(wanted[name].shape) for name, tensor in zip(missing, own.values())}
